//! Who gets to see a message, and as what: the rules between a log row and a device.
//!
//! A row holds the stanza without anything that depends on its reader. [`view`] makes what one
//! device is sent of it: the message itself, a carbon of it (XEP-0280), or, for the device
//! that wrote it, the intermediate receipt (R07).

use crate::id::DeviceId;
use crate::jid::{BareJid, Jid};
use crate::limits::FRAME_BYTES_MAX;
use crate::log::{Direction, LogRow};
use crate::wire::{Element, ns, read_frame, stanza};

/// Whether a message is kept until its devices have confirmed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// It goes into the log.
    Durable,
    /// It is for whoever is there: a state that is stale a moment later.
    Ephemeral,
}

/// Sorts a message by what it carries (XEP-0160 §3, XEP-0334, XEP-0085 §5.6).
pub fn class(message: &Element) -> Class {
    if matches!(message.attr("type"), Some("headline" | "error" | "groupchat")) {
        return Class::Ephemeral;
    }
    // XEP-0334 §4: what says `no-permanent-store` may still wait for an absent device.
    if message.child(ns::HINTS, "no-store").is_some() {
        return Class::Ephemeral;
    }
    let only_state = message.children().all(|child| {
        child.ns == ns::CHAT_STATES || child.is(ns::CLIENT, "thread") || child.is(ns::STANZA_ID, "origin-id")
    });
    if only_state { Class::Ephemeral } else { Class::Durable }
}

/// Takes away what only a server may say, whoever wrote it: stanza-ids and delays of this
/// domain, carbons, places in a list of what waits, and our own intermediate receipts (XEP-0359 §4, XEP-0203 §4, XEP-0280 §11).
pub fn strip_forgeries(message: &mut Element, domain: &str) {
    let local = |text: Option<&str>| {
        text.and_then(|text| Jid::parse(text).ok()).is_none_or(|jid| jid.bare.domain() == domain)
    };
    message.remove_children(|child| {
        child.is(ns::STANZA_ID, "stanza-id") && local(child.attr("by"))
            || child.is(ns::DELAY, "delay") && local(child.attr("from"))
            || child.is(ns::CARBONS, "sent")
            || child.is(ns::CARBONS, "received")
            || child.is(ns::ACCEPTED, "accepted")
            || child.is(ns::FLEXIBLE, "offline")
    });
}

/// What a device is, as far as a view depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Whose mailbox it is.
    pub account: &'a BareJid,
    /// The device.
    pub device: &'a DeviceId,
    /// It has carbons on.
    pub carbons: bool,
    /// It comes late: the message was not sent when it was appended (XEP-0203).
    pub late: bool,
}

/// What this device is sent of this row; `None` if the row is not for it.
pub fn view(row: &LogRow, reader: Reader<'_>) -> Option<Element> {
    match row.direction {
        Direction::In | Direction::Back => {
            let mut message = stamped(row, reader)?;
            let to = stanza::address(&message, "to").ok().flatten();
            let addressed = to.and_then(|jid| jid.resource);
            if addressed.as_deref().is_none_or(|resource| resource == reader.device.as_str()) {
                // XEP-0280 §6: nobody's business but the servers'.
                message.remove_children(|child| child.is(ns::CARBONS, "private"));
            }
            match addressed {
                Some(resource) if resource != reader.device.as_str() => {
                    (reader.carbons && is_copied(&message)).then(|| carbon("received", message, reader))
                }
                Some(_) => Some(message),
                None => {
                    message.set_attr("to", reader.account.as_str());
                    Some(message)
                }
            }
        }
        Direction::Out => {
            let source = row.source.as_ref()?;
            if source.device == *reader.device {
                return source.accept.then(|| accepted(row, reader)).flatten();
            }
            let message = reader.carbons.then(|| stamped(row, reader)).flatten()?;
            is_copied(&message).then(|| carbon("sent", message, reader))
        }
    }
}

/// Whether other devices get a copy of a message (`urn:xmpp:carbons:rules:0`, XEP-0280 §6.1).
fn is_copied(message: &Element) -> bool {
    let of_a_chat = |child: &Element| {
        let payload = [ns::RECEIPTS, ns::CHAT_STATES, ns::MARKERS, ns::REACTIONS, ns::RETRACT];
        child.is(ns::CLIENT, "body") || payload.contains(&child.ns.as_str())
    };
    let private =
        message.child(ns::CARBONS, "private").is_some() || message.child(ns::HINTS, "no-copy").is_some();
    // An error comes back for what was copied when it was sent.
    let wanted = matches!(message.attr("type"), Some("chat" | "error")) || message.children().any(of_a_chat);
    wanted && !private
}

fn stamped(row: &LogRow, reader: Reader<'_>) -> Option<Element> {
    // Twice the limit: our own stamps were added to what passed it.
    let mut message = read_frame(&row.stanza, 2 * FRAME_BYTES_MAX).ok()?;
    stanza::set_stanza_id(&mut message, reader.account, row.seq);
    if reader.late {
        stanza::set_delay(&mut message, reader.account.domain(), row.at);
    }
    Some(message)
}

