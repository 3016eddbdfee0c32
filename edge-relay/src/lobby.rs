//! The lobby's driver: a WebSocket to a client that has not said whose it is, and one to the
//! mailbox that the lobby names. It runs in the stateless Worker; the mailbox behind it still
//! hibernates.

use crate::links::close;
use crate::pause::pause;
use crate::{bind, calls, settings};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{Either, select};
use shared::jid::BareJid;
use shared::limits::AUTHENTICATION_MS_MAX;
use shared::relay::Registration;
use shared::relay::lobby::{Input, Lobby, Output};
use std::collections::VecDeque;
use wasm_bindgen_futures::spawn_local;
use worker::{Env, Error, Method, Request, Result, WebSocket, WebsocketEvent, console_warn};

/// What one of the two sockets says. Sockets are numbered: the client's is 0, and each mailbox
/// has the next.
struct Heard(u32, Said);

enum Said {
    Text(String),
    Binary,
    Closed(u16),
}

const CLIENT: u32 = 0;

/// One client without an account hint.
pub struct Driver {
    env: Env,
    lobby: Lobby,
    client: WebSocket,
    mailbox: Option<WebSocket>,
    mailbox_no: u32,
    heard: UnboundedReceiver<Heard>,
    hear: UnboundedSender<Heard>,
}

impl Driver {
    /// Takes over the server's end of a client's WebSocket.
    pub fn new(client: WebSocket, env: Env) -> Result<Self> {
        let token: String = bind::random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let (hear, heard) = unbounded();
        client.accept()?;
        spawn_local(listen(client.clone(), CLIENT, hear.clone()));
        let registration = settings::registration(&env) == Registration::Open;
        let lobby = Lobby::new(&settings::domain(&env), registration, token);
        Ok(Self { env, lobby, client, mailbox: None, mailbox_no: CLIENT, heard, hear })
    }

    /// Runs until either side is gone.
    pub async fn run(mut self) {
        let code = self.carry().await;
        close(&self.client, code);
        if let Some(mailbox) = &self.mailbox {
            close(mailbox, code);
        }
    }

    /// Carries frames; comes to the code to close with.
    async fn carry(&mut self) -> u16 {
        let mut patience = pause(AUTHENTICATION_MS_MAX);
        loop {
            let heard = if self.mailbox.is_some() {
                self.heard.next().await
            } else {
                match select(self.heard.next(), &mut patience).await {
                    Either::Left((heard, _)) => heard,
                    Either::Right(_) => match self.handle(Input::TooLate).await {
                        Some(code) => return code,
                        None => self.heard.next().await,
                    },
                }
            };
            let Some(Heard(socket, said)) = heard else { return 1011 };
            let input = match (socket, &said) {
                (CLIENT, Said::Text(text)) => Input::FromClient(text),
                (CLIENT, Said::Binary) => Input::BinaryFromClient,
                (CLIENT, Said::Closed(code)) => return *code,
                (other, _) if other != self.mailbox_no => continue,
                (_, Said::Text(text)) => Input::FromMailbox(text),
                (_, Said::Binary) => continue,
                (_, Said::Closed(_)) => Input::MailboxDown,
            };
            if let Some(code) = self.handle(input).await {
                return code;
            }
        }
    }

    /// Hands one input to the lobby and carries out what it wants; a code to close with ends it.
    async fn handle(&mut self, input: Input<'_>) -> Option<u16> {
        let mut outputs = VecDeque::from(self.lobby.handle(input));
        while let Some(output) = outputs.pop_front() {
            match output {
                // A socket that cannot send any more says so by its close.
                Output::ToClient(text) => drop(self.client.send_with_str(text)),
                Output::ToMailbox(text) => {
                    if let Some(mailbox) = &self.mailbox {
                        drop(mailbox.send_with_str(text));
                    }
                }
                Output::Attach(account) => {
                    let attached = self.attach(&account).await;
                    let input = if attached.is_ok() { Input::Attached } else { Input::MailboxDown };
                    if let Err(error) = attached {
                        console_warn!("a lobby cannot reach a mailbox: {error}");
                    }
                    outputs.extend(self.lobby.handle(input));
                }
                Output::Close(code) => return Some(code),
            }
        }
        None
    }

    async fn attach(&mut self, account: &BareJid) -> Result<()> {
        self.mailbox_no += 1;
        if let Some(mailbox) = self.mailbox.take() {
            close(&mailbox, 1000);
        }
        let socket = calls::in_time(open(&self.env, account)).await?;
        socket.accept()?;
        spawn_local(listen(socket.clone(), self.mailbox_no, self.hear.clone()));
        self.mailbox = Some(socket);
        Ok(())
    }
}

async fn open(env: &Env, account: &BareJid) -> Result<WebSocket> {
    let mut request = Request::new("http://mailbox/xmpp-websocket", Method::Get)?;
    let headers = request.headers_mut()?;
    headers.set("Upgrade", "websocket")?;
    headers.set("Sec-WebSocket-Protocol", "xmpp")?;
    let mailbox = env.durable_object("MAILBOX")?.get_by_name(account.as_str())?;
    let response = mailbox.fetch_with_request(request).await?;
    let status = response.status_code();
    response.websocket().ok_or_else(|| Error::from(format!("status {status}")))
}

/// Passes on what a socket says, until it is closed.
async fn listen(socket: WebSocket, number: u32, hear: UnboundedSender<Heard>) {
    let said = |said| drop(hear.unbounded_send(Heard(number, said)));
    let Ok(mut events) = socket.events() else { return said(Said::Closed(1011)) };
    while let Some(event) = events.next().await {
        match event {
            Ok(WebsocketEvent::Message(message)) => {
                said(message.text().map_or(Said::Binary, Said::Text));
            }
            Ok(WebsocketEvent::Close(close)) => said(Said::Closed(close.code())),
            Err(_) => return said(Said::Closed(1011)),
        }
    }
}
