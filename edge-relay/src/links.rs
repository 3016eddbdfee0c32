//! The mailbox's WebSockets. Each carries its number and what the engine wants remembered, so
//! that both are there again when the object wakes from hibernation.

use crate::bind;
use shared::id::LinkId;
use shared::relay::LinkState;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use worker::{Result, State, WebSocket, WebSocketPair};

/// The open connections.
pub struct Links {
    state: Rc<State>,
    open: RefCell<BTreeMap<LinkId, WebSocket>>,
}

impl Links {
    /// The connections of this object. Touches nothing.
    pub fn new(state: Rc<State>) -> Self {
        Self { state, open: RefCell::default() }
    }

    /// Makes a connection. The WebSocket is the client's end.
    pub fn accept(&self) -> Result<(LinkId, WebSocket)> {
        let pair = WebSocketPair::new()?;
        // A double holds 53 bits exactly.
        let link = LinkId(u64::from_le_bytes(bind::random()?) >> 11);
        self.state.as_raw().accept_websocket(pair.server.as_ref())?;
        pair.server.serialize_attachment(format!("{} ", link.0))?;
        self.open.borrow_mut().insert(link, pair.server);
        Ok((link, pair.client))
    }

    /// The number of a socket that something happened to; `None` if it was closed from here.
    pub fn number(&self, socket: &WebSocket) -> Option<LinkId> {
        let (link, _) = attachment(socket)?;
        self.open.borrow_mut().entry(link).or_insert_with(|| socket.clone());
        Some(link)
    }

    /// All connections, with what was remembered of them.
    pub fn load(&self) -> Result<Vec<(LinkId, LinkState)>> {
        let hibernated = self.state.as_raw().get_websockets()?;
        for socket in hibernated.into_iter().map(WebSocket::from) {
            self.number(&socket);
        }
        let mut found = Vec::new();
        for (link, socket) in self.open.borrow().iter() {
            // Nothing was remembered of one that is just being made.
            if let Some((_, state)) = attachment(socket).filter(|(_, state)| !state.is_empty()) {
                found.push((*link, serde_json::from_str(&state)?));
            }
        }
        Ok(found)
    }

    /// Keeps this over hibernation.
    pub fn remember(&self, link: LinkId, state: &LinkState) -> Result<()> {
        match self.open.borrow().get(&link) {
            Some(socket) => {
                socket.serialize_attachment(format!("{} {}", link.0, serde_json::to_string(state)?))
            }
            None => Ok(()),
        }
    }

    /// Sends a text message. It is lost if the connection is: its end is reported by itself.
    pub fn send(&self, link: LinkId, text: &str) {
        if let Some(socket) = self.open.borrow().get(&link) {
            let _ = socket.send_with_str(text);
        }
    }

    /// Closes a connection, or answers its closing.
    pub fn close(&self, link: LinkId, code: u16) {
        if let Some(socket) = self.open.borrow_mut().remove(&link) {
            close(&socket, code);
        }
    }

    /// Closes all.
    pub fn close_all(&self, code: u16) {
        let hibernated = self.state.as_raw().get_websockets().unwrap_or_default();
        let open = std::mem::take(&mut *self.open.borrow_mut());
        open.into_values().chain(hibernated.into_iter().map(WebSocket::from)).for_each(|s| close(&s, code));
    }
}

/// Closes a socket for good: it will not be taken for a connection again.
pub fn close(socket: &WebSocket, code: u16) {
    let _ = socket.serialize_attachment(());
    // RFC 6455 §7.4.1: these say what happened and are never sent.
    let code = if matches!(code, 1004..=1006 | 1015) { 1000 } else { code };
    // An error is one that is closed already.
    let _ = socket.close(Some(code), Some(""));
}

fn attachment(socket: &WebSocket) -> Option<(LinkId, String)> {
    let text = socket.deserialize_attachment::<String>().ok()??;
    let (link, state) = text.split_once(' ')?;
    Some((LinkId(link.parse().ok()?), state.to_owned()))
}
