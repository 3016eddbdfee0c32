//! The store contract's way to the rows (`tests/contract`): applies batches and tells what stands,
//! without an engine.
//!
//! Whoever reaches this may write what they like. It is there only with the feature `contract`,
//! which no build has that serves anybody.

use crate::mailbox::Mailbox;
use crate::store::Store;
use crate::{NoAccount, hinted_account};
use serde_json::{from_str, json};
use shared::archive::Query;
use shared::jid::BareJid;
use shared::log::{ItemStore, LogStore};
use worker::{Env, Request, Response, Result};

/// Where all of it is, in the Worker and in the object.
pub const PREFIX: &str = "/contract/";

/// The stateless part: to the object of `?account=`.
pub async fn forward(request: Request, env: &Env) -> Result<Response> {
    match hinted_account(&request.url()?, env) {
        Ok(Some(account)) => {
            env.durable_object("MAILBOX")?.get_by_name(account.as_str())?.fetch_with_request(request).await
        }
        Ok(None) | Err(NoAccount::Malformed | NoAccount::Elsewhere) => {
            Response::error("name a local account", 400)
        }
    }
}

/// Carries one request out. What the store refuses is a 409 with its words.
pub async fn answer(mailbox: &Mailbox, request: &mut Request) -> Result<Response> {
    let (path, body) = (request.path(), request.text().await?);
    let store = &mailbox.store;
    let answer = match path.strip_prefix(PREFIX) {
        // As the first event of an object does.
        Some("open") => store.load().map(|rows| json!({ "rows": rows, "empty": store.is_empty() })),
        // What the next object would load.
        Some("rows") => Store::new(mailbox.state.clone()).load().map(|rows| json!({ "rows": rows })),
        Some("commit") => store.commit(&from_str::<Vec<_>>(&body)?).map(|()| json!({})),
        Some("page") => {
            let (after, limit) = from_str(&body)?;
            Ok(json!({ "answer": store.page(after, limit) }))
        }
        Some("select") => {
            let (query, limit): (Query, usize) = from_str(&body)?;
            Ok(json!({ "answer": store.select(&query, limit) }))
        }
        Some("size") => Ok(json!({ "answer": store.size(&from_str::<Query>(&body)?) })),
        Some("received") => {
            let (peer, places): (BareJid, Vec<_>) = from_str(&body)?;
            Ok(json!({ "answer": store.received(&peer, &places) }))
        }
        Some("items") => {
            let (node, ids): (String, Vec<String>) = from_str(&body)?;
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            Ok(json!({ "answer": store.items(&node, &ids) }))
        }
        Some("segments") => {
            let (after, before, newest_first, limit) = from_str(&body)?;
            Ok(json!({ "answer": store.segments(after, before, newest_first, limit) }))
        }
        Some("sources") => {
            let (since, limit) = from_str(&body)?;
            Ok(json!({ "answer": store.sources(since, limit) }))
        }
        _ => return Response::error("there is no such request", 404),
    };
    match answer {
        _ if store.take_failed() => Response::error("the log cannot be read", 500),
        Ok(answer) => Response::from_json(&answer),
        Err(error) => Response::error(error.to_string(), 409),
    }
}
