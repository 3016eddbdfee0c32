//! The lobby: where a client without the account hint waits until it has named its account.
//!
//! It speaks the stream up to the first element that names an account (SASL, or registration),
//! has a connection to that account's mailbox opened, repeats there what the client said, and
//! from then on copies frames. It knows no password and no session, and authenticates nobody.

use super::link::{features_before_authentication, open_fault, open_frame, registration_form, unknown};
use super::rates::Times;
use super::sasl2;
use super::session::failed;
use crate::jid::{BareJid, prepared_local};
use crate::limits::{FRAME_BYTES_MAX_UNAUTHENTICATED, FRAMES_UNBOUND_MAX};
use crate::sasl::{SaslFault, names};
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::stanza::{self, Kind};
use crate::wire::{CLOSE, Element, ns, read_frame};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Frames a client may send while its mailbox is being reached.
const WAITING_FRAMES_MAX: usize = 8;

/// What happens to a lobby.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input<'a> {
    /// The client sent a text message.
    FromClient(&'a str),
    /// The client sent a binary message.
    BinaryFromClient,
    /// The connection that [`Output::Attach`] asked for is open.
    Attached,
    /// The mailbox sent a text message.
    FromMailbox(&'a str),
    /// The mailbox closed its connection, or could not be reached.
    MailboxDown,
    /// The client has named no account for `AUTHENTICATION_MS_MAX`.
    TooLate,
}

/// What a lobby wants done, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send the client a text message.
    ToClient(String),
    /// Close any connection to a mailbox and open one to this account's.
    Attach(BareJid),
    /// Send the mailbox a text message.
    ToMailbox(String),
    /// Close both connections with this code.
    Close(u16),
}

enum State {
    /// No `<open/>` yet.
    Fresh,
    /// Open, and nobody named.
    Open,
    /// Being attached; what the client says meanwhile waits.
    Attaching(BareJid, Vec<String>),
    /// Attached. The mailbox opens its own stream first, which the client has seen already.
    /// During an exchange of XEP-0388 the client has said all that it may say to anybody else.
    Attached {
        account: BareJid,
        swallow: u8,
        exchange: bool,
    },
    /// Authenticated: the account is settled, frames are copied unread.
    Settled,
    Closed,
}

/// One client without an account hint.
pub struct Lobby {
    domain: String,
    registration: bool,
    token: String,
    from: Option<String>,
    state: State,
    frames: Times,
}

impl Lobby {
    /// A lobby of this domain; `token` names its stream and must be unpredictable.
    pub fn new(domain: &str, registration: bool, token: String) -> Self {
        Self {
            domain: domain.to_owned(),
            registration,
            token,
            from: None,
            state: State::Fresh,
            frames: Times::default(),
        }
    }

    /// Takes one input and says what to do.
    pub fn handle(&mut self, input: Input<'_>) -> Vec<Output> {
        match (input, &mut self.state) {
            (_, State::Closed) => Vec::new(),
            (Input::FromClient(text), State::Settled) => vec![Output::ToMailbox(text.to_owned())],
            (Input::FromClient(_), _) if self.frames.exceed(FRAMES_UNBOUND_MAX) => {
                self.fail(StreamCondition::PolicyViolation)
            }
            (Input::FromClient(text), _) => self.take_client_frame(text),
            (Input::BinaryFromClient, _) => {
                self.state = State::Closed;
                vec![Output::Close(1003)]
            }
            (Input::Attached, State::Attaching(account, waiting)) => {
                let mut open = Element::new(ns::FRAMING, "open")
                    .with_attr("to", self.domain.as_str())
                    .with_attr("version", "1.0");
                // XEP-0388 §2.3: the mailbox has to know whom the stream is from.
                if let Some(from) = &self.from {
                    open.set_attr("from", from.as_str());
                }
                let exchange = waiting.iter().any(|frame| begins_exchange(frame));
                let frames = std::iter::once(open.to_frame()).chain(std::mem::take(waiting));
                let outputs = frames.map(Output::ToMailbox).collect();
                self.state = State::Attached { account: account.clone(), swallow: 2, exchange };
                outputs
            }
            (Input::FromMailbox(_), State::Attached { swallow, .. }) if *swallow > 0 => {
                *swallow -= 1;
                Vec::new()
            }
            (Input::FromMailbox(text), State::Attached { exchange, .. }) => {
                let said = read_frame(text, FRAME_BYTES_MAX_UNAUTHENTICATED).ok();
                let said = said.filter(|said| matches!(said.ns.as_str(), ns::SASL | ns::SASL2));
                match said.as_ref().map(|said| said.name.as_str()) {
                    Some("success") => self.state = State::Settled,
                    Some("failure") => *exchange = false,
                    _ => {}
                }
                vec![Output::ToClient(text.to_owned())]
            }
            (Input::FromMailbox(text), State::Settled) => vec![Output::ToClient(text.to_owned())],
            (Input::TooLate, State::Fresh | State::Open) => self.fail(StreamCondition::ConnectionTimeout),
            (Input::MailboxDown, State::Attaching(..) | State::Attached { .. } | State::Settled) => {
                self.state = State::Closed;
                vec![Output::Close(1001)]
            }
            (Input::Attached | Input::FromMailbox(_) | Input::MailboxDown | Input::TooLate, _) => Vec::new(),
        }
    }

