//! One tab's part: its views' commands and events, whichever tab leads.
//!
//! Commands go to the engine if it runs here, else over the channel; both ends keep the same
//! ledger ([`super::handover`]). Events come from the engine here or over the channel.

use super::audience::{Audience, show_fault};
use super::browser;
use super::commit::Epoch;
use super::database::{Closed, Database};
use super::engine_loop::{Ended, EngineLoop, Owner};
use super::handover::{Number, Pending, TabName, is_passing};
use super::tabs::{Channel, Word};
use super::{history, leader, session_pointer};
use crate::port::{Backend, Client, StoreFault};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use gloo_timers::callback::Timeout;
use shared::client::rows::{ConversationRow, MessageRow};
use shared::client::{Command, Event, LinkState};
use shared::id::DeviceId;
use shared::jid::BareJid;
use shared::time::Millis;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use wasm_bindgen_futures::spawn_local;

/// Pause before a command that the leader has not answered is handed over again.
const HAND_OVER_MS: u32 = 2_000;
/// A leader that is silent for this long while a person waits is frozen: its lead is taken.
const LEADER_SILENCE_MS: u64 = 10_000;

pub(super) struct Tab {
    name: TabName,
    pub account: BareJid,
    pub url: String,
    /// The name that this device takes when it has none yet.
    pub device: DeviceId,
    pub database: Rc<Database>,
    channel: RefCell<Option<Channel>>,
    audience: Audience,
    pending: RefCell<Pending>,
    again: RefCell<Option<Timeout>>,
    unanswered_since: Cell<Option<Millis>>,
    impatience: RefCell<Option<oneshot::Sender<()>>>,
    leading: Cell<bool>,
    engine: RefCell<Option<(Rc<EngineLoop>, Epoch)>>,
    committed: Cell<bool>,
    finished: Cell<bool>,
    signed_out: Cell<bool>,
    itself: Weak<Self>,
}

impl Tab {
    pub async fn open(account: BareJid, url: String) -> Result<Client, StoreFault> {
        let database = Database::open(&account).await?;
        let tab = Rc::new_cyclic(|itself: &Weak<Self>| Self {
            name: TabName(browser::random_name()),
            device: DeviceId(browser::random_name()),
            channel: RefCell::new(Channel::join(database.name(), with(itself, Self::hear))),
            account,
            url,
            database,
            audience: Audience::new(LinkState::Offline { retry_at: browser::now() }),
            pending: RefCell::default(),
            again: RefCell::default(),
            unanswered_since: Cell::default(),
            impatience: RefCell::default(),
            leading: Cell::default(),
            engine: RefCell::default(),
            committed: Cell::default(),
            finished: Cell::default(),
            signed_out: Cell::default(),
            itself: itself.clone(),
        });
        tab.database.watch(with(&tab.itself, Self::on_closed));
        let returned = with(&tab.itself, |tab, ()| {
            if let Some(engine) = tab.engine() {
                engine.wake();
            }
            tab.command(Command::Reconnect);
        });
        browser::on_return(move || returned(()));
        tab.say(&Word::Hello);
        spawn_local(leader::campaign(tab.clone()));
        Ok(Client(tab))
    }

    /// Whether this tab has done with the account.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    /// Resolves when a person has waited too long for the leader.
    pub fn impatience(&self) -> impl Future<Output = ()> + Unpin + use<> {
        let (tell, told) = oneshot::channel();
        self.impatience.replace(Some(tell));
        Box::pin(async move {
            if told.await.is_err() {
                futures::future::pending().await
            }
        })
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(leading);
    }

    /// From here on this engine takes the commands of all tabs.
    pub fn set_engine(&self, engine: Rc<EngineLoop>, epoch: Epoch) {
        self.engine.replace(Some((engine.clone(), epoch)));
        engine.wake();
        self.say(&Word::Leading(epoch));
        self.hand_over();
    }

    pub fn stop_engine(&self, why: Ended) {
        let engine = self.engine.take();
        if let Some((engine, _)) = engine {
            engine.stop(why);
        }
    }

    /// Whether a batch has landed since the last call.
    pub fn has_committed(&self) -> bool {
        self.committed.take()
    }

    /// There is no engine, hence no connection, until this time.
    pub fn show_offline(&self, retry_at: Millis) {
        self.event(Event::Link(LinkState::Offline { retry_at }));
    }

    pub async fn delete_if_signed_out(&self) {
        if self.signed_out.get() {
            self.database.delete().await;
        }
    }

    fn engine(&self) -> Option<Rc<EngineLoop>> {
        self.engine.borrow().as_ref().map(|(engine, _)| engine.clone())
    }

    fn say(&self, word: &Word) {
        if let Some(channel) = &*self.channel.borrow() {
            channel.say(word);
        }
    }

