//! What a device wants to hear of (XEP-0115): it says in its presence which client it is, and is
//! asked once what that client can do. Of the answer the nodes it names with `+notify` are kept,
//! with the device's row: a device that comes back as the same client need not be asked again,
//! and neither does another one of the same kind.

use super::{LogStore, RelayEngine};
use crate::id::DeviceId;
use crate::limits::{CAPS_BYTES_MAX, CAPS_NOTIFY_BYTES_MAX, PEP_NAME_BYTES_MAX};
use crate::relay::rows::CapsRow;
use crate::wire::{Element, ns, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use sha2::Sha256;

/// What a feature ends with that asks for a node's events (XEP-0060 §9.2).
const NOTIFY: &str = "+notify";

impl CapsRow {
    /// What a presence says; `None` if it says nothing that can be kept.
    fn said(presence: &Element) -> Option<Self> {
        let c = presence.child(ns::CAPS, "c")?;
        let text = |name| c.attr(name).unwrap_or_default().to_owned();
        let caps = Self { node: text("node"), ver: text("ver"), hash: text("hash"), notify: None };
        let short = [&caps.node, &caps.ver, &caps.hash].iter().all(|text| text.len() <= CAPS_BYTES_MAX);
        (short && !caps.ver.is_empty()).then_some(caps)
    }

    fn is_same(&self, other: &Self) -> bool {
        (&self.node, &self.ver, &self.hash) == (&other.node, &other.ver, &other.hash)
    }

    /// The id of the question, by which its answer is known also after hibernation.
    fn id(&self) -> String {
        format!("caps-{}", self.ver)
    }

    /// What a device of the same client has answered before: for a digest that was checked.
    fn known_from(&self, other: &Self) -> bool {
        self.is_same(other)
            && digest(&self.hash, b"").is_some()
            && other.notify.as_ref().is_some_and(|n| !n.is_empty())
    }

    /// The nodes that an answer names. Of one that is not what its digest says, none
    /// (XEP-0115 §5.4).
    fn interests(&self, query: &Element) -> Vec<String> {
        let Some(verification) = verification(query) else { return Vec::new() };
        // A digest that cannot be checked speaks for this device alone.
        if digest(&self.hash, verification.as_bytes()).is_some_and(|digest| digest != self.ver) {
            return Vec::new();
        }
        let features = query.children().filter(|child| child.is(ns::DISCO_INFO, "feature"));
        let nodes = features.filter_map(|feature| feature.attr("var")?.strip_suffix(NOTIFY));
        let mut bytes = 0usize;
        let fits = |node: &&str| {
            bytes = bytes.saturating_add(node.len());
            !node.is_empty() && node.len() <= PEP_NAME_BYTES_MAX && bytes <= CAPS_NOTIFY_BYTES_MAX
        };
        nodes.filter(fits).map(str::to_owned).collect()
    }
}

impl RelayEngine {
    /// A device is there, as this presence says. `first`: it was not before.
    pub(in crate::relay) fn caps_said(
        &mut self,
        id: &DeviceId,
        presence: &Element,
        first: bool,
        log: &dyn LogStore,
    ) {
        let before = self.devices.get(id).and_then(|device| device.caps.clone());
        let Some(mut said) = CapsRow::said(presence) else {
            // A later presence need not repeat it.
            if first && before.is_some() {
                self.put_caps(id, None);
            }
            return;
        };
        let same = before.as_ref().filter(|before| before.is_same(&said));
        if !first && same.is_some() {
            return;
        }
        let others = self.devices.values().filter_map(|device| device.caps.as_ref());
        let known = same.filter(|same| same.notify.is_some());
        let known = known.or_else(|| others.into_iter().find(|other| said.known_from(other)));
        said.notify = known.and_then(|known| known.notify.clone());
        let (ask, changed) = (said.notify.is_none(), before.as_ref() != Some(&said));
        let question =
            Element::new(ns::DISCO_INFO, "query").with_attr("node", format!("{}#{}", said.node, said.ver));
        let question = stanza::iq("get", &said.id(), question)
            .with_attr("from", self.config.account.as_str())
            .with_attr("to", self.config.account.with_resource(id.as_str()).to_string());
        if changed {
            self.put_caps(id, Some(said));
        }
        if ask {
            self.send_stanza(id, &question, true);
        } else {
            self.send_last_to_device(id, log);
        }
    }

    /// A device answers. What is no answer to our question is nobody's.
    pub(in crate::relay) fn caps_answered(&mut self, id: &DeviceId, iq: &Element, log: &dyn LogStore) {
        let asked = self.devices.get(id).and_then(|device| device.caps.clone());
        let asked = asked.filter(|caps| caps.notify.is_none() && iq.attr("id") == Some(&caps.id()));
        let Some(mut caps) = asked.filter(|_| self.is_for_account(iq)) else { return };
        // Whoever cannot say is not asked again.
        let query = iq.child(ns::DISCO_INFO, "query").filter(|_| iq.attr("type") == Some("result"));
        caps.notify = Some(query.map(|query| caps.interests(query)).unwrap_or_default());
        let wants = caps.notify.as_ref().is_some_and(|nodes| !nodes.is_empty());
        self.put_caps(id, Some(caps));
        self.send_last_to_device(id, log);
        // What contacts published was told before it was known that the device wants it.
        if wants {
            self.probe_contacts(id);
        }
    }

    fn is_for_account(&self, iq: &Element) -> bool {
        let to = stanza::address(iq, "to");
        to.is_ok_and(|to| to.is_none_or(|to| to == self.config.account.clone().into()))
    }

    fn put_caps(&mut self, id: &DeviceId, caps: Option<CapsRow>) {
        if let Some(device) = self.devices.get_mut(id) {
            device.caps = caps;
            self.put_device(id);
        }
    }
}

/// The digest in base64; `None` for an algorithm that is not known here.
fn digest(hash: &str, of: &[u8]) -> Option<String> {
    match hash {
        "sha-1" => Some(STANDARD.encode(Sha1::digest(of))),
        "sha-256" => Some(STANDARD.encode(Sha256::digest(of))),
        _ => None,
    }
}

/// What the digest is made of (XEP-0115 §5.1); `None` for an answer that is ill-formed (§5.4).
fn verification(query: &Element) -> Option<String> {
    let all = |name| query.children().filter(move |child: &&Element| child.is(ns::DISCO_INFO, name));
    let identity = |identity: &Element| {
        let text = |name| identity.attr(name).unwrap_or_default();
        let (category, kind) = (text("category"), text("type"));
        format!("{category}/{kind}/{}/{}", identity.lang().unwrap_or_default(), text("name"))
    };
    let identities = sorted(all("identity").map(identity))?;
    let features = sorted(all("feature").map(|feature| feature.attr("var").unwrap_or_default().to_owned()))?;
    let forms = query.children().filter(|child| child.is(ns::DATA_FORMS, "x"));
    let mut forms: Vec<(String, String)> = forms.filter_map(form).collect();
    forms.sort();
    let repeated = forms.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
    if repeated {
        return None;
    }
    let forms = forms.into_iter().map(|(_, text)| text);
    let mut text: String = identities.into_iter().chain(features).map(|part| part + "<").collect();
    text.extend(forms);
    Some(text)
}

/// In order; `None` if one is there twice, or holds what parts are separated by.
fn sorted(parts: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let mut parts: Vec<String> = parts.collect();
    parts.sort();
    let bad = parts.windows(2).any(|pair| matches!(pair, [one, other] if one == other));
    (!bad && !parts.iter().any(|part| part.contains('<'))).then_some(parts)
}

/// A form's type, and what it adds; `None` for a form without a hidden type, which is ignored.
fn form(x: &Element) -> Option<(String, String)> {
    let values = |field: &Element| {
        let values = field.children().filter(|child| child.is(ns::DATA_FORMS, "value"));
        let mut values: Vec<String> = values.map(Element::text).collect();
        values.sort();
        values
    };
    let mut form_type = None;
    let mut fields = Vec::new();
    for field in x.children().filter(|child| child.is(ns::DATA_FORMS, "field")) {
        let name = field.attr("var").unwrap_or_default();
        if name == "FORM_TYPE" {
            form_type = values(field).first().cloned().filter(|_| field.attr("type") == Some("hidden"));
        } else {
            fields.push((name.to_owned(), values(field)));
        }
    }
    let form_type = form_type?;
    fields.sort();
    let mut text = format!("{form_type}<");
    for (name, values) in fields {
        for part in std::iter::once(name).chain(values) {
            text.push_str(&part);
            text.push('<');
        }
    }
    Some((form_type, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::read_frame;

    fn ver(query: &str) -> Option<String> {
        let query = read_frame(query, 10_000).unwrap();
        digest("sha-1", verification(&query)?.as_bytes())
    }

    #[test]
    fn the_digests_of_the_specification_are_made() {
        // XEP-0115 §5.2 and §5.3
        let simple = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='client' type='pc' name='Exodus 0.9.1'/>\
            <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/muc'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/disco#info'/></query>";
        assert_eq!(ver(simple).as_deref(), Some("QgayPKawpkPSDYmwT/WM94uAlu0="));
        let complex = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
            <field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>\
            <field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field>\
            <field var='software'><value>Psi</value></field>\
            <field var='software_version'><value>0.11</value></field></x></query>";
        assert_eq!(ver(complex).as_deref(), Some("q07IKJEyjvHSyhy//CH0CxmKi8w="));
    }

    #[test]
    fn what_could_be_read_in_two_ways_has_no_digest() {
        let info = |inside: &str| ver(&format!("<query xmlns='{}'>{inside}</query>", ns::DISCO_INFO));
        let form =
            "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field></x>";
        assert!(info(form).is_some() && info("").is_some());
        assert_eq!(info(&form.repeat(2)), None);
        assert_eq!(info("<feature var='a'/><feature var='a'/>"), None);
        assert_eq!(info("<feature var='a&lt;b'/>"), None);
        assert_eq!(info(&"<identity category='client' type='pc'/>".repeat(2)), None);
    }
}
