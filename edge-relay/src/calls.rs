//! Calls between mailboxes: one object's `fetch` of another.
//!
//! What became of a call that failed or took too long is not known, and the caller is told just
//! that. It will call again, and what is called twice is recognised there.

use crate::pause::pause;
use futures::channel::oneshot;
use futures::future::{Either, select};
use shared::relay::{CallId, TransferReply, TransferRequest};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use worker::{Env, Error, Method, Request, RequestInit, Response, Result, console_warn};

/// How long a call may take. The object that is called may be gone without a word.
pub const CALL_MS_MAX: u64 = 10_000;

/// What the future comes to, or an error if it takes longer than a call may.
pub async fn in_time<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match select(pin!(future), pause(CALL_MS_MAX)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(Error::from("no answer in time")),
    }
}

/// Hands messages to another mailbox; `None` if what became of them is not known.
pub async fn transfer(env: &Env, request: &TransferRequest) -> Option<TransferReply> {
    let reply = in_time(call(env, request)).await;
    reply.inspect_err(|error| console_warn!("a transfer failed: {error}")).ok()
}

async fn call(env: &Env, request: &TransferRequest) -> Result<TransferReply> {
    let body = serde_json::to_string(request)?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(body.into()));
    let call = Request::new_with_init("http://mailbox/transfer", &init)?;
    // After an error a stub may be broken for ever, so each call makes its own.
    let mailbox = env.durable_object("MAILBOX")?.get_by_name(request.to.as_str())?;
    let mut response = mailbox.fetch_with_request(call).await?;
    let body = response.text().await?;
    if response.status_code() != 200 {
        return Err(Error::from(format!("status {}", response.status_code())));
    }
    Ok(serde_json::from_str(&body)?)
}

/// Calls from other mailboxes that wait for their answer.
#[derive(Default)]
pub struct Waiting {
    last: Cell<u64>,
    callers: RefCell<BTreeMap<CallId, oneshot::Sender<TransferReply>>>,
}

impl Waiting {
    /// Notes a call. The receiver fails if the engine ends without an answer.
    pub fn add(&self) -> (CallId, oneshot::Receiver<TransferReply>) {
        let call = CallId(self.last.get() + 1);
        self.last.set(call.0);
        let (sender, receiver) = oneshot::channel();
        self.callers.borrow_mut().insert(call, sender);
        (call, receiver)
    }

    /// Answers a call.
    pub fn reply(&self, call: CallId, reply: TransferReply) {
        if let Some(caller) = self.callers.borrow_mut().remove(&call) {
            // An error is a caller that no longer waits.
            let _ = caller.send(reply);
        }
    }

    /// Answers nobody any more.
    pub fn clear(&self) {
        self.callers.borrow_mut().clear();
    }
}

/// The answer to a call, when it is there.
pub async fn answer(receiver: oneshot::Receiver<TransferReply>) -> Result<Response> {
    let reply = in_time(async { receiver.await.map_err(|_| Error::from("the mailbox starts anew")) }).await;
    match reply {
        Ok(reply) => Response::from_json(&reply),
        Err(error) => Response::error(error.to_string(), 503),
    }
}
