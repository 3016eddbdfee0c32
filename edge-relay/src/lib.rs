//! The relay on Cloudflare Workers, or on workerd alone: a driver for `shared::relay`. It
//! translates between the runtime and the engines and decides nothing; what a frame means is
//! not known here.
//!
//! `object` is what the runtime calls in the Durable Object of an account, `mailbox` runs its
//! engine over `store` (rows), `links` (sockets), `calls` (other mailboxes), `cold` (segments of old
//! rows, kept in R2 or by `segments`) and `wake` (time).
//! `lobby` serves clients that have not named their account. `crash` says what becomes of a panic, `bind` reaches what the `worker` crate does not.

mod bind;
mod calls;
mod cold;
mod columns;
#[cfg(feature = "contract")]
mod contract;
mod crash;
mod links;
mod lobby;
mod mailbox;
mod object;
mod pause;
mod segments;
mod settings;
mod store;
mod wake;

use shared::jid::BareJid;
use worker::{Context, Env, Request, Response, ResponseBuilder, Result, Url, WebSocketPair, event};

#[event(start)]
fn start() {
    crash::install();
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    crash::leave();
    match request.path().as_str() {
        "/xmpp-websocket" => websocket(request, env, &context).await,
        "/.well-known/host-meta" => host_meta(&request, "application/xrd+xml", |url| {
            let url = url.replace('&', "&amp;").replace('\'', "&apos;");
            format!(
                "<?xml version='1.0' encoding='utf-8'?>\n\
                 <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\
                 <Link rel='{WEBSOCKET_RELATION}' href='{url}'/></XRD>\n"
            )
        }),
        "/.well-known/host-meta.json" => host_meta(&request, "application/json", |url| {
            serde_json::json!({ "links": [{ "rel": WEBSOCKET_RELATION, "href": url }] }).to_string()
        }),
        "/rows" if settings::counts_rows(&env) => match hinted_account(&request.url()?, &env) {
            Ok(Some(account)) => {
                env.durable_object("MAILBOX")?
                    .get_by_name(account.as_str())?
                    .fetch_with_str("http://mailbox/rows")
                    .await
            }
            _ => Response::error("name a local account", 400),
        },
        #[cfg(feature = "contract")]
        path if path.starts_with(contract::PREFIX) => contract::forward(request, &env).await,
        // Types, headers and pages of the app are the asset server's to know.
        _ => env.assets("ASSETS")?.fetch_request(request).await,
    }
}

/// XEP-0156 §4
const WEBSOCKET_RELATION: &str = "urn:xmpp:alt-connections:websocket";

/// Tells where the WebSocket is.
fn host_meta(request: &Request, kind: &str, body: impl FnOnce(&str) -> String) -> Result<Response> {
    let Ok(url) = request.url() else { return Response::error("there is no such host", 400) };
    // Behind a reverse proxy only the proxy knows.
    let forwarded = request.headers().get("X-Forwarded-Proto")?;
    let secure = url.scheme() == "https" || forwarded.as_deref() == Some("https");
    let websocket = format!("{}://{}/xmpp-websocket", if secure { "wss" } else { "ws" }, host(&url));
    let response = Response::ok(body(&websocket))?;
    let headers = response.headers();
    headers.set("Content-Type", kind)?;
    // What a page asks first, where its request has headers of its own, is answered by these too.
    headers.set("Access-Control-Allow-Origin", "*")?;
    headers.set("Access-Control-Allow-Methods", "GET, HEAD")?;
    headers.set("Access-Control-Allow-Headers", "*")?;
    headers.set("X-Content-Type-Options", "nosniff")?;
    Ok(response)
}

/// RFC 7395 §3.1, and who may connect at all.
async fn websocket(request: Request, env: Env, context: &Context) -> Result<Response> {
    let header = |name| request.headers().get(name);
    if !header("Upgrade")?.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        let refusal = ResponseBuilder::new().with_header("Upgrade", "websocket")?;
        return refusal.error("this is a WebSocket (RFC 7395)", 426);
    }
    let protocols = header("Sec-WebSocket-Protocol")?.unwrap_or_default();
    if !protocols.split(',').any(|protocol| protocol.trim() == "xmpp") {
        return Response::error("the WebSocket's sub-protocol must be xmpp (RFC 7395)", 400);
    }
    let url = request.url()?;
    if let Some(origin) = header("Origin")?.filter(|origin| !settings::allows_origin(&env, origin)) {
        // A page elsewhere must not use the credentials that a browser keeps for this one.
        if Url::parse(&origin).ok().is_none_or(|origin| host(&origin) != host(&url)) {
            return Response::error("pages of this origin may not connect", 403);
        }
    }
    match hinted_account(&url, &env) {
        Err(NoAccount::Malformed) => Response::error("the account is no bare JID", 400),
        Err(NoAccount::Elsewhere) => Response::error("there is no such account here", 404),
        Ok(Some(account)) => {
            env.durable_object("MAILBOX")?.get_by_name(account.as_str())?.fetch_with_request(request).await
        }
        Ok(None) => {
            let pair = WebSocketPair::new()?;
            context.wait_until(lobby::Driver::new(pair.server, env)?.run());
            let response =
                ResponseBuilder::new().with_status(101).with_header("Sec-WebSocket-Protocol", "xmpp")?;
            Ok(response.with_websocket(pair.client).empty())
        }
    }
}

enum NoAccount {
    Malformed,
    Elsewhere,
}

/// The account in the URL: where to go, never who somebody is.
fn hinted_account(url: &Url, env: &Env) -> std::result::Result<Option<BareJid>, NoAccount> {
    let Some((_, hint)) = url.query_pairs().find(|(name, _)| name == "account") else { return Ok(None) };
    let account = BareJid::parse(&hint).map_err(|_| NoAccount::Malformed)?;
    if account.local().is_none() {
        return Err(NoAccount::Malformed);
    }
    settings::local_account(env, account.as_str()).map(Some).ok_or(NoAccount::Elsewhere)
}

fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}