    /// Offers the front of the queue to whoever leads.
    fn hand_over(&self) {
        let front = self.pending.borrow().front();
        if front.is_empty() || self.is_finished() {
            self.again.take();
        } else if let Some(engine) = self.engine() {
            engine.hand_over(&self.name, front);
        } else if !self.leading.get() {
            self.say(&Word::HandOver(self.name.clone(), front));
            self.lose_patience();
            let again = with(&self.itself, |tab, ()| tab.hand_over());
            self.again.replace(Some(Timeout::new(HAND_OVER_MS, move || again(()))));
        }
    }

    fn lose_patience(&self) {
        let since = self.unanswered_since.get().unwrap_or_else(browser::now);
        self.unanswered_since.set(Some(since));
        if browser::now().since(since) > LEADER_SILENCE_MS
            && browser::visible()
            && let Some(impatience) = self.impatience.take()
        {
            impatience.send(()).ok();
        }
    }

    fn hear(&self, word: Word) {
        let leading = self.leading.get();
        match word {
            Word::Hello if leading => {
                for event in self.audience.state() {
                    self.say(&Word::Event(event));
                }
            }
            // Between two engines there is nothing to take them, but the tab lives.
            Word::HandOver(tab, commands) if leading => {
                let upto = self.engine().map_or(0, |engine| engine.hand_over(&tab, commands));
                self.say(&Word::Taken(tab, upto));
            }
            Word::Passing(command) => {
                if let Some(engine) = self.engine() {
                    engine.pass(command);
                }
            }
            Word::Leading(epoch) => {
                self.unanswered_since.set(None);
                if self.engine.borrow().as_ref().is_some_and(|(_, ours)| *ours < epoch) {
                    self.stop_engine(Ended::Fenced);
                }
                self.hand_over();
            }
            Word::Taken(tab, upto) if !leading => {
                self.unanswered_since.set(None);
                if tab == self.name {
                    self.on_disk(upto);
                }
            }
            Word::Event(event) if !leading => {
                self.unanswered_since.set(None);
                self.show(&event);
            }
            _ => {}
        }
    }

    fn on_disk(&self, upto: Number) {
        let more = self.pending.borrow_mut().taken(upto);
        if more || self.pending.borrow().is_empty() {
            self.hand_over();
        }
    }

    fn show(&self, event: &Event) {
        match event {
            Event::SignedIn => {
                session_pointer::remember(&self.account, &self.url);
                browser::keep_stores();
            }
            Event::SignedOut => {
                session_pointer::forget(&self.account);
                self.signed_out.set(self.leading.get());
                self.finish(Closed::Here);
            }
            _ => {}
        }
        self.audience.tell(event);
    }

    fn finish(&self, why: Closed) {
        self.finished.set(true);
        self.stop_engine(Ended::Finished);
        self.again.take();
        self.channel.take();
        self.database.close(why);
    }

    fn on_closed(&self, why: Closed) {
        if why == Closed::Deleted {
            return self.show(&Event::SignedOut);
        }
        self.finish(why);
        self.show(&Event::Link(LinkState::Offline { retry_at: browser::now() }));
        show_fault(Some(StoreFault::NewerVersion));
    }
}

impl Owner for Tab {
    fn event(&self, event: Event) {
        self.say(&Word::Event(event.clone()));
        self.show(&event);
    }

    fn taken(&self, tab: TabName, upto: Number) {
        if tab == self.name {
            self.on_disk(upto);
        } else {
            self.say(&Word::Taken(tab, upto));
        }
    }

    fn committed(&self) {
        self.committed.set(true);
        show_fault(None);
    }
}

impl Backend for Tab {
    fn account(&self) -> BareJid {
        self.account.clone()
    }

    fn command(&self, command: Command) {
        if !is_passing(&command) {
            self.pending.borrow_mut().push(command);
            self.hand_over();
        } else if let Some(engine) = self.engine() {
            engine.pass(command);
        } else {
            self.say(&Word::Passing(command));
        }
    }

    fn subscribe(&self, listener: Box<dyn Fn(&Event)>) {
        self.audience.add(listener);
    }

    fn link(&self) -> LinkState {
        self.audience.link()
    }

    fn conversations(&self) -> LocalBoxFuture<'static, Result<Vec<ConversationRow>, StoreFault>> {
        let database = self.database.clone();
        async move { history::conversations(&database).await }.boxed_local()
    }

    fn page(
        &self,
        conversation: BareJid,
        before: Option<u64>,
        limit: u32,
    ) -> LocalBoxFuture<'static, Result<Vec<MessageRow>, StoreFault>> {
        let database = self.database.clone();
        async move { history::page(&database, &conversation, before, limit).await }.boxed_local()
    }
}

/// A callback that does nothing once the tab's part is over.
fn with<T: 'static>(
    tab: &Weak<Tab>,
    act: impl Fn(&Tab, T) + Clone + 'static,
) -> impl Fn(T) + Clone + 'static {
    let tab = tab.clone();
    move |argument| {
        if let Some(tab) = tab.upgrade() {
            act(&tab, argument);
        }
    }
}
