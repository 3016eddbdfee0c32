//! Stream errors (RFC 6120 §4.9) and stanza errors (§8.3): what a peer does wrong is a value.

use super::reader::ReadFault;
use super::{Element, ns};

/// Stream error conditions we send (RFC 6120 §4.9.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamCondition {
    /// The element makes no sense at this point of the stream.
    BadFormat,
    /// Another connection took the session over.
    Conflict,
    /// An ack request stayed unanswered.
    ConnectionTimeout,
    /// The `to` of the stream is not served here.
    HostUnknown,
    /// Our store failed.
    InternalServerError,
    /// The stream element is in a foreign namespace.
    InvalidNamespace,
    /// A stanza before authentication.
    NotAuthorized,
    /// Not one well-formed element.
    NotWellFormed,
    /// A limit was passed.
    PolicyViolation,
    /// XML that XMPP prohibits.
    RestrictedXml,
    /// Too much of something.
    ResourceConstraint,
    /// A peer acked more than it was sent (XEP-0198 §4): handled, sent.
    HandledCountTooHigh(u32, u32),
    /// A top-level element nobody knows.
    UnsupportedStanzaType,
    /// The stream's version is not 1.x.
    UnsupportedVersion,
}

impl StreamCondition {
    /// The element's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::Conflict => "conflict",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostUnknown => "host-unknown",
            Self::InternalServerError => "internal-server-error",
            Self::InvalidNamespace => "invalid-namespace",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RestrictedXml => "restricted-xml",
            Self::ResourceConstraint => "resource-constraint",
            Self::HandledCountTooHigh(..) => "undefined-condition",
            Self::UnsupportedStanzaType => "unsupported-stanza-type",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }

    /// `<stream:error/>` with this condition.
    pub fn element(self) -> Element {
        let mut error = Element::new(ns::STREAMS, "error").with(Element::new(ns::STREAM_ERRORS, self.name()));
        if let Self::HandledCountTooHigh(handled, sent) = self {
            // XEP-0198 §4, example 9
            error.push(
                Element::new(ns::SM, "handled-count-too-high")
                    .with_attr("h", handled.to_string())
                    .with_attr("send-count", sent.to_string()),
            );
        }
        error
    }
}

impl From<ReadFault> for StreamCondition {
    fn from(fault: ReadFault) -> Self {
        match fault {
            ReadFault::NotWellFormed => Self::NotWellFormed,
            ReadFault::Restricted => Self::RestrictedXml,
            ReadFault::TooLarge => Self::PolicyViolation,
        }
    }
}

/// A stanza error: its type and its condition (RFC 6120 §8.3.2, §8.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StanzaError(pub &'static str, pub &'static str);

impl StanzaError {
    /// The sender must change something.
    pub const BAD_REQUEST: Self = Self("modify", "bad-request");
    /// That name is taken.
    pub const CONFLICT: Self = Self("cancel", "conflict");
    /// Nobody here does that.
    pub const FEATURE_NOT_IMPLEMENTED: Self = Self("cancel", "feature-not-implemented");
    /// It is somebody else's.
    pub const FORBIDDEN: Self = Self("auth", "forbidden");
    /// RFC 6120 §8.3.3.6
    pub const INTERNAL_SERVER_ERROR: Self = Self("cancel", "internal-server-error");
    /// No such thing.
    pub const ITEM_NOT_FOUND: Self = Self("cancel", "item-not-found");
    /// The address cannot exist.
    pub const JID_MALFORMED: Self = Self("modify", "jid-malformed");
    /// The values are not acceptable.
    pub const NOT_ACCEPTABLE: Self = Self("modify", "not-acceptable");
    /// Whoever asks has ruled it out.
    pub const NOT_ACCEPTABLE_HERE: Self = Self("cancel", "not-acceptable");
    /// Nobody may do that.
    pub const NOT_ALLOWED: Self = Self("cancel", "not-allowed");
    /// It passes a limit.
    pub const POLICY_VIOLATION: Self = Self("modify", "policy-violation");
    /// Too much at once; later it may be said (RFC 6120 §8.3.3.12).
    pub const RATE_EXCEEDED: Self = Self("wait", "policy-violation");
    /// We do not talk to other servers.
    pub const REMOTE_SERVER_NOT_FOUND: Self = Self("cancel", "remote-server-not-found");
    /// The other side could not be reached.
    pub const REMOTE_SERVER_TIMEOUT: Self = Self("wait", "remote-server-timeout");
    /// A queue is full.
    pub const RESOURCE_CONSTRAINT: Self = Self("wait", "resource-constraint");
    /// No such user, or none who wants this.
    pub const SERVICE_UNAVAILABLE: Self = Self("cancel", "service-unavailable");

    /// `<error/>` as it stands inside a stanza.
    pub fn element(self) -> Element {
        Element::new(ns::CLIENT, "error")
            .with_attr("type", self.0)
            .with(Element::new(ns::STANZA_ERRORS, self.1))
    }
}
