//! A connection: opening, authentication, restart, and every way it ends (RFC 7395 §3,
//! RFC 6120 §4 and §6).

use super::rates::{Times, Verdict};
use super::sasl2::{self, UserAgent};
use super::{Effect, LinkState, LogStore, Op, Phase, Registration, RelayEngine};
use crate::id::LinkId;
use crate::jid::{BareJid, Jid, prepared_local};
use crate::limits::{
    AUTHENTICATION_FAILURES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MAX_UNAUTHENTICATED, FRAMES_UNBOUND_MAX,
    PASSWORD_BYTES_MAX, REGISTRATIONS_MAX, SASL_FIRST_BYTES_MAX, SCRAM_ITERATIONS,
};
use crate::relay::rows::AccountRow;
use crate::sasl::{Mechanism, SaslFault, ServerExchange, ServerKeys, names};
use crate::time::Millis;
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::stanza::{self, Kind};
use crate::wire::{CLOSE, Element, ns, read_frame};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;

/// One open connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) phase: Phase,
    pub(super) opened: Millis,
    pub(super) failures: u32,
    /// Frames before a device was bound.
    pub(super) frames: Times,
    pub(super) registrations: Times,
    /// Its stream is said to be from somebody whose mailbox this is not.
    pub(super) foreign: bool,
    /// Who authenticated and has not bound a resource yet.
    pub(super) agent: Option<UserAgent>,
    /// Who asks to see the account's presence and is still to be shown to the device.
    pub(super) requests: VecDeque<BareJid>,
}

impl Link {
    pub(super) fn new(opened: Millis) -> Self {
        Self {
            phase: Phase::Fresh,
            opened,
            failures: 0,
            frames: Times::default(),
            registrations: Times::default(),
            foreign: false,
            agent: None,
            requests: VecDeque::new(),
        }
    }

    pub(super) fn restore(state: LinkState) -> Self {
        let LinkState { phase, opened, failures, foreign, agent, .. } = state;
        Self { phase, failures, foreign, agent, ..Self::new(opened) }
    }
}

/// `<open/>` as a server says it.
pub(super) fn open_frame(domain: &str, token: &str) -> String {
    let mut open = Element::new(ns::FRAMING, "open")
        .with_attr("from", domain)
        .with_attr("id", token)
        .with_attr("version", "1.0");
    open.set_lang("en");
    open.to_frame()
}

/// What is offered before authentication.
pub(super) fn features_before_authentication(registration: bool) -> Element {
    let mut mechanisms = Element::new(ns::SASL, "mechanisms");
    scram_mechanisms(&mut mechanisms, ns::SASL);
    let mut features = Element::new(ns::STREAMS, "features").with(mechanisms).with(sasl2::feature());
    if registration {
        features.push(Element::new(ns::REGISTER_FEATURE, "register"));
    }
    features
}

/// Names every mechanism that needs a password, in the namespace of its list.
pub(super) fn scram_mechanisms(list: &mut Element, namespace: &str) {
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha1] {
        list.push(Element::new(namespace, "mechanism").with_text(mechanism.name()));
    }
}

/// What is offered to a client that has yet to bind a resource.
pub(super) fn features_after_authentication() -> Element {
    Element::new(ns::STREAMS, "features")
        .with(Element::new(ns::BIND, "bind"))
        .with(Element::new(ns::SM, "sm"))
        .with(Element::new(ns::ROSTER_VERSIONS, "ver"))
        .with(Element::new(ns::PRE_APPROVAL, "sub"))
        .with(Element::new(ns::CSI, "csi"))
}

/// What is wrong with a first `<open/>`, if anything (RFC 7395 §3.3.2, §3.4; RFC 6120 §4.7.5).
pub(super) fn open_fault(open: &Element, domain: &str) -> Option<StreamCondition> {
    if open.name != "open" {
        return Some(StreamCondition::BadFormat);
    }
    if open.ns != ns::FRAMING {
        return Some(StreamCondition::InvalidNamespace);
    }
    if open.attr("to").and_then(|to| BareJid::parse(to).ok()).is_none_or(|to| to.as_str() != domain) {
        return Some(StreamCondition::HostUnknown);
    }
    let version = open.attr("version").unwrap_or_default();
    (!version.starts_with("1.")).then_some(StreamCondition::UnsupportedVersion)
}

