//! A good relay of one account: it authenticates, counts, keeps what the client has not confirmed,
//! takes each origin-id once. What it says waits until the script lets it arrive.

use crate::leaf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shared::sasl::ServerExchange;
use shared::sm::{Handled, Window};
use shared::wire::{Element, ns, stanza};
use std::collections::{BTreeMap, VecDeque};

/// What is on its way to the client.
enum Down {
    Nonza(String),
    /// A stanza, and its place in the log.
    Stanza(Option<u64>, String),
}

struct Session {
    id: String,
    handled: Handled,
    window: Window<Option<u64>>,
}

/// See the module.
#[derive(Default)]
pub struct Relay {
    exchange: Option<ServerExchange>,
    authenticated: bool,
    session: Option<Session>,
    /// The client knows that the session is on.
    counting: bool,
    /// Stanzas of this connection that never arrived.
    lost: u32,
    /// Nothing arrives any more.
    pub deaf: bool,
    sessions: u32,
    mailbox: BTreeMap<u64, String>,
    last: u64,
    down: VecDeque<Down>,
    /// Origin-ids, bodies and places of what it took, in order.
    pub log: Vec<(String, String, u64)>,
    /// Places in the log that the client has confirmed.
    pub confirmed: Vec<u64>,
    /// What the client did that a relay ends a stream for.
    pub faults: Vec<String>,
}

impl Relay {
    /// The connection is gone, and all that was on its way.
    pub fn hang_up(&mut self) {
        (self.authenticated, self.counting, self.exchange) = (false, false, None);
        (self.deaf, self.lost) = (false, 0);
        self.down.clear();
    }

    /// Forgets the session, as a relay does when it has waited long enough.
    pub fn forget_session(&mut self) {
        self.session = None;
    }

    /// The next thing that arrives at the client.
    pub fn next(&mut self) -> Option<String> {
        match self.down.pop_front()? {
            Down::Nonza(text) => {
                self.counting |= text.starts_with("<enabled") || text.starts_with("<resumed");
                Some(text)
            }
            Down::Stanza(seq, text) => {
                self.arrives(seq);
                Some(text)
            }
        }
    }

    /// The client gets a stanza, from us or from somebody who speaks in our name.
    pub fn arrives(&mut self, seq: Option<u64>) {
        if let Some(session) = self.session.as_mut().filter(|_| self.counting) {
            session.window.push(seq);
        }
    }

    /// How many stanzas the client has been sent on the session.
    pub fn sent(&self) -> Option<Handled> {
        Some(self.session.as_ref().filter(|_| self.counting)?.window.sent())
    }

    /// How many stanzas were sent to it on the session.
    pub fn heard(&self) -> Option<Handled> {
        let handled = self.session.as_ref().filter(|_| self.counting)?.handled;
        Some(Handled(handled.0.wrapping_add(self.lost)))
    }

    /// A message for the client: it is kept until it is confirmed. `{SEQ}` becomes its stanza-id.
    pub fn deliver(&mut self, stanza: &str) {
        self.last += 1;
        let id = format!("<stanza-id xmlns='urn:xmpp:sid:0' by='alice@d' id='{}'/>", self.last);
        let stanza = stanza.replace("{SEQ}", &id);
        self.mailbox.insert(self.last, stanza.clone());
        if self.counting {
            self.down.push_back(Down::Stanza(Some(self.last), stanza));
        }
    }

    fn nonza(&mut self, text: impl Into<String>) {
        self.down.push_back(Down::Nonza(text.into()));
    }

    fn stanza(&mut self, text: String) {
        self.down.push_back(Down::Stanza(None, text));
    }

    /// Something arrives from the client.
    pub fn receive(&mut self, element: &Element) {
        if self.deaf {
            self.lost += u32::from(self.counting && stanza::kind(element).is_some());
            return;
        }
        match (element.ns.as_str(), element.name.as_str()) {
            (ns::FRAMING, "open") => self.open(),
            (ns::SASL, name) => self.sasl(name, element),
            (ns::SM, name) => self.stream_management(name, element),
            (ns::CLIENT, _) => self.take(element),
            (ns::STREAMS, "error") => self.faults.push(element.to_frame()),
            _ => {}
        }
    }

    fn open(&mut self) {
        self.nonza("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='d' id='x' version='1.0'/>");
        let offer = if self.authenticated {
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>"
        } else {
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism></mechanisms>"
        };
        self.nonza(format!("<s:features xmlns:s='http://etherx.jabber.org/streams'>{offer}</s:features>"));
    }

