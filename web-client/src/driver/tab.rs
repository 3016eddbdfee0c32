//! One tab's part: its views' commands and events, whichever tab leads.
//!
//! Commands go to the engine if it runs here, else over the channel; both ends keep the same
//! ledger ([`super::handover`]). Events come from the engine here or over the channel.

use super::audience::Audience;
use super::browser;
use super::commit::Epoch;
use super::database::{Closed, Database};
use super::engine_loop::{Ended, EngineLoop, Owner};
use super::handover::{Number, Pending, TabName, is_passing};
use super::tabs::{Channel, Patience, Word};
use super::{history, leader, remembered};
use crate::port::StoreFault;
use futures::channel::oneshot;
use gloo_timers::callback::Timeout;
use shared::client::{Command, Event, LinkState};
use shared::id::DeviceId;
use shared::jid::BareJid;
use shared::time::Millis;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use wasm_bindgen_futures::spawn_local;

/// Pause before a command that the leader has not answered is handed over again.
const HAND_OVER_MS: u32 = 2_000;

pub(super) struct Tab {
    name: TabName,
    pub account: BareJid,
    pub url: String,
    /// The name that this device takes when it has none yet.
    pub device: DeviceId,
    pub database: Rc<Database>,
    pub patience: Patience,
    pub audience: Audience,
    channel: RefCell<Option<Channel>>,
    pending: RefCell<Pending>,
    again: RefCell<Option<Timeout>>,
    leading: Cell<bool>,
    followed: Cell<bool>,
    engine: RefCell<Option<(Rc<EngineLoop>, Epoch)>>,
    committed: Cell<bool>,
    finished: Cell<bool>,
    /// Nobody is signed in to the account any more, or ever was.
    abandoned: Cell<bool>,
    campaign: RefCell<Option<oneshot::Receiver<()>>>,
    itself: Weak<Self>,
}

impl Tab {
    /// Opens the account's stores and joins the tabs that use them.
    pub async fn open(account: BareJid, url: String) -> Result<Rc<Self>, StoreFault> {
        let database = Database::of(&account);
        database.writer().await?;
        Ok(Self::join(database, account, url))
    }

    /// Opens the account that is signed in on this device, if one is.
    pub async fn remembered() -> Result<Option<Rc<Self>>, StoreFault> {
        let found = remembered::find().await?;
        Ok(found.map(|(database, row)| Self::join(database, row.jid, row.url)))
    }

    fn join(database: Rc<Database>, account: BareJid, url: String) -> Rc<Self> {
        let (over, campaign) = oneshot::channel();
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
            patience: Patience::default(),
            leading: Cell::default(),
            followed: Cell::default(),
            engine: RefCell::default(),
            committed: Cell::default(),
            finished: Cell::default(),
            abandoned: Cell::default(),
            campaign: RefCell::new(Some(campaign)),
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
        let campaigning = tab.clone();
        spawn_local(async move {
            leader::campaign(campaigning).await;
            over.send(()).ok();
        });
        tab
    }

    /// Ends this tab's part, and the account's database if nobody is signed in to it. Nothing of
    /// it is in use afterwards: the same account can be opened again.
    pub async fn close(&self) {
        let unused = matches!(history::account(&self.database).await, Ok(None));
        self.abandoned.set(unused && self.leading.get());
        self.finish(Closed::Here);
        // A tab that still stands in line for the lead has nothing to give back.
        let campaign = self.campaign.take().filter(|_| self.leading.get());
        if let Some(campaign) = campaign {
            campaign.await.ok();
        }
    }

    /// Keeps a command and hands it over until what it causes is on disk.
    pub fn command(&self, command: Command) {
        if !is_passing(&command) {
            self.pending.borrow_mut().push(command);
            self.hand_over();
        } else if let Some(engine) = self.engine() {
            engine.pass(command);
        } else {
            self.say(&Word::Passing(command));
        }
    }

    /// Whether this tab has done with the account.
    pub fn is_finished(&self) -> bool {
        self.finished.get()
    }

    pub fn set_leading(&self, leading: bool) {
        self.leading.set(leading);
        if leading {
            // What the last leader met, this one may not.
            self.audience.tell_fault(None);
        }
    }

    /// Tells the views of every tab how the stores are.
    pub fn show_fault(&self, fault: Option<StoreFault>) {
        if self.audience.tell_fault(fault) {
            self.say(&Word::Fault(fault));
        }
    }

    /// From here on this engine takes the commands of all tabs.
    pub fn set_engine(&self, engine: Rc<EngineLoop>, epoch: Epoch) {
        self.engine.replace(Some((engine.clone(), epoch)));
        engine.wake();
        self.say(&Word::Leading(epoch));
        self.hand_over();
        if self.followed.take() {
            self.catch_up();
        }
    }

    /// The last leader may have died between a commit and its events.
    fn catch_up(&self) {
        if let Some(tab) = self.myself() {
            spawn_local(async move { tab.audience.catch_up(&tab.database).await });
        }
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

    pub async fn delete_if_abandoned(&self) {
        if self.abandoned.get() {
            self.database.delete().await;
        }
    }

    /// For a task that outlives a borrow.
    pub fn myself(&self) -> Option<Rc<Self>> {
        self.itself.upgrade()
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
            self.await_answer();
        }
    }

    fn await_answer(&self) {
        let again = with(&self.itself, |tab, ()| {
            tab.again.take();
            tab.patience.unanswered();
            tab.hand_over();
        });
        let timer = || Timeout::new(HAND_OVER_MS, move || again(()));
        self.again.borrow_mut().get_or_insert_with(timer);
    }

    fn hear(&self, word: Word) {
        let leading = self.leading.get();
        match word {
            Word::Hello if leading => {
                for event in self.audience.state() {
                    self.say(&Word::Event(event));
                }
                self.say(&Word::Fault(self.audience.fault()));
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
                self.heard_leader();
                self.catch_up();
                if self.engine.borrow().as_ref().is_some_and(|(_, ours)| *ours < epoch) {
                    self.stop_engine(Ended::Fenced);
                }
                self.hand_over();
            }
            Word::Taken(tab, upto) if !leading => {
                self.heard_leader();
                if tab == self.name {
                    self.on_disk(upto);
                }
            }
            Word::Event(event) if !leading => {
                self.heard_leader();
                self.show(&event);
            }
            Word::Fault(fault) if !leading => {
                self.audience.tell_fault(fault);
            }
            _ => {}
        }
    }

    fn heard_leader(&self) {
        self.patience.answered();
        self.followed.set(true);
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
                remembered::hint_at(&self.account);
                browser::keep_stores();
            }
            Event::SignedOut => {
                remembered::forget(&self.account);
                self.abandoned.set(self.leading.get());
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
        self.audience.tell_fault(Some(StoreFault::NewerVersion));
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
        self.show_fault(None);
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
