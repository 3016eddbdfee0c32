//! The Durable Object `Mailbox`: what the runtime calls. All five handlers are here because the
//! ones a class leaves out panic.

use crate::calls;
use crate::crash;
use crate::mailbox::{Event, Mailbox as Inner};
use crate::settings;
use shared::relay::{TransferReply, TransferRequest};
use std::rc::Rc;
use worker::{
    DurableObject, Env, Error, Request, Response, ResponseBuilder, Result, Socket, State, WebSocket,
    WebSocketIncomingMessage, durable_object,
};

/// One account's object; its name is the bare JID.
#[durable_object]
pub struct Mailbox {
    /// `None` in an object that is about to be aborted: its sockets remember more than is true.
    inner: Option<Rc<Inner>>,
}

impl DurableObject for Mailbox {
    fn new(state: State, env: Env) -> Self {
        crash::enter(&state);
        let first = crash::first_construction(&state);
        Self { inner: first.then(|| Inner::new(Rc::new(state), env)) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Some(inner) = &self.inner else { return Response::error("the relay crashed", 503) };
        crash::enter(&inner.state);
        #[cfg(feature = "contract")]
        if request.path().starts_with(crate::contract::PREFIX) {
            return crate::contract::answer(inner, &mut request).await;
        }
        match (request.path().as_str(), inner.account()) {
            ("/transfer", Some(_)) => transfer(inner, &request.text().await?).await,
            ("/transfer", None) => Response::from_json(&TransferReply::NoSuchUser),
            ("/xmpp-websocket", Some(_)) => connect(inner),
            ("/rows", Some(_)) if settings::counts_rows(&inner.env) => rows(inner),
            _ => Response::error("there is nothing here", 404),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        // An error has the alarm called again, in the next object.
        let Some(inner) = &self.inner else { return Err(Error::from("the relay crashed")) };
        inner.alarm();
        Response::empty()
    }

    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let Some(inner) = &self.inner else { return Ok(()) };
        crash::enter(&inner.state);
        if let Some(link) = inner.links.number(&socket) {
            inner.happened(match message {
                WebSocketIncomingMessage::String(text) => Event::Frame(link, text),
                WebSocketIncomingMessage::Binary(_) => Event::Binary(link),
            });
        }
        Ok(())
    }

    async fn websocket_close(&self, socket: WebSocket, code: usize, _: String, _: bool) -> Result<()> {
        if let Some(inner) = &self.inner {
            crash::enter(&inner.state);
            inner.closed(&socket, u16::try_from(code).unwrap_or(1000));
        }
        Ok(())
    }

    async fn websocket_error(&self, socket: WebSocket, _: Error) -> Result<()> {
        if let Some(inner) = &self.inner {
            crash::enter(&inner.state);
            inner.closed(&socket, 1011);
        }
        Ok(())
    }

    async fn connect(&self, _: Socket) -> Result<()> {
        Err(Error::from("a mailbox has no TCP side"))
    }
}

fn connect(inner: &Rc<Inner>) -> Result<Response> {
    let (link, client) = inner.links.accept()?;
    inner.happened(Event::LinkUp(link));
    let response = ResponseBuilder::new().with_status(101).with_header("Sec-WebSocket-Protocol", "xmpp")?;
    Ok(response.with_websocket(client).empty())
}

async fn transfer(inner: &Rc<Inner>, body: &str) -> Result<Response> {
    let Ok(request) = serde_json::from_str::<TransferRequest>(body) else {
        return Response::error("this is no transfer", 400);
    };
    let (call, answer) = inner.waiting.add();
    inner.happened(Event::Transfer(call, request));
    calls::answer(answer).await
}

fn rows(inner: &Rc<Inner>) -> Result<Response> {
    Response::from_json(&serde_json::json!({
        // Setting an alarm writes a row.
        "rows_written": inner.store.rows_written.get() + inner.clock.alarms_set.get(),
        "rows_read": inner.store.rows_read.get(),
    }))
}
