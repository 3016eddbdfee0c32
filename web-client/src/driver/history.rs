//! What the views and a starting engine read. One read transaction per question, so that an
//! answer is never half of one commit and half of the next.

use super::database::{Database, fault, index, meta, store};
use crate::port::StoreFault;
use js_sys::Array;
use rexie::{Direction, KeyRange, Rexie, StoreIndex, Transaction, TransactionMode};
use serde::de::DeserializeOwned;
use shared::client::rows::{AccountRow, ConversationRow, MessageRow, Rows};
use shared::jid::BareJid;
use shared::limits::Limits;
use wasm_bindgen::JsValue;

/// Above every order: what JavaScript still counts exactly.
const ORDER_MAX: f64 = js_sys::Number::MAX_SAFE_INTEGER;

/// Messages told again after a change of the lead.
const NEWS_MAX: u32 = 200;

/// Everything an engine needs to start.
pub(super) async fn load(database: &Database) -> Result<Rows, StoreFault> {
    read(database, &store::ALL, async |transaction| {
        let meta = transaction.store(store::META)?;
        let messages = transaction.store(store::MESSAGES)?;
        Ok(Rows {
            account: rows(meta.get(meta::ACCOUNT.into()).await?)?.pop(),
            session: rows(meta.get(meta::SESSION.into()).await?)?.pop(),
            outbox: rows(transaction.store(store::OUTBOX)?.get_all(None, None).await?)?,
            owed: rows(transaction.store(store::OWED)?.get_all(None, None).await?)?,
            conversations: rows(transaction.store(store::CONVERSATIONS)?.get_all(None, None).await?)?,
            awaiting: rows(messages.index(index::AWAITING)?.get_all(None, None).await?)?,
            recent: rows(recent(&messages).await?)?,
        })
    })
    .await
}

/// Who is signed in.
pub(super) async fn account(database: &Database) -> Result<Option<AccountRow>, StoreFault> {
    // The handle that hears of a deletion; the reading one would stand in its way.
    database.writer().await?;
    read(database, &[store::META], async |transaction| {
        Ok(rows(transaction.store(store::META)?.get(meta::ACCOUNT.into()).await?)?.pop())
    })
    .await
}

/// Every conversation, newest first.
pub(super) async fn conversations(database: &Database) -> Result<Vec<ConversationRow>, StoreFault> {
    let mut all: Vec<ConversationRow> = read(database, &[store::CONVERSATIONS], async |transaction| {
        rows(transaction.store(store::CONVERSATIONS)?.get_all(None, None).await?)
    })
    .await?;
    all.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| a.jid.cmp(&b.jid)));
    Ok(all)
}

/// The newest `limit` messages of a conversation before the order `before`, in timeline order.
pub(super) async fn page(
    database: &Database,
    conversation: &BareJid,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<MessageRow>, StoreFault> {
    // IndexedDB takes an empty range for a mistake.
    if before == Some(0) {
        return Ok(Vec::new());
    }
    let at = |order: f64| Array::of2(&conversation.as_str().into(), &order.into()).into();
    let (first, last): (JsValue, JsValue) = (at(0.0), at(before.map_or(ORDER_MAX, |order| order as f64)));
    read(database, &[store::MESSAGES], async |transaction| {
        let range = KeyRange::bound(&first, &last, None, Some(true)).map_err(rexie::Error::from)?;
        let timeline = transaction.store(store::MESSAGES)?.index(index::TIMELINE)?;
        let found = timeline.scan(Some(range), Some(limit), None, Some(Direction::Prev)).await?;
        rows(found.into_iter().rev().map(|(_, row)| row))
    })
    .await
}

/// What a dying leader may have changed without telling: the newest messages, those whose
/// status may still rise, and every conversation.
pub(super) async fn news(database: &Database) -> Result<(Vec<MessageRow>, Vec<ConversationRow>), StoreFault> {
    read(database, &[store::MESSAGES, store::CONVERSATIONS], async |transaction| {
        let messages = transaction.store(store::MESSAGES)?;
        let newest = messages.index(index::RECENT)?;
        let range = newest_range(&newest, NEWS_MAX).await?;
        let mut found: Vec<MessageRow> = rows(last(newest.get_all(range, None).await?, NEWS_MAX))?;
        found.extend(rows(messages.index(index::AWAITING)?.get_all(None, Some(NEWS_MAX)).await?)?);
        let conversations = transaction.store(store::CONVERSATIONS)?.get_all(None, None).await?;
        Ok((found, rows(conversations)?))
    })
    .await
}

/// Keys of the newest messages.
async fn recent(messages: &rexie::Store) -> rexie::Result<Vec<JsValue>> {
    let max = Limits::DEFAULT.client_recent_keys_max as u32;
    let newest = messages.index(index::RECENT)?;
    Ok(last(newest.get_all_keys(newest_range(&newest, max).await?, None).await?, max))
}

/// The `max` last of what a range from [`newest_range`] holds: where messages share the place at
/// which it begins, that is more.
fn last(mut found: Vec<JsValue>, max: u32) -> Vec<JsValue> {
    found.split_off(found.len().saturating_sub(max as usize))
}

/// Where the `max` newest begin. Two steps of a cursor find it; stepping through thousands
/// would take a tenth of a second.
async fn newest_range(newest: &StoreIndex, max: u32) -> rexie::Result<Option<KeyRange>> {
    let oldest = newest.scan(None, Some(1), Some(max - 1), Some(Direction::Prev)).await?;
    Ok(match oldest.first() {
        Some((order, _)) => Some(KeyRange::lower_bound(order, None)?),
        None => None,
    })
}

enum ReadFault {
    Store(rexie::Error),
    Row,
}

impl From<rexie::Error> for ReadFault {
    fn from(error: rexie::Error) -> Self {
        Self::Store(error)
    }
}

/// Rows that cannot be read are a fault and not left out: a history with holes would be a lie.
fn rows<T: DeserializeOwned>(values: impl IntoIterator<Item = JsValue>) -> Result<Vec<T>, ReadFault> {
    let row = |value| serde_wasm_bindgen::from_value(value).map_err(|_| ReadFault::Row);
    values.into_iter().map(row).collect()
}

/// Asks once more on a new handle if the first had been lost.
async fn read<T>(
    database: &Database,
    stores: &[&str],
    question: impl AsyncFn(Transaction) -> Result<T, ReadFault>,
) -> Result<T, StoreFault> {
    let mut tried = false;
    loop {
        let reader = database.reader().await?;
        let transaction =
            reader.rexie().map(|rexie: &Rexie| rexie.transaction(stores, TransactionMode::ReadOnly));
        let outcome = match transaction {
            Some(Ok(transaction)) => question(transaction).await,
            Some(Err(error)) => Err(error.into()),
            None => return Err(StoreFault::Unavailable),
        };
        match outcome {
            Ok(answer) => return Ok(answer),
            Err(ReadFault::Row) => return Err(StoreFault::Broken),
            Err(ReadFault::Store(error)) if tried => return Err(fault(&error)),
            Err(ReadFault::Store(_)) => {
                tried = true;
                database.drop_reader();
            }
        }
    }
}