/// The fields a registration asks for (XEP-0077 §3.1).
pub(super) fn registration_form() -> Element {
    Element::new(ns::REGISTER, "query")
        .with(Element::new(ns::REGISTER, "instructions").with_text("Choose a name and a password."))
        .with(Element::new(ns::REGISTER, "username"))
        .with(Element::new(ns::REGISTER, "password"))
}

impl RelayEngine {
    pub(super) fn frame(&mut self, link: LinkId, text: &str, log: &dyn LogStore) {
        let Some(known) = self.links.get_mut(&link) else { return };
        let authenticated = matches!(known.phase, Phase::Authenticated | Phase::Unbound | Phase::Bound(_));
        let bytes_max = if authenticated { FRAME_BYTES_MAX } else { FRAME_BYTES_MAX_UNAUTHENTICATED };
        let element = match read_frame(text, bytes_max) {
            Ok(element) => element,
            Err(fault) => return self.close_link(link, Some(fault.into()), 1000),
        };
        if self.holds_back(link, &element, text) {
            return;
        }
        let Some(known) = self.links.get_mut(&link) else { return };
        let is_bound = matches!(known.phase, Phase::Bound(_));
        if !is_bound && !element.is(ns::FRAMING, "close") && known.frames.exceed(FRAMES_UNBOUND_MAX) {
            return self.close_link(link, Some(StreamCondition::PolicyViolation), 1000);
        }
        let rate = match is_bound {
            true => self.rates.add(&element, text.len(), &self.config.limits, self.now),
            false => Verdict::Within,
        };
        self.take_frame(link, element, rate, log);
    }

    /// What a connection says, when it is its turn.
    pub(super) fn take_frame(&mut self, link: LinkId, element: Element, rate: Verdict, log: &dyn LogStore) {
        let Some(known) = self.links.get(&link) else { return };
        // RFC 7395 §3.6
        if element.is(ns::FRAMING, "close") {
            return self.closed_by_client(link);
        }
        let phase = known.phase.clone();
        let outcome = match phase {
            Phase::Fresh => self.open(link, &element, Phase::Open),
            Phase::Authenticated => self.open(link, &element, Phase::Unbound),
            Phase::Exchange2(_) => self.sasl2(link, &element, log),
            Phase::Open if element.ns == ns::SASL2 => self.sasl2(link, &element, log),
            Phase::Open | Phase::Exchange(_) => self.unauthenticated(link, &element),
            Phase::Unbound => self.unbound(link, &element, log),
            Phase::Bound(device) => self.bound(link, &device, element, rate, log),
        };
        if let Err(condition) = outcome {
            self.close_link(link, Some(condition), 1000);
        }
    }

    /// Ends a connection from our side. A device's session stays resumable.
    pub(super) fn close_link(&mut self, link: LinkId, condition: Option<StreamCondition>, code: u16) {
        let Some(known) = self.links.get(&link) else { return };
        if let Some(condition) = condition {
            // RFC 7395 §3.5: an error during the opening still comes after an `<open/>`.
            if matches!(known.phase, Phase::Fresh) {
                let open = open_frame(self.config.account.domain(), &self.entropy.token());
                self.gate.effect(Effect::Frame(link, open));
            }
            self.gate.effect(Effect::Frame(link, condition.element().to_frame()));
            self.gate.effect(Effect::Frame(link, CLOSE.to_owned()));
        }
        self.gate.effect(Effect::Close(link, code));
        self.link_down(link);
    }

    fn closed_by_client(&mut self, link: LinkId) {
        if let Some(Link { phase: Phase::Bound(device), .. }) = self.links.get(&link) {
            // A stream that was closed is over (XEP-0198 §5): nothing of it can be resumed.
            let device = device.clone();
            self.end_stream(&device);
        }
        if self.links.remove(&link).is_some() {
            self.remembered.remove(&link);
            self.gate.effect(Effect::Frame(link, CLOSE.to_owned()));
            self.gate.effect(Effect::Close(link, 1000));
        }
    }

    pub(super) fn send_element(&mut self, link: LinkId, element: &Element) {
        self.gate.effect(Effect::Frame(link, element.to_frame()));
    }

    pub(super) fn set_phase(&mut self, link: LinkId, phase: Phase) {
        if let Some(known) = self.links.get_mut(&link) {
            known.phase = phase;
        }
    }

