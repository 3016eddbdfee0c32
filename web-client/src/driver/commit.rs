//! One batch, one transaction: all rows or none, on the disk before it is called committed.
//!
//! Everything is computed before the transaction opens, every request is issued in one go, and
//! only `complete` counts: a full disk shows as `abort` without any failed request, which idb's
//! own future would call a success. Each transaction also reads the epoch and aborts itself if
//! another tab has taken the lead since.

use super::database::{Database, fault_named, meta, name_of, store};
use crate::port::StoreFault;
use futures::channel::oneshot;
use js_sys::{Array, Date, Function, Object, Reflect};
use serde::{Deserialize, Serialize};
use shared::client::rows::Op;
use std::cell::Cell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use web_sys::{IdbDatabase, IdbRequest, IdbTransaction, IdbTransactionMode};

/// Which taking of the lead this is. A later one shuts the earlier out.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Serialize, Deserialize)]
pub(super) struct Epoch(f64);

/// Why a batch is not on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CommitFault {
    /// Another tab leads.
    Fenced,
    /// The store failed.
    Store(StoreFault),
}

/// Takes the lead: from here on only commits with this epoch go through.
pub(super) async fn claim(database: &Database) -> Result<Epoch, CommitFault> {
    let claimed = Rc::new(Cell::new(0.0));
    let result = claimed.clone();
    settle(database, &[store::META], async |transaction| {
        let claimed = claimed.clone();
        let meta = transaction.object_store(store::META)?;
        let epoch = meta.get(&meta::EPOCH.into())?;
        let raising = transaction.clone();
        let raise = Closure::once(move |event: web_sys::Event| {
            // By the clock, because a count starts again in stores that were wiped.
            let epoch = f64::max(stored(&event).unwrap_or(0.0) + 1.0, Date::now());
            claimed.set(epoch);
            if meta.put_with_key(&epoch.into(), &meta::EPOCH.into()).is_err() {
                raising.abort().ok();
            }
        });
        epoch.set_onsuccess(Some(raise.as_ref().unchecked_ref()));
        settled(transaction, raise).await
    })
    .await?;
    Ok(Epoch(result.get()))
}

/// Writes a batch.
pub(super) async fn commit(database: &Database, epoch: Epoch, ops: &[Op]) -> Result<(), CommitFault> {
    // What cannot be written as a row is our own mistake; trying again would not mend it.
    let broken = |_| CommitFault::Store(StoreFault::Broken);
    let writes = ops.iter().map(Write::of).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let mut stores = vec![store::META];
    for write in &writes {
        match write {
            Write::Put(store, ..) | Write::Delete(store, _) if !stores.contains(store) => stores.push(store),
            Write::Clear => stores = store::ALL.to_vec(),
            _ => {}
        }
    }
    let fenced = Rc::new(Cell::new(false));
    let outcome = settle(database, &stores, async |transaction| {
        let check = check_epoch(&transaction, epoch, fenced.clone())?;
        for write in &writes {
            if let Err(error) = write.issue(&transaction, epoch) {
                // Nothing of a batch may land without the rest.
                transaction.abort().ok();
                return Err(error);
            }
        }
        settled(transaction, check).await
    })
    .await;
    if fenced.get() { Err(CommitFault::Fenced) } else { outcome }
}

/// Opens a transaction and lets `work` use it, once more on a new handle if the handle was
/// lost: rows are blind puts, so a second time changes nothing.
async fn settle(
    database: &Database,
    stores: &[&str],
    work: impl AsyncFn(IdbTransaction) -> Result<(), JsValue>,
) -> Result<(), CommitFault> {
    let mut tried = false;
    loop {
        let handle = database.writer().await.map_err(CommitFault::Store)?;
        let outcome = match begin(&handle, stores) {
            Ok(transaction) => work(transaction).await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return Ok(()) };
        match name_of(&error).as_str() {
            "InvalidStateError" | "UnknownError" | "AbortError" if !tried => {
                tried = true;
                database.drop_handles();
            }
            name => return Err(CommitFault::Store(fault_named(name))),
        }
    }
}

