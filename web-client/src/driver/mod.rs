//! The driver: carries out what the client engine decides, with the browser's means.
//!
//! It owns the account's database, the WebSocket, the timer and the talk between tabs, and
//! nothing that a message means: no stanza name occurs below this folder.
//!
//! One tab **leads**: it holds the account's Web Lock and runs the engine ([`leader`],
//! [`engine_loop`]). The others **follow**: they read the same stores ([`history`]), hand their
//! user's commands to the leader and repeat its events to their views ([`tab`], [`handover`]).
//! The browser frees the lock when the leader dies, and the next tab leads by the same path by
//! which an engine starts.
//!
//! **Invariants.** A batch is reported as committed only after its one transaction has
//! completed ([`commit`]). Only the tab that last took the lead can commit: every transaction
//! checks the epoch that taking it counted up. A command leaves its tab's memory only after the
//! rows it caused are on disk, wherever the engine was.

mod audience;
mod browser;
mod commit;
#[cfg(feature = "contract")]
pub mod contract;
mod database;
mod engine_loop;
mod handover;
mod history;
mod leader;
mod remembered;
mod socket;
mod tab;
mod tabs;

use crate::port::{Backend, Client, StoreFault};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use shared::client::rows::{ConversationRow, MessageRow};
use shared::client::{Command, Event, LinkState};
use shared::jid::BareJid;
use tab::Tab;

pub use browser::default_url;

/// Opens the account's database, creating it if need be, and joins the tabs that use it. `url`
/// is the relay's, `ws:` or `wss:`.
pub async fn open(account: BareJid, url: String) -> Result<Client, StoreFault> {
    Ok(Client(Tab::open(account, url).await?))
}

/// Opens the account that is signed in on this device, if one is.
pub async fn remembered() -> Result<Option<Client>, StoreFault> {
    Ok(Tab::remembered().await?.map(|tab| Client(tab)))
}

impl Backend for Tab {
    fn account(&self) -> BareJid {
        self.account.clone()
    }

    fn command(&self, command: Command) {
        Tab::command(self, command);
    }

    fn subscribe(&self, listener: Box<dyn Fn(&Event)>) {
        self.audience.add(listener);
    }

    fn on_fault(&self, listener: Box<dyn Fn(Option<StoreFault>)>) {
        self.audience.add_fault_listener(listener);
    }

    fn close(&self) -> LocalBoxFuture<'static, ()> {
        let tab = self.myself();
        async move {
            if let Some(tab) = tab {
                tab.close().await;
            }
        }
        .boxed_local()
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