    fn sasl(&mut self, name: &str, element: &Element) {
        let Ok(message) = STANDARD.decode(element.text()) else { return };
        let reply = match (name, self.exchange.take()) {
            ("auth", _) => ServerExchange::begin(leaf::MECHANISM, &message, "server", leaf::keys()).map(
                |(begun, reply)| {
                    self.exchange = Some(begun);
                    ("challenge", reply)
                },
            ),
            ("response", Some(exchange)) => {
                exchange.finish(&message, leaf::keys()).map(|reply| ("success", reply))
            }
            _ => return,
        };
        let reply = match reply {
            Ok((name, reply)) => {
                self.authenticated |= name == "success";
                format!("<{name} xmlns='{}'>{}</{name}>", ns::SASL, STANDARD.encode(reply))
            }
            Err(fault) => format!("<failure xmlns='{}'><{}/></failure>", ns::SASL, fault.condition()),
        };
        self.nonza(reply);
    }

    fn stream_management(&mut self, name: &str, element: &Element) {
        let h = element.attr("h").and_then(Handled::parse);
        match (name, h) {
            ("enable", _) => {
                self.sessions += 1;
                let id = format!("sm{}", self.sessions);
                self.nonza(format!("<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true'/>"));
                self.session = Some(Session { id, handled: Handled::ZERO, window: Window::default() });
            }
            ("resume", Some(h)) => self.resume(element.attr("previd").unwrap_or_default(), h),
            ("r", _) => {
                if let Some(session) = &self.session {
                    let a = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", session.handled);
                    self.nonza(a);
                }
            }
            ("a", Some(h)) => {
                let Some(session) = &mut self.session else { return };
                match session.window.ack(h) {
                    Ok(confirmed) => self.confirm(confirmed),
                    Err(fault) => self.faults.push(format!("{fault:?}")),
                }
            }
            _ => {}
        }
    }

    fn confirm(&mut self, confirmed: Vec<Option<u64>>) {
        for seq in confirmed.into_iter().flatten() {
            self.mailbox.remove(&seq);
            self.confirmed.push(seq);
        }
    }

    fn resume(&mut self, previd: &str, h: Handled) {
        let Some(session) = self.session.as_mut().filter(|session| session.id == previd) else {
            let failed = "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
            return self.nonza(failed);
        };
        let (handled, resumed) = (session.handled, session.window.resume(h));
        // As other servers do it: what is sent again is numbered anew.
        session.window = Window::restore(h, h, Vec::new());
        self.nonza(format!("<resumed xmlns='urn:xmpp:sm:3' previd='{previd}' h='{handled}'/>"));
        match resumed {
            Ok(confirmed) => self.confirm(confirmed),
            Err(fault) => return self.faults.push(format!("{fault:?}")),
        }
        self.send_mailbox();
    }

    fn send_mailbox(&mut self) {
        let waiting = self.mailbox.iter().map(|(seq, stanza)| Down::Stanza(Some(*seq), stanza.clone()));
        self.down.extend(waiting);
    }

    fn take(&mut self, element: &Element) {
        if let Some(session) = self.session.as_mut().filter(|_| self.counting) {
            session.handled = session.handled.next();
        }
        match element.name.as_str() {
            "presence" if element.attr("type").is_none() => self.send_mailbox(),
            "iq" if matches!(element.attr("type"), Some("get" | "set")) => {
                let bind = element.child(ns::BIND, "bind").map(|_| {
                    let jid = Element::new(ns::BIND, "jid").with_text("alice@d/dev");
                    Element::new(ns::BIND, "bind").with(jid)
                });
                self.stanza(stanza::iq_result(element, bind).to_frame());
            }
            "message" => self.message(element),
            _ => {}
        }
    }

    fn message(&mut self, message: &Element) {
        let (Some(origin), Some(body)) = (stanza::origin_id(message), stanza::body(message)) else { return };
        let known = self.log.iter().find(|(known, ..)| *known == origin.0).map(|(.., place)| *place);
        let place = known.unwrap_or_else(|| {
            self.last += 1;
            self.log.push((origin.0.clone(), body, self.last));
            self.last
        });
        if message.child(ns::ACCEPTED, "accept").is_some() {
            self.stanza(format!(
                "<message xmlns='jabber:client' from='alice@d'><accepted xmlns='urn:counterfoil:accepted:0' \
                 origin-id='{}' stanza-id='{place}'/></message>",
                crate::script::escaped(origin.as_str())
            ));
        }
    }
}
