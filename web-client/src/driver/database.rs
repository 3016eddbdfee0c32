//! The account's own database: its stores, and the two handles on it.
//!
//! rexie creates the stores and reads them. It can neither ask for strict durability nor tell
//! that the handle was lost, so commits go over a handle of their own, opened through idb, the
//! layer below rexie.
//!
//! A handle can die: iOS drops it in the background, a newer version of the app or a sign-out
//! in another tab closes it. The first is mended by opening again; the others are final.

use crate::port::StoreFault;
use idb::Factory;
use js_sys::{Array, Function, Promise, Reflect};
use rexie::{Index, ObjectStore, Rexie};
use shared::jid::BareJid;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbDatabase, IdbVersionChangeEvent};

/// The stores. Rows are plain objects, fields named as in `shared::client::rows`.
pub(super) mod store {
    pub const MESSAGES: &str = "messages";
    pub const OUTBOX: &str = "outbox";
    pub const OWED: &str = "owed";
    pub const CONVERSATIONS: &str = "conversations";
    pub const META: &str = "meta";
    pub const ALL: [&str; 5] = [MESSAGES, OUTBOX, OWED, CONVERSATIONS, META];
}

/// The indices of [`store::MESSAGES`].
pub(super) mod index {
    /// `[conversation, order]`.
    pub const TIMELINE: &str = "timeline";
    /// `awaiting`, which few rows have.
    pub const AWAITING: &str = "awaiting";
    /// `order` alone: the newest messages whoever they are with.
    pub const RECENT: &str = "recent";
}

/// The keys of [`store::META`].
pub(super) mod meta {
    pub const ACCOUNT: &str = "account";
    pub const SESSION: &str = "session";
    /// Counted up by each tab that takes the lead.
    pub const EPOCH: &str = "epoch";
}

/// Counted up with each change of the stores. Before it is 2: rexie's builder deletes every
/// store that it is not told of.
const VERSION: u32 = 1;

/// What stands before the account in the database's name.
const NAME_PREFIX: &str = "counterfoil:";

/// Why a database was closed for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Closed {
    /// A newer version of the app wants to change the stores.
    Upgraded,
    /// It is being deleted: another tab has signed out.
    Deleted,
    /// By this tab.
    Here,
}

type OnClosed = Rc<dyn Fn(Closed)>;

pub(super) struct Database {
    name: String,
    reader: RefCell<Option<Rc<Reader>>>,
    writer: RefCell<Option<Writer>>,
    closed: Cell<Option<Closed>>,
    on_closed: RefCell<Option<OnClosed>>,
    itself: Weak<Self>,
}

/// Closes the handle when the last read in progress lets go of it.
pub(super) struct Reader(Option<Rexie>);

struct Writer {
    handle: IdbDatabase,
    _on_version_change: Closure<dyn FnMut(IdbVersionChangeEvent)>,
    _on_close: Closure<dyn FnMut()>,
}