    fn open(&mut self, link: LinkId, open: &Element, then: Phase) -> Result<(), StreamCondition> {
        let domain = self.config.account.domain().to_owned();
        if let Some(fault) = open_fault(open, &domain) {
            return Err(fault);
        }
        let frame = open_frame(&domain, &self.entropy.token());
        self.gate.effect(Effect::Frame(link, frame));
        let features = match then {
            Phase::Open => features_before_authentication(self.config.registration == Registration::Open),
            _ => features_after_authentication(),
        };
        let foreign = open.attr("from").is_some_and(|from| !self.is_own(from));
        if let Some(known) = self.links.get_mut(&link) {
            known.phase = then;
            known.foreign = foreign;
        }
        self.send_element(link, &features);
        Ok(())
    }

    fn is_own(&self, address: &str) -> bool {
        Jid::parse(address).is_ok_and(|jid| jid.bare == self.config.account)
    }

    fn unauthenticated(&mut self, link: LinkId, element: &Element) -> Result<(), StreamCondition> {
        if stanza::kind(element) == Some(Kind::Iq) && element.child(ns::REGISTER, "query").is_some() {
            self.register(link, element);
            return Ok(());
        }
        if element.ns == ns::SM && matches!(element.name.as_str(), "enable" | "resume") {
            // XEP-0198 §3 and §5: only after authentication.
            return self.sm_failed(link, "unexpected-request");
        }
        if element.ns != ns::SASL {
            // RFC 6120 §4.9.3.12
            let stanza = stanza::kind(element).is_some();
            return Err(if stanza { StreamCondition::NotAuthorized } else { unknown(element) });
        }
        let phase = self.links.get(&link).map(|known| known.phase.clone());
        match (element.name.as_str(), phase) {
            ("auth", Some(Phase::Open)) => self.authenticate(link, element),
            ("response", Some(Phase::Exchange(exchange))) => self.respond(link, element, &exchange),
            ("abort", Some(Phase::Exchange(_))) => self.sasl_failure(link, "aborted"),
            _ => Err(StreamCondition::BadFormat),
        }
    }

    fn authenticate(&mut self, link: LinkId, auth: &Element) -> Result<(), StreamCondition> {
        let Some(mechanism) = auth.attr("mechanism").and_then(Mechanism::from_name) else {
            return self.sasl_failure(link, "invalid-mechanism");
        };
        let Some(first) = decoded(auth) else { return self.sasl_failure(link, "incorrect-encoding") };
        if first.len() > SASL_FIRST_BYTES_MAX {
            return self.sasl_failure(link, "malformed-request");
        }
        let nonce = self.entropy.token();
        let begun = self
            .keys_for(mechanism, &first)
            .and_then(|keys| ServerExchange::begin(mechanism, &first, &nonce, &keys));
        match begun {
            Ok((exchange, reply)) => {
                self.set_phase(link, Phase::Exchange(exchange));
                let challenge = Element::new(ns::SASL, "challenge").with_text(STANDARD.encode(reply));
                self.send_element(link, &challenge);
                Ok(())
            }
            Err(fault) => self.sasl_failure(link, fault.condition()),
        }
    }

    /// The keys to check a proof with, if the client names this account and acts for nobody else.
    pub(super) fn keys_for(&self, mechanism: Mechanism, first: &[u8]) -> Result<ServerKeys, SaslFault> {
        let (authcid, authzid) = names(first)?;
        let own = self.config.account.local();
        if prepared_local(&authcid).ok().as_deref() != own {
            return Err(SaslFault::NotAuthorized);
        }
        if authzid.is_some_and(|authzid| BareJid::parse(&authzid).as_ref() != Ok(&self.config.account)) {
            return Err(SaslFault::InvalidAuthzid);
        }
        let account = self.account.as_ref().ok_or(SaslFault::NotAuthorized)?;
        Ok(match mechanism {
            Mechanism::ScramSha1 => account.sha1.clone(),
            Mechanism::ScramSha256 => account.sha256.clone(),
        })
    }

    fn respond(
        &mut self,
        link: LinkId,
        response: &Element,
        exchange: &ServerExchange,
    ) -> Result<(), StreamCondition> {
        let Some(last) = decoded(response) else { return self.sasl_failure(link, "incorrect-encoding") };
        match self.proof_of(exchange, &last) {
            Ok(reply) => {
                self.set_phase(link, Phase::Authenticated);
                let success = Element::new(ns::SASL, "success").with_text(STANDARD.encode(reply));
                self.send_element(link, &success);
                Ok(())
            }
            Err(fault) => self.sasl_failure(link, fault.condition()),
        }
    }