    fn take_client_frame(&mut self, text: &str) -> Vec<Output> {
        let element = match read_frame(text, FRAME_BYTES_MAX_UNAUTHENTICATED) {
            Ok(element) => element,
            Err(fault) => return self.fail(fault.into()),
        };
        if element.is(ns::FRAMING, "close") {
            self.state = State::Closed;
            return vec![Output::ToClient(CLOSE.to_owned()), Output::Close(1000)];
        }
        if matches!(self.state, State::Fresh) {
            if let Some(fault) = open_fault(&element, &self.domain) {
                return self.fail(fault);
            }
            self.state = State::Open;
            self.from = element.attr("from").map(str::to_owned);
            return vec![
                Output::ToClient(open_frame(&self.domain, &self.token)),
                Output::ToClient(features_before_authentication(self.registration).to_frame()),
            ];
        }
        if matches!(self.state, State::Attached { exchange: true, .. }) {
            return vec![Output::ToMailbox(text.to_owned())];
        }
        match self.named(&element) {
            Ok(Some(account)) => self.pass(account, text),
            Ok(None) => self.without_account(&element, text),
            Err(reply) => vec![Output::ToClient(reply.to_frame())],
        }
    }

    /// The account an element names, if it names one; or the error it deserves.
    fn named(&self, element: &Element) -> Result<Option<BareJid>, Element> {
        if element.is(ns::SASL, "auth") {
            let malformed =
                || Element::new(ns::SASL, "failure").with(Element::new(ns::SASL, "malformed-request"));
            let first = STANDARD.decode(element.text().trim()).map_err(|_| malformed())?;
            let (name, _) = names(&first).map_err(|_| malformed())?;
            return BareJid::new(&name, &self.domain).map(Some).map_err(|_| malformed());
        }
        if element.is(ns::SASL2, "authenticate") {
            let name = sasl2::named(element);
            let account = name
                .and_then(|name| BareJid::new(&name, &self.domain).map_err(|_| SaslFault::MalformedRequest));
            return account.map(Some).map_err(|fault| {
                Element::new(ns::SASL2, "failure").with(Element::new(ns::SASL, fault.condition()))
            });
        }
        let query = match stanza::kind(element) {
            Some(Kind::Iq) if element.attr("type") == Some("set") => element.child(ns::REGISTER, "query"),
            _ => None,
        };
        let Some(username) = query.and_then(|query| query.child(ns::REGISTER, "username")) else {
            return Ok(None);
        };
        prepared_local(&username.text())
            .and_then(|local| BareJid::new(&local, &self.domain))
            .map(Some)
            .map_err(|_| {
                let error = StanzaError::JID_MALFORMED;
                stanza::error_reply(element, error).unwrap_or_else(|| error.element())
            })
    }

    /// To the mailbox of the account that was named, attached to it first if need be.
    fn pass(&mut self, account: BareJid, text: &str) -> Vec<Output> {
        match &mut self.state {
            State::Attached { account: current, exchange, .. } if *current == account => {
                *exchange = begins_exchange(text);
                return vec![Output::ToMailbox(text.to_owned())];
            }
            State::Attaching(current, waiting)
                if *current == account && waiting.len() < WAITING_FRAMES_MAX =>
            {
                waiting.push(text.to_owned());
                return Vec::new();
            }
            State::Attaching(..) => return self.fail(StreamCondition::PolicyViolation),
            _ => {}
        }
        self.state = State::Attaching(account.clone(), vec![text.to_owned()]);
        vec![Output::Attach(account)]
    }

    fn without_account(&mut self, element: &Element, text: &str) -> Vec<Output> {
        match &mut self.state {
            State::Attached { .. } => vec![Output::ToMailbox(text.to_owned())],
            State::Attaching(_, waiting) if waiting.len() < WAITING_FRAMES_MAX => {
                waiting.push(text.to_owned());
                Vec::new()
            }
            State::Attaching(..) => self.fail(StreamCondition::PolicyViolation),
            _ if stanza::kind(element) == Some(Kind::Iq)
                && element.child(ns::REGISTER, "query").is_some() =>
            {
                let reply = match element.attr("type") {
                    Some("get") => Some(stanza::iq_result(element, Some(registration_form()))),
                    _ => stanza::error_reply(element, StanzaError::BAD_REQUEST),
                };
                reply.map(|reply| Output::ToClient(reply.to_frame())).into_iter().collect()
            }
            _ if stanza::kind(element).is_some() => self.fail(StreamCondition::NotAuthorized),
            _ if matches!(element.ns.as_str(), ns::SASL | ns::SASL2) => self.fail(StreamCondition::BadFormat),
            _ if element.is(ns::SM, "enable") || element.is(ns::SM, "resume") => {
                vec![Output::ToClient(failed("unexpected-request").to_frame())]
            }
            _ => self.fail(unknown(element)),
        }
    }

    fn fail(&mut self, condition: StreamCondition) -> Vec<Output> {
        let mut outputs = Vec::new();
        // RFC 7395 §3.5
        if matches!(self.state, State::Fresh) {
            outputs.push(Output::ToClient(open_frame(&self.domain, &self.token)));
        }
        self.state = State::Closed;
        outputs.push(Output::ToClient(condition.element().to_frame()));
        outputs.push(Output::ToClient(CLOSE.to_owned()));
        outputs.push(Output::Close(1000));
        outputs
    }
}

/// Whether nothing but its answers may follow (XEP-0388 §2.4).
fn begins_exchange(frame: &str) -> bool {
    read_frame(frame, FRAME_BYTES_MAX_UNAUTHENTICATED).is_ok_and(|said| said.is(ns::SASL2, "authenticate"))
}
