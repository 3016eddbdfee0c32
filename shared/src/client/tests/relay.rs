//! A relay of one account, small enough to be seen to be right: it keeps a mailbox with a
//! cursor, takes each origin-id once, and counts.

use crate::sasl::{Mechanism, ServerExchange, ServerKeys};
use crate::sm::{Handled, Window};
use crate::wire::{Element, ns, read_frame, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

pub struct Relay {
    pub keys: Option<ServerKeys>,
    exchange: Option<ServerExchange>,
    authenticated: bool,
    pub sm: bool,
    /// Answers `<r/>`.
    pub acks: bool,
    /// Answers `<accept/>`.
    pub accepts: bool,
    /// Knows sessions that are over well enough to tell their count.
    pub failed_tells_h: bool,
    counting: bool,
    present: bool,
    sessions: u32,
    pub session: Option<Session>,
    /// What waits for the device: place in the log and stanza.
    mailbox: BTreeMap<u64, String>,
    pub next_seq: u64,
    /// How many of them were messages with a text.
    pub delivered_bodies: usize,
    /// Origin-id and body of every message taken, in order.
    pub log: Vec<(String, String)>,
    /// Every stanza handled, in order.
    pub heard: Vec<String>,
    /// Places in the log that the device has confirmed.
    pub confirmed: Vec<u64>,
    pub out: Vec<String>,
    pub faults: Vec<String>,
    pub deaf_to_faults: bool,
}

pub struct Session {
    pub id: String,
    pub handled: u32,
    pub window: Window<Option<u64>>,
}

impl Relay {
    pub fn new(password: Option<&str>) -> Self {
        let keys =
            password.map(|password| ServerKeys::derive(Mechanism::ScramSha256, password, b"salt", 4096));
        Self {
            keys,
            exchange: None,
            authenticated: false,
            sm: true,
            acks: true,
            accepts: true,
            failed_tells_h: true,
            counting: false,
            present: false,
            sessions: 0,
            session: None,
            mailbox: BTreeMap::new(),
            next_seq: 1,
            delivered_bodies: 0,
            log: Vec::new(),
            heard: Vec::new(),
            confirmed: Vec::new(),
            out: Vec::new(),
            faults: Vec::new(),
            deaf_to_faults: false,
        }
    }

    pub fn hang_up(&mut self) {
        (self.authenticated, self.counting, self.present) = (false, false, false);
        self.out.clear();
    }

    /// Puts a stanza into the mailbox; `{SEQ}` in it becomes its stanza-id.
    pub fn deliver(&mut self, stanza: &str) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.delivered_bodies += usize::from(stanza.contains("<body>"));
        let id = format!("<stanza-id xmlns='urn:xmpp:sid:0' by='alice@d' id='{seq}'/>");
        let stanza = stanza.replace("{SEQ}", &id);
        self.mailbox.insert(seq, stanza.clone());
        if self.present {
            self.push(Some(seq), stanza);
        }
        seq
    }

    /// Sends a stanza that no mailbox keeps.
    pub fn say(&mut self, stanza: &str) {
        self.push(None, stanza.to_owned());
    }

    fn push(&mut self, seq: Option<u64>, frame: String) {
        if let Some(session) = self.session.as_mut().filter(|_| self.counting) {
            session.window.push(seq);
        }
        self.out.push(frame);
    }

    pub fn receive(&mut self, frame: &str) {
        let element = read_frame(frame, 1 << 20).unwrap();
        assert!(element.attr("from").is_none(), "a client never says from: {frame}");
        match (element.ns.as_str(), element.name.as_str()) {
            (ns::FRAMING, "open") => {
                self.out.push(
                    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='d' id='x' version='1.0'/>"
                        .into(),
                );
                self.features();
            }
            (ns::FRAMING, "close") => {}
            (ns::SASL, _) => self.sasl(&element),
            (ns::SM, _) => self.sm(&element),
            (ns::CLIENT, _) => self.stanza(&element, frame),
            (ns::STREAMS, "error") if self.deaf_to_faults => {}
            (ns::STREAMS, "error") => self.faults.push(frame.to_owned()),
            _ => panic!("unexpected {frame}"),
        }
    }

    fn features(&mut self) {
        let inside = if self.authenticated {
            let sm = if self.sm { "<sm xmlns='urn:xmpp:sm:3'/>" } else { "" };
            format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>{sm}")
        } else {
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-256</mechanism></mechanisms>".into()
        };
        self.out
            .push(format!("<s:features xmlns:s='http://etherx.jabber.org/streams'>{inside}</s:features>"));
    }

    fn sasl(&mut self, element: &Element) {
        let message = STANDARD.decode(element.text()).unwrap();
        let keys = self
            .keys
            .clone()
            .unwrap_or_else(|| ServerKeys::derive(Mechanism::ScramSha256, "nobody's", b"other", 4096));
        let reply = match element.name.as_str() {
            "auth" => {
                let begun = ServerExchange::begin(Mechanism::ScramSha256, &message, "server", &keys);
                begun.map(|(exchange, reply)| {
                    self.exchange = Some(exchange);
                    ("challenge", reply)
                })
            }
            "response" => {
                let finished = self.exchange.as_ref().unwrap().finish(&message, &keys);
                finished.map(|reply| {
                    self.authenticated = true;
                    ("success", reply)
                })
            }
            _ => return,
        };
        self.out.push(match reply {
            Ok((name, reply)) => format!("<{name} xmlns='{}'>{}</{name}>", ns::SASL, STANDARD.encode(reply)),
            Err(fault) => format!("<failure xmlns='{}'><{}/></failure>", ns::SASL, fault.condition()),
        });
    }

    fn sm(&mut self, element: &Element) {
        match element.name.as_str() {
            "enable" => {
                self.sessions += 1;
                let id = format!("sm{}", self.sessions);
                self.out.push(format!("<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true'/>"));
                self.session = Some(Session { id, handled: 0, window: Window::default() });
                self.counting = true;
            }
            "resume" => self.resume(element),
            "r" if self.acks => self.ack(),
            "r" => {}
            "a" => {
                let h = Handled::parse(element.attr("h").unwrap()).unwrap();
                self.confirm(h);
            }
            _ => panic!("unexpected {}", element.name),
        }
    }

    pub fn ack(&mut self) {
        if let Some(session) = &self.session {
            self.out.push(format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", session.handled));
        }
    }

    fn confirm(&mut self, h: Handled) {
        match self.session.as_mut().unwrap().window.ack(h) {
            Ok(confirmed) => self.took(confirmed),
            Err(fault) => self.faults.push(format!("{fault:?}")),
        }
    }

    fn took(&mut self, confirmed: Vec<Option<u64>>) {
        for seq in confirmed.into_iter().flatten() {
            self.mailbox.remove(&seq);
            self.confirmed.push(seq);
        }
    }

    fn resume(&mut self, element: &Element) {
        let h = Handled::parse(element.attr("h").unwrap()).unwrap();
        let previd = element.attr("previd").unwrap();
        let Some(session) = self.session.as_mut().filter(|session| session.id == previd) else {
            let h = match &self.session {
                Some(session) if self.failed_tells_h => format!(" h='{}'", session.handled),
                _ => String::new(),
            };
            self.out.push(format!("<failed xmlns='urn:xmpp:sm:3'{h}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"));
            return;
        };
        let (handled, resumed) = (session.handled, session.window.resume(h));
        // As other servers do it: what is sent again is numbered anew.
        session.window = Window::restore(h, h, Vec::new());
        self.out.push(format!("<resumed xmlns='urn:xmpp:sm:3' previd='{previd}' h='{handled}'/>"));
        (self.counting, self.present) = (true, true);
        match resumed {
            Ok(confirmed) => self.took(confirmed),
            Err(fault) => return self.faults.push(format!("{fault:?}")),
        }
        for (seq, stanza) in self.mailbox.clone() {
            self.push(Some(seq), stanza);
        }
    }

    /// Ends the session as a relay does that no longer waits: its count stays known.
    pub fn forget_session_id(&mut self) {
        self.session.as_mut().unwrap().id = "over".into();
    }

    fn stanza(&mut self, element: &Element, frame: &str) {
        if let Some(session) = self.session.as_mut().filter(|_| self.counting) {
            session.handled = session.handled.wrapping_add(1);
        }
        self.heard.push(frame.to_owned());
        match element.name.as_str() {
            "presence" if !self.present => {
                self.present = true;
                for (seq, stanza) in self.mailbox.clone() {
                    self.push(Some(seq), stanza);
                }
            }
            "iq" => self.iq(element),
            "message" => self.message(element),
            _ => {}
        }
    }

    fn iq(&mut self, iq: &Element) {
        if let Some(query) = iq.child(ns::REGISTER, "query") {
            let reply = if self.keys.is_some() {
                stanza::error_reply(iq, crate::wire::error::StanzaError::CONFLICT).unwrap()
            } else {
                let password = query.child(ns::REGISTER, "password").unwrap().text();
                self.keys = Some(ServerKeys::derive(Mechanism::ScramSha256, &password, b"salt", 4096));
                stanza::iq_result(iq, None)
            };
            return self.out.push(reply.to_frame());
        }
        if matches!(iq.attr("type"), Some("result" | "error")) {
            return;
        }
        let bind = iq.child(ns::BIND, "bind").map(|_| {
            let jid = Element::new(ns::BIND, "jid").with_text("alice@d/dev");
            Element::new(ns::BIND, "bind").with(jid)
        });
        let reply = stanza::iq_result(iq, bind).to_frame();
        self.push(None, reply);
    }

    fn message(&mut self, message: &Element) {
        let Some(origin) = stanza::origin_id(message) else { return };
        let Some(body) = stanza::body(message) else { return };
        if !self.log.iter().any(|(known, _)| *known == origin.0) {
            self.log.push((origin.0.clone(), body));
            self.next_seq += 1;
        }
        if self.accepts && message.child(ns::ACCEPTED, "accept").is_some() {
            let place = self.log.iter().position(|(known, _)| *known == origin.0).unwrap();
            self.say(&format!(
                "<message xmlns='jabber:client' from='alice@d'><accepted xmlns='urn:counterfoil:accepted:0' origin-id='{origin}' stanza-id='{}'/></message>",
                1000 + place
            ));
        }
    }
}
