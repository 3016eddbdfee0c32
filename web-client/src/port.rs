//! What the views know of everything below them: one handle, commands in, events out, pages of
//! history on request.

use serde::{Deserialize, Serialize};
use shared::client::rows::{ConversationRow, MessageRow};
use shared::client::{Command, Event, LinkState};
use shared::jid::BareJid;
use std::rc::Rc;

/// Why the stores cannot be used, in words for a person through an i18n key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StoreFault {
    /// The browser keeps nothing here (private window, disabled storage).
    Unavailable,
    /// The disk or the browser's quota is full.
    Full,
    /// Another tab holds a newer version of the app.
    NewerVersion,
    /// Anything else.
    Broken,
}

/// Everything below the views. One per signed-in account and tab; cheap to clone.
#[derive(Clone)]
pub struct Client(pub(crate) Rc<dyn Backend>);

/// What a driver offers the views. `driver::open` makes one.
pub(crate) trait Backend {
    fn account(&self) -> BareJid;
    fn command(&self, command: Command);
    fn subscribe(&self, listener: Box<dyn Fn(&Event)>);
    fn on_fault(&self, listener: Box<dyn Fn(Option<StoreFault>)>);
    fn close(&self) -> futures::future::LocalBoxFuture<'static, ()>;
    fn link(&self) -> LinkState;
    fn conversations(
        &self,
    ) -> futures::future::LocalBoxFuture<'static, Result<Vec<ConversationRow>, StoreFault>>;
    fn page(
        &self,
        conversation: BareJid,
        before: Option<u64>,
        limit: u32,
    ) -> futures::future::LocalBoxFuture<'static, Result<Vec<MessageRow>, StoreFault>>;
}

impl Client {
    /// Whose client it is.
    pub fn account(&self) -> BareJid {
        self.0.account()
    }

    /// Hands a user's act to the engine, in this tab or in the one that leads. Kept and handed
    /// over again until the engine has taken it.
    pub fn command(&self, command: Command) {
        self.0.command(command);
    }

    /// Calls back for every event, as long as the tab lives.
    pub fn subscribe(&self, listener: impl Fn(&Event) + 'static) {
        self.0.subscribe(Box::new(listener));
    }

    /// Calls back when the stores fail while they are in use, and with `None` when they work
    /// again. What fails meanwhile is kept in memory and tried again, except after
    /// [`StoreFault::NewerVersion`], which only a reload ends.
    pub fn on_fault(&self, listener: impl Fn(Option<StoreFault>) + 'static) {
        self.0.on_fault(Box::new(listener));
    }

    /// Ends the connection and gives the stores back, in this tab. If nobody has signed in to
    /// the account, its stores go. Commands after this are not carried out.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// The newest known state of the connection.
    pub fn link(&self) -> LinkState {
        self.0.link()
    }

    /// Every conversation, newest first.
    pub async fn conversations(&self) -> Result<Vec<ConversationRow>, StoreFault> {
        self.0.conversations().await
    }

    /// Up to `limit` messages of a conversation in timeline order, the newest that stand before
    /// `before` (an order), or the newest of all.
    pub async fn page(
        &self,
        conversation: BareJid,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreFault> {
        self.0.page(conversation, before, limit).await
    }
}
