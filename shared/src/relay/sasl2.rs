//! Authentication and everything a session begins with in one request (XEP-0388, XEP-0386).
//!
//! ```xml
//! C: <authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'>
//!      <initial-response>…</initial-response>
//!      <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>
//!        <software>AwesomeXMPP</software><device>Kiva's Phone</device></user-agent>
//!      <resume xmlns='urn:xmpp:sm:3' previd='…' h='7'/>
//!      <bind xmlns='urn:xmpp:bind:0'><tag>AwesomeXMPP</tag>
//!        <enable xmlns='urn:xmpp:sm:3' resume='true'/><enable xmlns='urn:xmpp:carbons:2'/></bind>
//!      <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/></authenticate>
//! S: <challenge/>   C: <response/>
//! S: <success xmlns='urn:xmpp:sasl:2'>
//!      <additional-data>…</additional-data>
//!      <authorization-identifier>alice@example.org/AwesomeXMPP/IdXBAfa4brOlYA3a</authorization-identifier>
//!      <bound xmlns='urn:xmpp:bind:0'><enabled xmlns='urn:xmpp:sm:3' …/><metadata xmlns='urn:xmpp:mam:2'/></bound>
//!      <token xmlns='urn:xmpp:fast:0' token='…' expiry='…'/></success>
//! S: <features/>
//! ```
//!
//! A user agent that gives its id is a device, whatever tag or resource it asks for: it keeps its
//! resource, its cursor, its queue and its tokens until it is removed. Which tag it gave when it
//! first came is part of its resource; its id is not.
//!
//! Binding clears nothing: XEP-0386 §3.2 would have what waits for the device dropped because the
//! archive has it, and a device that does not ask the archive would never learn of it. What is
//! delivered carries its stanza-id, by which who has both knows them for one.

use super::link::scram_mechanisms;
use super::{LogStore, Phase, RelayEngine};
use crate::id::LinkId;
use crate::limits::{SASL_FIRST_BYTES_MAX, SASL_WISHES_BYTES_MAX, USER_AGENT_NAME_CHARS_MAX};
use crate::sasl::ht;
use crate::sasl::{Mechanism, SaslFault, ServerExchange, names};
use crate::sm::Handled;
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ns, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An exchange with what is to be done when it succeeds. It can be stored: the relay may sleep
/// meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Exchange2 {
    /// The exchange.
    pub scram: ServerExchange,
    /// What is to be done.
    pub wishes: Wishes,
}

/// What a client asks for beside its authentication.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// Who asks.
    pub agent: Option<UserAgent>,
    /// A stream to go on with, before anything else.
    pub resume: Option<ResumeWish>,
    /// A session to begin otherwise.
    pub bind: Option<BindWish>,
    /// A token.
    pub token: bool,
}

/// See [`Wishes::agent`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserAgent {
    /// See [`super::rows::AgentRow::id_hash`].
    pub id_hash: String,
    /// What it calls itself.
    pub software: Option<String>,
    /// What it calls what it runs on.
    pub device: Option<String>,
}

/// See [`Wishes::resume`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResumeWish {
    /// The SM-ID.
    pub previd: String,
    /// What was handled; `None` if it was not a number.
    pub h: Option<Handled>,
}

/// See [`Wishes::bind`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BindWish {
    /// What the resource begins with.
    pub tag: Option<String>,
    /// Stream management, and whether the stream may be resumed.
    pub sm: Option<bool>,
    /// Carbons.
    pub carbons: bool,
    /// Nobody looks at it yet (XEP-0352 §5).
    #[serde(default)]
    pub inactive: bool,
}

/// Why an authentication does not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It has failed, with a condition of RFC 6120 §6.5 and words for whoever reads it; the client
    /// may try again.
    Refused(&'static str, Option<&'static str>),
    /// The stream ends with it.
    Ends(StreamCondition),
}

/// `<authentication/>` as it is offered (XEP-0388 §2.1).
pub(super) fn feature() -> Element {
    let mut authentication = Element::new(ns::SASL2, "authentication");
    scram_mechanisms(&mut authentication, ns::SASL2);
    let mut session = Element::new(ns::BIND2, "inline");
    for feature in [ns::CARBONS, ns::CSI, ns::SM] {
        session.push(Element::new(ns::BIND2, "feature").with_attr("var", feature));
    }
    let fast =
        Element::new(ns::FAST, "fast").with(Element::new(ns::FAST, "mechanism").with_text(ht::MECHANISM));
    let inline = Element::new(ns::SASL2, "inline")
        .with(Element::new(ns::BIND2, "bind").with(session))
        .with(Element::new(ns::SM, "sm"))
        .with(fast);
    authentication.with(inline)
}

