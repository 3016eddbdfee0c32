//! Which account is signed in here: the one whose database holds an account row.
//!
//! Nothing else is asked, because nothing else is on the disk when the row is: browsers write
//! localStorage when they see fit, and a crash takes what they had not written. What stands
//! there is a hint, for browsers that do not list their databases and for the odd device on
//! which two tabs have signed in to two accounts.

use super::database::{self, Closed, Database};
use super::history;
use super::tabs::Lock;
use crate::port::StoreFault;
use shared::client::rows::AccountRow;
use shared::jid::BareJid;
use std::rc::Rc;

const HINT_KEY: &str = "counterfoil:account";

/// The database of the account that is signed in, and its row. A database without one is left
/// from an attempt to sign in, or from a sign-out that was cut short, and goes.
pub(super) async fn find() -> Result<Option<(Rc<Database>, AccountRow)>, StoreFault> {
    for account in candidates().await {
        let database = Database::of(&account);
        match history::account(&database).await {
            Ok(Some(row)) => return Ok(Some((database, row))),
            Ok(None) => {
                database.close(Closed::Here);
                delete_unused(&database).await;
            }
            // Another tab was quicker.
            Err(_) if database.is_deleted() => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// At the next start, this account is looked for first.
pub(super) fn hint_at(account: &BareJid) {
    if let Some(storage) = storage() {
        storage.set_item(HINT_KEY, account.as_str()).ok();
    }
}

/// Takes the hint away, unless it points at another account by then.
pub(super) fn forget(account: &BareJid) {
    if hint().as_ref() == Some(account)
        && let Some(storage) = storage()
    {
        storage.remove_item(HINT_KEY).ok();
    }
}

async fn candidates() -> Vec<BareJid> {
    let mut accounts = database::accounts().await;
    if let Some(hint) = hint() {
        accounts.retain(|account| *account != hint);
        accounts.insert(0, hint);
    }
    accounts
}

/// Whoever uses a database holds its lock: another tab may be about to sign in.
async fn delete_unused(database: &Database) {
    if let Some(_lock) = Lock::if_free(database.name()).await {
        database.delete().await;
    }
}

fn hint() -> Option<BareJid> {
    BareJid::parse(&storage()?.get_item(HINT_KEY).ok()??).ok()
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok()?
}