impl Database {
    /// An account's database. Its first use opens it.
    pub fn of(account: &BareJid) -> Rc<Self> {
        Rc::new_cyclic(|itself| Self {
            name: format!("{NAME_PREFIX}{account}"),
            reader: RefCell::default(),
            writer: RefCell::default(),
            closed: Cell::default(),
            on_closed: RefCell::default(),
            itself: itself.clone(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says who hears when another tab has this one close the database.
    pub fn watch(&self, on_closed: impl Fn(Closed) + 'static) {
        if let Some(closed) = self.closed.get() {
            on_closed(closed);
        }
        self.on_closed.replace(Some(Rc::new(on_closed)));
    }

    /// The handle for reading.
    pub async fn reader(&self) -> Result<Rc<Reader>, StoreFault> {
        self.check_open()?;
        if let Some(reader) = self.reader.borrow().clone() {
            return Ok(reader);
        }
        let reader = Rc::new(Reader(Some(build(&self.name).await.map_err(|error| opening_fault(&error))?)));
        self.check_open()?;
        Ok(self.reader.borrow_mut().get_or_insert(reader).clone())
    }

    /// The handle for commits.
    pub async fn writer(&self) -> Result<IdbDatabase, StoreFault> {
        // Whoever opens first creates the stores, and only rexie does.
        self.reader().await?;
        if let Some(writer) = &*self.writer.borrow() {
            return Ok(writer.handle.clone());
        }
        let opening = Factory::new().and_then(|factory| factory.open(&self.name, Some(VERSION)));
        let handle = match opening {
            Ok(request) => request.await.map_err(|error| opening_fault(&error.into()))?,
            Err(error) => return Err(opening_fault(&error.into())),
        };
        let handle = IdbDatabase::from(handle);
        self.writer.replace(Some(self.watched(handle.clone())));
        self.check_open()?;
        Ok(handle)
    }

    /// Gives both handles up, so that the next use opens them again.
    pub fn drop_handles(&self) {
        self.reader.take();
        self.writer.take();
    }

    /// Gives the reading handle up. A commit in flight keeps its own.
    pub fn drop_reader(&self) {
        self.reader.take();
    }

    /// Closes for good.
    pub fn close(&self, why: Closed) {
        if self.closed.get().is_none() {
            self.closed.set(Some(why));
            self.drop_handles();
            let on_closed = self.on_closed.borrow().clone();
            if let Some(on_closed) = on_closed.filter(|_| why != Closed::Here) {
                on_closed(why);
            }
        }
    }

    /// Deletes what [`Database::close`] has closed. Tabs that still have it open are told to
    /// close, and it is gone when they have.
    pub async fn delete(&self) {
        if let Ok(request) = Factory::new().and_then(|factory| factory.delete(&self.name)) {
            let _ = request.await;
        }
    }

    /// Whether another tab has deleted it.
    pub fn is_deleted(&self) -> bool {
        self.closed.get() == Some(Closed::Deleted)
    }

    fn check_open(&self) -> Result<(), StoreFault> {
        match self.closed.get() {
            None => Ok(()),
            Some(closed) => {
                self.drop_handles();
                Err(if closed == Closed::Upgraded {
                    StoreFault::NewerVersion
                } else {
                    StoreFault::Unavailable
                })
            }
        }
    }

    fn watched(&self, handle: IdbDatabase) -> Writer {
        let database = self.itself.clone();
        let on_version_change = Closure::<dyn FnMut(_)>::new(move |event: IdbVersionChangeEvent| {
            let why = if event.new_version().is_some() { Closed::Upgraded } else { Closed::Deleted };
            if let Some(database) = database.upgrade() {
                database.close(why);
            }
        });
        let database = self.itself.clone();
        let on_close = Closure::<dyn FnMut()>::new(move || {
            if let Some(database) = database.upgrade() {
                database.drop_handles();
            }
        });
        handle.set_onversionchange(Some(on_version_change.as_ref().unchecked_ref()));
        handle.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Writer { handle, _on_version_change: on_version_change, _on_close: on_close }
    }
}

impl Reader {
    pub fn rexie(&self) -> Option<&Rexie> {
        self.0.as_ref()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(rexie) = self.0.take() {
            rexie.close();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.handle.set_onversionchange(None);
        self.handle.set_onclose(None);
        self.handle.close();
    }
}

/// The accounts that have a database here; none where the browser does not say.
pub(super) async fn accounts() -> Vec<BareJid> {
    let name_of = |database: JsValue| Reflect::get(&database, &"name".into()).ok()?.as_string();
    let account_of = |name: String| BareJid::parse(name.strip_prefix(NAME_PREFIX)?).ok();
    let databases = list().await.unwrap_or_default();
    databases.iter().filter_map(name_of).filter_map(account_of).collect()
}

/// web-sys does not have it.
async fn list() -> Result<Array, JsValue> {
    let factory = Reflect::get(&js_sys::global(), &"indexedDB".into())?;
    let databases: Function = Reflect::get(&factory, &"databases".into())?.dyn_into()?;
    let listing: Promise = databases.call0(&factory)?.dyn_into()?;
    JsFuture::from(listing).await?.dyn_into()
}

async fn build(name: &str) -> rexie::Result<Rexie> {
    Rexie::builder(name)
        .version(VERSION)
        .add_object_store(
            ObjectStore::new(store::MESSAGES)
                .key_path("key")
                .add_index(Index::new_array(index::TIMELINE, ["conversation", "order"]))
                .add_index(Index::new(index::AWAITING, "awaiting"))
                .add_index(Index::new(index::RECENT, "order")),
        )
        .add_object_store(ObjectStore::new(store::OUTBOX).key_path("origin"))
        .add_object_store(ObjectStore::new(store::OWED).key_path("key"))
        .add_object_store(ObjectStore::new(store::CONVERSATIONS).key_path("jid"))
        .add_object_store(ObjectStore::new(store::META))
        .build()
        .await
}

/// What an error of reading means to a person.
pub(super) fn fault(error: &rexie::Error) -> StoreFault {
    fault_named(&name_of_error(error))
}

/// What a failed opening means to a person.
fn opening_fault(error: &rexie::Error) -> StoreFault {
    if matches!(error, rexie::Error::IdbError(idb::Error::IndexedDbNotFound(_))) {
        return StoreFault::Unavailable;
    }
    match name_of_error(error).as_str() {
        // A private window of Firefox.
        "InvalidStateError" => StoreFault::Unavailable,
        name => fault_named(name),
    }
}

/// What a DOM exception of this name means to a person.
pub(super) fn fault_named(name: &str) -> StoreFault {
    match name {
        "QuotaExceededError" => StoreFault::Full,
        "VersionError" => StoreFault::NewerVersion,
        // Storage that the user or the browser has switched off.
        "SecurityError" | "NotAllowedError" => StoreFault::Unavailable,
        _ => StoreFault::Broken,
    }
}

fn name_of_error(error: &rexie::Error) -> String {
    use idb::Error::{DomException, IndexedDbOpenFailed, TransactionOpenFailed};
    match error {
        rexie::Error::IdbError(DomException(exception)) => exception.name(),
        rexie::Error::IdbError(IndexedDbOpenFailed(value) | TransactionOpenFailed(value)) => name_of(value),
        _ => String::new(),
    }
}

/// The name of an exception; empty if it is none.
pub(super) fn name_of(value: &JsValue) -> String {
    let name = Reflect::get(value, &"name".into()).ok().and_then(|name| name.as_string());
    name.unwrap_or_default()
}