/// The client's first message.
fn initial_response(authenticate: &Element) -> Result<Vec<u8>, SaslFault> {
    let first = authenticate.child(ns::SASL2, "initial-response").ok_or(SaslFault::MalformedRequest)?;
    let first = STANDARD.decode(first.text().trim()).map_err(|_| SaslFault::IncorrectEncoding)?;
    if first.len() > SASL_FIRST_BYTES_MAX { Err(SaslFault::MalformedRequest) } else { Ok(first) }
}

/// The name of the account that a client wants to be authenticated for.
pub(super) fn named(authenticate: &Element) -> Result<String, SaslFault> {
    let first = initial_response(authenticate)?;
    match authenticate.attr("mechanism") {
        Some(ht::MECHANISM) => ht::read(&first).map(|(name, _)| name.to_owned()),
        name if name.and_then(Mechanism::from_name).is_some() => names(&first).map(|(name, _)| name),
        _ => Err(SaslFault::InvalidMechanism),
    }
}

impl Wishes {
    fn read(authenticate: &Element, account: &str) -> Result<Self, Fault> {
        let agent = authenticate.child(ns::SASL2, "user-agent").map(|agent| UserAgent::read(agent, account));
        let resume = authenticate.child(ns::SM, "resume").map(|resume| ResumeWish {
            previd: resume.attr("previd").unwrap_or_default().to_owned(),
            h: resume.attr("h").and_then(Handled::parse),
        });
        let wishes = Self {
            agent: agent.transpose()?.flatten(),
            resume,
            bind: authenticate.child(ns::BIND2, "bind").map(BindWish::read),
            token: authenticate
                .child(ns::FAST, "request-token")
                .is_some_and(|wish| wish.attr("mechanism") == Some(ht::MECHANISM)),
        };
        if wishes.bytes() > SASL_WISHES_BYTES_MAX {
            return Err(Fault::Refused(
                "malformed-request",
                Some("What is asked for beside it is too long."),
            ));
        }
        Ok(wishes)
    }

    fn bytes(&self) -> usize {
        let agent = self.agent.as_ref().map_or(0, |agent| {
            [&agent.software, &agent.device].into_iter().flatten().map(String::len).sum::<usize>()
        });
        let tag = self.bind.as_ref().and_then(|bind| bind.tag.as_ref()).map_or(0, String::len);
        agent.saturating_add(tag).saturating_add(self.resume.as_ref().map_or(0, |resume| resume.previd.len()))
    }
}

impl UserAgent {
    /// Nobody, if it gives no id. One that is not what XEP-0388 §2.3 asks for might be somebody
    /// else's too, and two devices would take each other's messages.
    fn read(agent: &Element, account: &str) -> Result<Option<Self>, Fault> {
        let Some(id) = agent.attr("id") else { return Ok(None) };
        if !is_uuid_v4(id) {
            return Err(Fault::Refused(
                "malformed-request",
                Some("A user agent's id is a UUID of version 4."),
            ));
        }
        let digest =
            Sha256::new().chain_update(account).chain_update([0]).chain_update(id.to_ascii_lowercase());
        let said = |name: &str| {
            let text = agent.child(ns::SASL2, name).map(Element::text).unwrap_or_default();
            let shown = text.trim().chars().filter(|c| !c.is_control());
            let kept: String = shown.take(USER_AGENT_NAME_CHARS_MAX).collect();
            (!kept.is_empty()).then_some(kept)
        };
        let (software, device) = (said("software"), said("device"));
        Ok(Some(Self { id_hash: STANDARD.encode(digest.finalize()), software, device }))
    }

    /// Its part of a resource: the same for the same id, another for every account, and nothing
    /// to be learned from it.
    pub(super) fn resource(&self) -> String {
        let digest = Sha256::digest(self.id_hash.as_bytes());
        URL_SAFE_NO_PAD.encode(digest.get(..12).unwrap_or_default())
    }
}