    /// Ends an exchange: what proves to the client that the account is known here.
    pub(super) fn proof_of(&self, exchange: &ServerExchange, last: &[u8]) -> Result<Vec<u8>, SaslFault> {
        let account = self.account.as_ref().ok_or(SaslFault::NotAuthorized)?;
        let keys = match exchange.mechanism() {
            Mechanism::ScramSha1 => &account.sha1,
            Mechanism::ScramSha256 => &account.sha256,
        };
        exchange.finish(last, keys)
    }

    fn sasl_failure(&mut self, link: LinkId, condition: &str) -> Result<(), StreamCondition> {
        self.refused(link, &Element::new(ns::SASL, "failure").with(Element::new(ns::SASL, condition)))
    }

    /// An authentication has failed. There are only so many tries.
    pub(super) fn refused(&mut self, link: LinkId, failure: &Element) -> Result<(), StreamCondition> {
        self.send_element(link, failure);
        let Some(known) = self.links.get_mut(&link) else { return Ok(()) };
        known.phase = Phase::Open;
        known.failures = known.failures.saturating_add(1);
        if known.failures >= AUTHENTICATION_FAILURES_MAX {
            return Err(StreamCondition::PolicyViolation);
        }
        Ok(())
    }

    fn register(&mut self, link: LinkId, request: &Element) {
        let reply = match request.attr("type") {
            Some("get") => Ok(Some(registration_form())),
            Some("set") if self.registers_too_often(link) => Err(StanzaError::RATE_EXCEEDED),
            Some("set") => self.create_account(request).map(|()| None),
            _ => Err(StanzaError::BAD_REQUEST),
        };
        let reply = match reply {
            Ok(child) => Some(stanza::iq_result(request, child)),
            Err(error) => stanza::error_reply(request, error),
        };
        if let Some(reply) = reply {
            self.send_element(link, &reply);
        }
    }

    fn registers_too_often(&mut self, link: LinkId) -> bool {
        self.links.get_mut(&link).is_some_and(|known| known.registrations.exceed(REGISTRATIONS_MAX))
    }

    // XEP-0077 §3.1
    fn create_account(&mut self, request: &Element) -> Result<(), StanzaError> {
        let query = request.child(ns::REGISTER, "query").ok_or(StanzaError::BAD_REQUEST)?;
        if query.child(ns::REGISTER, "remove").is_some() {
            return Err(StanzaError::NOT_ALLOWED);
        }
        let field = |name| query.child(ns::REGISTER, name).map(Element::text).unwrap_or_default();
        let (username, password) = (field("username"), field("password"));
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(StanzaError::NOT_ACCEPTABLE);
        }
        let local = prepared_local(&username).map_err(|_| StanzaError::JID_MALFORMED)?;
        if Some(local.as_str()) != self.config.account.local() {
            return Err(StanzaError::NOT_ALLOWED);
        }
        if self.account.is_some() {
            return Err(StanzaError::CONFLICT);
        }
        if self.removal.is_some() {
            return Err(StanzaError::RESOURCE_CONSTRAINT);
        }
        if self.config.registration != Registration::Open {
            return Err(StanzaError::NOT_ALLOWED);
        }
        let mut keys = |mechanism| {
            ServerKeys::derive(mechanism, &password, &self.entropy.bytes::<16>(), SCRAM_ITERATIONS)
        };
        let account = AccountRow {
            sha1: keys(Mechanism::ScramSha1),
            sha256: keys(Mechanism::ScramSha256),
            created: self.now,
            blocked: Vec::new(),
            archiving: Default::default(),
            removed: false,
            begins: self.head.last(),
        };
        self.cold.last = self.cold.last.max(account.begins);
        self.account = Some(account.clone());
        self.gate.write(Op::PutAccount(account));
        Ok(())
    }
}

/// A top-level element that no rule speaks of.
pub(super) fn unknown(element: &Element) -> StreamCondition {
    match element.name.as_str() {
        "message" | "presence" | "iq" | "open" | "close" => StreamCondition::InvalidNamespace,
        _ => StreamCondition::UnsupportedStanzaType,
    }
}

/// The payload of a SASL element: base64, with `=` for nothing at all (RFC 6120 §6.4.2).
fn decoded(element: &Element) -> Option<Vec<u8>> {
    let text = element.text();
    if text == "=" { Some(Vec::new()) } else { STANDARD.decode(text.trim()).ok() }
}