/// web-sys has `durability` only under an unstable flag for the whole build.
fn begin(database: &IdbDatabase, stores: &[&str]) -> Result<IdbTransaction, JsValue> {
    let names: Array = stores.iter().map(|name| JsValue::from(*name)).collect();
    let options = Object::new();
    Reflect::set(&options, &"durability".into(), &"strict".into())?;
    let open: Function = Reflect::get(database, &"transaction".into())?.dyn_into()?;
    open.call3(database, &names, &IdbTransactionMode::Readwrite.into(), &options)?.dyn_into()
}

/// Issues the read that comes before every put: aborts if the epoch is not ours.
fn check_epoch(
    transaction: &IdbTransaction,
    ours: Epoch,
    fenced: Rc<Cell<bool>>,
) -> Result<impl Sized + use<>, JsValue> {
    let epoch = transaction.object_store(store::META)?.get(&meta::EPOCH.into())?;
    let transaction = transaction.clone();
    let check = Closure::once(move |event: web_sys::Event| {
        if stored(&event) != Some(ours.0) {
            fenced.set(true);
            transaction.abort().ok();
        }
    });
    epoch.set_onsuccess(Some(check.as_ref().unchecked_ref()));
    Ok(check)
}

fn stored(event: &web_sys::Event) -> Option<f64> {
    event.target()?.dyn_into::<IdbRequest>().ok()?.result().ok()?.as_f64()
}

/// Waits for the end. `callbacks` are what the transaction still calls.
async fn settled<T>(transaction: IdbTransaction, callbacks: T) -> Result<(), JsValue> {
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let end = Closure::<dyn FnMut(web_sys::Event)>::new(move |event: web_sys::Event| {
        if let Some(tell) = tell.take() {
            tell.send(event.type_() == "complete").ok();
        }
    });
    transaction.set_oncomplete(Some(end.as_ref().unchecked_ref()));
    transaction.set_onabort(Some(end.as_ref().unchecked_ref()));
    let complete = told.await == Ok(true);
    transaction.set_oncomplete(None);
    transaction.set_onabort(None);
    drop(callbacks);
    if complete { Ok(()) } else { Err(transaction.error().map_or(JsValue::NULL, JsValue::from)) }
}

/// An operation in the store's terms.
enum Write {
    Put(&'static str, JsValue, Option<&'static str>),
    Delete(&'static str, JsValue),
    Clear,
}

impl Write {
    fn of(op: &Op) -> Result<Self, serde_wasm_bindgen::Error> {
        Ok(match op {
            Op::PutMessage(row) => Self::Put(store::MESSAGES, to_row(row)?, None),
            Op::DeleteMessage(key) => Self::Delete(store::MESSAGES, to_row(key)?),
            Op::PutOutbox(row) => Self::Put(store::OUTBOX, to_row(row)?, None),
            Op::DeleteOutbox(origin) => Self::Delete(store::OUTBOX, to_row(origin)?),
            Op::PutOwed(row) => Self::Put(store::OWED, to_row(row)?, None),
            Op::DeleteOwed(key) => Self::Delete(store::OWED, to_row(key)?),
            Op::PutConversation(row) => Self::Put(store::CONVERSATIONS, to_row(row)?, None),
            Op::PutSession(row) => Self::Put(store::META, to_row(row)?, Some(meta::SESSION)),
            Op::PutAccount(row) => Self::Put(store::META, to_row(row)?, Some(meta::ACCOUNT)),
            Op::Clear => Self::Clear,
        })
    }

    fn issue(&self, transaction: &IdbTransaction, epoch: Epoch) -> Result<(), JsValue> {
        match self {
            Self::Put(store, row, None) => transaction.object_store(store)?.put(row)?,
            Self::Put(store, row, Some(key)) => {
                transaction.object_store(store)?.put_with_key(row, &(*key).into())?
            }
            Self::Delete(store, key) => transaction.object_store(store)?.delete(key)?,
            Self::Clear => {
                for store in store::ALL {
                    transaction.object_store(store)?.clear()?;
                }
                // The lead is not part of what the user signs out of.
                transaction.object_store(store::META)?.put_with_key(&epoch.0.into(), &meta::EPOCH.into())?
            }
        };
        Ok(())
    }
}

/// A row as a plain object: numbers as numbers, so that they sort in an index.
pub(super) fn to_row(row: &impl Serialize) -> Result<JsValue, serde_wasm_bindgen::Error> {
    row.serialize(&serde_wasm_bindgen::Serializer::json_compatible())
}
