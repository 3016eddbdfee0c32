//! Which account is signed in here: a pointer in localStorage, so that the app knows at its
//! start which database to open. Everything secret is in that database.

use shared::jid::BareJid;

const KEY: &str = "counterfoil:account";

/// The account that is signed in on this device, and its relay.
pub fn remembered() -> Option<(BareJid, String)> {
    let text = storage()?.get_item(KEY).ok()??;
    let (jid, url) = text.split_once('\n')?;
    Some((BareJid::parse(jid).ok()?, url.to_owned()))
}

/// From the next start on, this account is opened. Without localStorage the user signs in again.
pub(super) fn remember(account: &BareJid, url: &str) {
    if let Some(storage) = storage() {
        storage.set_item(KEY, &format!("{account}\n{url}")).ok();
    }
}

/// Takes the pointer away, unless it points at another account by then.
pub(super) fn forget(account: &BareJid) {
    if remembered().is_some_and(|(remembered, _)| remembered == *account)
        && let Some(storage) = storage()
    {
        storage.remove_item(KEY).ok();
    }
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.local_storage().ok()?
}