impl BindWish {
    fn read(bind: &Element) -> Self {
        let tag = bind.child(ns::BIND2, "tag").map(Element::text).filter(|tag| !tag.is_empty());
        let enable = bind.child(ns::SM, "enable");
        Self {
            tag,
            sm: enable.map(|enable| matches!(enable.attr("resume"), Some("true" | "1"))),
            carbons: bind.child(ns::CARBONS, "enable").is_some(),
            inactive: bind.child(ns::CSI, "inactive").is_some(),
        }
    }
}

/// RFC 9562 §4 and §5.4.
fn is_uuid_v4(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte.to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b'),
            _ => byte.is_ascii_hexdigit(),
        })
}

impl From<SaslFault> for Fault {
    fn from(fault: SaslFault) -> Self {
        Self::Refused(fault.condition(), None)
    }
}

impl From<StreamCondition> for Fault {
    fn from(condition: StreamCondition) -> Self {
        Self::Ends(condition)
    }
}

impl RelayEngine {
    /// What a client says before it is authenticated, in this namespace or during an exchange of it.
    pub(super) fn sasl2(
        &mut self,
        link: LinkId,
        element: &Element,
        log: &dyn LogStore,
    ) -> Result<(), StreamCondition> {
        let Some(known) = self.links.get(&link) else { return Ok(()) };
        let said = if element.ns == ns::SASL2 { element.name.as_str() } else { "" };
        let outcome = match (said, known.phase.clone()) {
            ("authenticate", Phase::Open) => self.authenticate2(link, element, log),
            ("response", Phase::Exchange2(exchange)) => self.respond2(link, element, *exchange, log),
            ("abort", Phase::Exchange2(_)) => Err(SaslFault::Aborted.into()),
            // XEP-0388 §2.4: nothing else may be said during an exchange.
            _ if stanza::kind(element).is_some() => Err(StreamCondition::NotAuthorized.into()),
            _ => Err(StreamCondition::BadFormat.into()),
        };
        let (condition, text) = match outcome {
            Ok(()) => return Ok(()),
            Err(Fault::Ends(condition)) => return Err(condition),
            Err(Fault::Refused(condition, text)) => (condition, text),
        };
        let mut failure = Element::new(ns::SASL2, "failure").with(Element::new(ns::SASL, condition));
        if let Some(text) = text {
            failure.push(Element::new(ns::SASL2, "text").with_text(text));
        }
        self.refused(link, &failure)
    }

    /// Begins an exchange, or ends one that takes a single message.
    fn authenticate2(
        &mut self,
        link: LinkId,
        authenticate: &Element,
        log: &dyn LogStore,
    ) -> Result<(), Fault> {
        // XEP-0388 §2.3: whom the stream is from must be whom the client authenticates as.
        if self.links.get(&link).is_some_and(|known| known.foreign) {
            return Err(Fault::Refused("invalid-authzid", Some("The stream is from somebody else.")));
        }
        let name = authenticate.attr("mechanism").unwrap_or_default();
        let mechanism = Mechanism::from_name(name);
        if (mechanism.is_none() && name != ht::MECHANISM) || authenticate.attr("upgrade").is_some() {
            return Err(SaslFault::InvalidMechanism.into());
        }
        let wishes = Wishes::read(authenticate, self.config.account.as_str())?;
        let first = initial_response(authenticate)?;
        let Some(mechanism) = mechanism else {
            let (data, used) = self.token_proof(&first, authenticate, &wishes)?;
            return self.begin_session(link, authenticate, &data, Some(used), wishes, log);
        };
        let nonce = self.entropy.token();
        let keys = self.keys_for(mechanism, &first)?;
        let (scram, reply) = ServerExchange::begin(mechanism, &first, &nonce, &keys)?;
        self.set_phase(link, Phase::Exchange2(Box::new(Exchange2 { scram, wishes })));
        let challenge = Element::new(ns::SASL2, "challenge").with_text(STANDARD.encode(reply));
        self.send_element(link, &challenge);
        Ok(())
    }

    fn respond2(
        &mut self,
        link: LinkId,
        response: &Element,
        exchange: Exchange2,
        log: &dyn LogStore,
    ) -> Result<(), Fault> {
        let last = STANDARD.decode(response.text().trim()).map_err(|_| SaslFault::IncorrectEncoding)?;
        let data = self.proof_of(&exchange.scram, &last)?;
        self.begin_session(link, response, &data, None, exchange.wishes, log)
    }
}