// XEP-0280 §6: the wrapper comes from the own bare JID and has the type of what it wraps.
fn carbon(kind: &str, message: Element, reader: Reader<'_>) -> Element {
    let mut wrapper = stanza::message(message.attr("type").unwrap_or("chat"));
    wrapper.set_attr("from", reader.account.as_str());
    wrapper.set_attr("to", format!("{}/{}", reader.account, reader.device));
    wrapper.with(Element::new(ns::CARBONS, kind).with(Element::new(ns::FORWARD, "forwarded").with(message)))
}

/// A row as the archive shows it (XEP-0313 §4.2): the same to every device.
pub fn archived(row: &LogRow, account: &BareJid) -> Option<Element> {
    let mut message = read_frame(&row.stanza, 2 * FRAME_BYTES_MAX).ok()?;
    stanza::set_stanza_id(&mut message, account, row.seq);
    let delay = Element::new(ns::DELAY, "delay").with_attr("stamp", row.at.to_stamp());
    Some(Element::new(ns::FORWARD, "forwarded").with(delay).with(message))
}

/// The intermediate receipt: the relay holds the message, under this id.
pub fn accepted(row: &LogRow, reader: Reader<'_>) -> Option<Element> {
    let origin = row.source.as_ref()?.origin.as_ref()?;
    Some(
        stanza::message("normal")
            .with_attr("from", reader.account.as_str())
            .with_attr("to", format!("{}/{}", reader.account, reader.device))
            .with(
                Element::new(ns::ACCEPTED, "accepted")
                    .with_attr("origin-id", origin.as_str())
                    .with_attr("stanza-id", row.seq.to_string()),
            ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StanzaSeq;
    use crate::log::Source;
    use crate::sm::Handled;
    use crate::time::Millis;

    fn read(text: &str) -> Element {
        read_frame(text, 10_000).unwrap()
    }

    fn row(direction: Direction, stanza: &str) -> LogRow {
        LogRow {
            seq: StanzaSeq(7),
            at: Millis(0),
            direction,
            peer: BareJid::parse("b@d").unwrap(),
            peer_seq: StanzaSeq(3),
            source: (direction == Direction::Out).then(|| Source {
                device: "phone".into(),
                stream: 1,
                handled: Handled(1),
                origin: Some("o1".into()),
                id: None,
                digest: 0,
                accept: true,
            }),
            sent: Vec::new(),
            transferred: StanzaSeq(0),
            archived: true,
            stanza: stanza.to_owned(),
        }
    }

    fn seen(row: &LogRow, device: &str, carbons: bool, late: bool) -> Option<String> {
        let account = BareJid::parse("a@d").unwrap();
        let device = DeviceId::from(device);
        view(row, Reader { account: &account, device: &device, carbons, late }).map(|e| e.to_frame())
    }

    #[test]
    fn what_is_worth_keeping_is_kept() {
        for (class_of, text) in [
            (Class::Durable, "<message xmlns='jabber:client'><body>x</body></message>"),
            (
                Class::Durable,
                "<message xmlns='jabber:client'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
            ),
            (
                Class::Ephemeral,
                "<message xmlns='jabber:client'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            ),
            (
                Class::Ephemeral,
                "<message xmlns='jabber:client'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>",
            ),
            (
                Class::Ephemeral,
                "<message xmlns='jabber:client'><paused xmlns='http://jabber.org/protocol/chatstates'/>\
                 <thread>t</thread><origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>",
            ),
            (
                Class::Durable,
                "<message xmlns='jabber:client'><paused xmlns='http://jabber.org/protocol/chatstates'/><subject/></message>",
            ),
            (Class::Ephemeral, "<message xmlns='jabber:client' type='headline'><body>x</body></message>"),
        ] {
            assert_eq!(class(&read(text)), class_of, "{text}");
        }
    }

    #[test]
    fn what_only_a_server_may_say_is_taken_away_every_time_it_occurs() {
        let mut message = read(
            "<message xmlns='jabber:client'><stanza-id xmlns='urn:xmpp:sid:0' by='a@d' id='1'/><body>x</body>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='b@d' id='2'/><stanza-id xmlns='urn:xmpp:sid:0' id='3'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='room@elsewhere' id='4'/><delay xmlns='urn:xmpp:delay' from='d' stamp='x'/>\
             <sent xmlns='urn:xmpp:carbons:2'/><accepted xmlns='urn:counterfoil:accepted:0'/></message>",
        );
        strip_forgeries(&mut message, "d");
        assert_eq!(
            message.to_frame(),
            "<message xmlns='jabber:client'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='room@elsewhere' id='4'/></message>"
        );
    }

    #[test]
    fn a_message_for_the_account_is_for_every_device() {
        let row = row(
            Direction::In,
            "<message xmlns='jabber:client' from='b@d/x' to='a@d'><body>x</body></message>",
        );
        assert_eq!(
            seen(&row, "phone", false, false).unwrap(),
            "<message xmlns='jabber:client' from='b@d/x' to='a@d'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='a@d' id='7'/></message>"
        );
        let late = seen(&row, "laptop", false, true).unwrap();
        assert!(
            late.contains("<delay xmlns='urn:xmpp:delay' from='d' stamp='1970-01-01T00:00:00.000Z'/>"),
            "{late}"
        );
    }

    #[test]
    fn what_passed_the_limit_is_read_again_though_it_was_written_longer() {
        let long = "x".repeat(FRAME_BYTES_MAX);
        let stanza =
            format!("<message xmlns='jabber:client' from='b@d/x' to='a@d'><body>{long}</body></message>");
        let row = row(Direction::In, &stanza);
        assert!(seen(&row, "phone", false, true).is_some_and(|text| text.len() > stanza.len()));
        assert!(archived(&row, &BareJid::parse("a@d").unwrap()).is_some());
    }

    #[test]
    fn the_archive_shows_a_row_to_everybody_alike() {
        let stanza = "<message xmlns='jabber:client' from='a@d/phone' to='b@d'><body>x</body></message>";
        let row = row(Direction::Out, stanza);
        assert_eq!(
            archived(&row, &BareJid::parse("a@d").unwrap()).unwrap().to_frame(),
            "<forwarded xmlns='urn:xmpp:forward:0'>\
             <delay xmlns='urn:xmpp:delay' stamp='1970-01-01T00:00:00.000Z'/>\
             <message xmlns='jabber:client' from='a@d/phone' to='b@d'><body>x</body>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='a@d' id='7'/></message></forwarded>"
        );
    }

    #[test]
    fn a_message_for_one_device_is_a_carbon_for_the_others() {
        let row = row(
            Direction::In,
            "<message xmlns='jabber:client' from='b@d/x' to='a@d/phone'><body>x</body></message>",
        );
        assert!(
            seen(&row, "phone", false, false)
                .unwrap()
                .starts_with("<message xmlns='jabber:client' from='b@d/x'")
        );
        assert!(seen(&row, "laptop", true, false).unwrap().contains("<received xmlns='urn:xmpp:carbons:2'>"));
        assert_eq!(seen(&row, "laptop", false, false), None);
    }

    #[test]
    fn an_own_message_is_a_receipt_for_its_device_and_a_carbon_for_the_others() {
        let row = row(
            Direction::Out,
            "<message xmlns='jabber:client' from='a@d/phone' to='b@d'><body>x</body></message>",
        );
        assert_eq!(
            seen(&row, "phone", true, false).unwrap(),
            "<message xmlns='jabber:client' type='normal' from='a@d' to='a@d/phone'><accepted xmlns='urn:counterfoil:accepted:0' origin-id='o1' stanza-id='7'/></message>"
        );
        assert!(seen(&row, "laptop", true, false).unwrap().contains("<sent xmlns='urn:xmpp:carbons:2'>"));
        assert_eq!(seen(&row, "laptop", false, false), None);
    }

    #[test]
    fn what_is_no_chat_or_is_private_is_copied_to_nobody() {
        let copied = |inner: &str| {
            let to_phone =
                format!("<message xmlns='jabber:client' from='b@d/x' to='a@d/phone'{inner}</message>");
            let received = seen(&row(Direction::In, &to_phone), "laptop", true, false).is_some();
            let own = format!("<message xmlns='jabber:client' from='a@d/phone' to='b@d'{inner}</message>");
            assert_eq!(
                seen(&row(Direction::Out, &own), "laptop", true, false).is_some(),
                received,
                "{inner}"
            );
            assert!(seen(&row(Direction::In, &to_phone), "phone", false, false).is_some(), "{inner}");
            received
        };
        assert!(copied(" type='chat'><x xmlns='y'/>"));
        assert!(copied("><body>x</body>"));
        for (name, namespace) in [
            ("received", ns::RECEIPTS),
            ("displayed", ns::MARKERS),
            ("reactions", ns::REACTIONS),
            ("retract", ns::RETRACT),
        ] {
            assert!(copied(&format!("><{name} xmlns='{namespace}' id='1'/>")), "{name}");
        }
        assert!(!copied("><x xmlns='y'/>"));
        assert!(!copied(" type='chat'><body>x</body><private xmlns='urn:xmpp:carbons:2'/>"));
        assert!(!copied(" type='chat'><body>x</body><no-copy xmlns='urn:xmpp:hints'/>"));
        let private = "<message xmlns='jabber:client' from='b@d/x' to='a@d/phone' type='chat'><body>x</body>\
             <private xmlns='urn:xmpp:carbons:2'/></message>";
        let seen = seen(&row(Direction::In, private), "phone", false, false).unwrap();
        assert!(!seen.contains("private"), "{seen}");
    }
}
