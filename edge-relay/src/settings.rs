//! What the operator has set (`[vars]` in wrangler.toml).

use shared::jid::BareJid;
use shared::relay::Registration;
use worker::Env;

/// The domain part of every address here.
pub fn domain(env: &Env) -> String {
    let domain = text(env, "DOMAIN").unwrap_or_else(|| "localhost".to_owned());
    BareJid::parse(&domain).map_or(domain, |prepared| prepared.as_str().to_owned())
}

/// Who may register: nobody, unless it says otherwise.
pub fn registration(env: &Env) -> Registration {
    match text(env, "REGISTRATION").as_deref() {
        Some("open") => Registration::Open,
        _ => Registration::Closed,
    }
}

/// Whether anybody may ask how many rows a mailbox has read and written (development only).
pub fn counts_rows(env: &Env) -> bool {
    text(env, "COUNT_ROWS").as_deref() == Some("1")
}

/// Whether pages of this origin may connect although they come from elsewhere.
pub fn allows_origin(env: &Env, origin: &str) -> bool {
    text(env, "ALLOWED_ORIGINS").is_some_and(|list| list.split(',').any(|allowed| allowed.trim() == origin))
}

/// The account of this name, if it is a prepared address of an account of this domain.
pub fn local_account(env: &Env, name: &str) -> Option<BareJid> {
    let account = BareJid::parse(name).ok()?;
    let local = account.as_str() == name && account.local().is_some() && account.domain() == domain(env);
    local.then_some(account)
}

fn text(env: &Env, name: &str) -> Option<String> {
    env.var(name).ok().map(|value| value.to_string())
}
