//! One WebSocket, under the name the engine gave it.

use shared::id::LinkId;
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, MessageEvent, WebSocket};

/// RFC 7395 §3.1
const SUB_PROTOCOL: &str = "xmpp";

/// What happens on a connection.
pub(super) enum SocketEvent {
    Open,
    Closed,
    Text(String),
}

/// Dropping it closes the connection; nothing is heard of it afterwards.
pub(super) struct Socket {
    pub link: LinkId,
    socket: WebSocket,
    _on_open: Closure<dyn FnMut()>,
    _on_close: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl Socket {
    /// Begins to connect; `None` if the address is not one.
    pub fn connect(
        link: LinkId,
        url: &str,
        on_event: impl Fn(SocketEvent) + Clone + 'static,
    ) -> Option<Self> {
        let socket = WebSocket::new_with_str(url, SUB_PROTOCOL).ok()?;
        // A Blob would have to be read asynchronously before it could be ignored.
        socket.set_binary_type(BinaryType::Arraybuffer);
        let opened = socket.clone();
        let tell = on_event.clone();
        // A server that does not choose the sub-protocol does not speak it; browsers differ in
        // whether they refuse it themselves.
        let on_open = Closure::<dyn FnMut()>::new(move || {
            if opened.protocol() == SUB_PROTOCOL {
                tell(SocketEvent::Open);
            } else {
                opened.close().ok();
            }
        });
        let tell = on_event.clone();
        let on_close = Closure::<dyn FnMut()>::new(move || tell(SocketEvent::Closed));
        // RFC 7395 §3.2: text only.
        let on_message = Closure::<dyn FnMut(_)>::new(move |event: MessageEvent| {
            if let Some(text) = event.data().as_string() {
                on_event(SocketEvent::Text(text));
            }
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Some(Self { link, socket, _on_open: on_open, _on_close: on_close, _on_message: on_message })
    }

    /// Sends a text. On a connection that is gone it is lost, and `Closed` is on its way.
    pub fn send(&self, text: &str) {
        self.socket.send_with_str(text).ok();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.socket.set_onopen(None);
        self.socket.set_onclose(None);
        self.socket.set_onmessage(None);
        self.socket.close().ok();
    }
}
