//! Namespaces, each named once.

/// RFC 6120 §4.8.2
pub const CLIENT: &str = "jabber:client";
/// RFC 7395 §3.3.1
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// RFC 6120 §4.8.1
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// RFC 6120 §4.9.2
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// RFC 6120 §8.3.2
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// RFC 6120 §6
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// XEP-0388
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// XEP-0386
pub const BIND2: &str = "urn:xmpp:bind:0";
/// XEP-0484
pub const FAST: &str = "urn:xmpp:fast:0";
/// RFC 6120 §7
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// RFC 3921 §3: kept optional for clients that look for it.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// XEP-0198
pub const SM: &str = "urn:xmpp:sm:3";
/// XEP-0077
pub const REGISTER: &str = "jabber:iq:register";
/// XEP-0077 §3
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// XEP-0184
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0333
pub const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// XEP-0444
pub const REACTIONS: &str = "urn:xmpp:reactions:0";
/// XEP-0424
pub const RETRACT: &str = "urn:xmpp:message-retract:1";
/// XEP-0359
pub const STANZA_ID: &str = "urn:xmpp:sid:0";
/// XEP-0203
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0085
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0280
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0280 §6.1
pub const CARBONS_RULES: &str = "urn:xmpp:carbons:rules:0";
/// XEP-0297
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0334
pub const HINTS: &str = "urn:xmpp:hints";
/// XEP-0030
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0199
pub const PING: &str = "urn:xmpp:ping";
/// XEP-0004
pub const DATA_FORMS: &str = "jabber:x:data";
/// XEP-0122
pub const VALIDATE: &str = "http://jabber.org/protocol/xdata-validate";
/// XEP-0059
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0191
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// XEP-0191 §3.3
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
/// XEP-0313
pub const MAM: &str = "urn:xmpp:mam:2";
/// XEP-0313 §8
pub const MAM_EXTENDED: &str = "urn:xmpp:mam:2#extended";
/// XEP-0313 §8
pub const MAM_GROUPCHAT: &str = "urn:xmpp:mam:2#groupchat-field";
/// RFC 6121 §2.6.1
pub const ROSTER_VERSIONS: &str = "urn:xmpp:features:rosterver";
/// RFC 6121 §3.4
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
/// XEP-0115
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0060
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060 §8
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// XEP-0060 §7.1.2
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// XEP-0060
pub const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
/// XEP-0060 §8.2
pub const PUBSUB_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";
/// XEP-0060 §5.4
pub const PUBSUB_META: &str = "http://jabber.org/protocol/pubsub#meta-data";
/// XEP-0060 §7.1.5
pub const PUBSUB_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
/// XEP-0490
pub const DISPLAYED: &str = "urn:xmpp:mds:displayed:0";
/// XEP-0490 §4.5
pub const DISPLAYED_ASSIST: &str = "urn:xmpp:mds:server-assist:0";
/// XEP-0402
pub const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
/// XEP-0048
pub const BOOKMARKS_OLD: &str = "storage:bookmarks";
/// XEP-0054
pub const VCARD: &str = "vcard-temp";
/// RFC 6121 §2
pub const ROSTER: &str = "jabber:iq:roster";
/// XEP-0013
pub const FLEXIBLE: &str = "http://jabber.org/protocol/offline";
/// XEP-0352
pub const CSI: &str = "urn:xmpp:csi:0";
/// XEP-0172
pub const NICK: &str = "http://jabber.org/protocol/nick";
/// XEP-0033
pub const ADDRESS: &str = "http://jabber.org/protocol/address";
/// Ours: the account's devices (`crate::relay::devices`).
pub const DEVICES: &str = "urn:counterfoil:devices:0";
/// Ours: what waits for a device (`crate::offline`).
pub const OFFLINE: &str = "urn:counterfoil:offline:0";
/// Ours: the intermediate receipt (R07). A message that carries `<accept/>` is answered with a
/// message from the own account holding `<accepted origin-id='…' stanza-id='…'/>`.
pub const ACCEPTED: &str = "urn:counterfoil:accepted:0";
