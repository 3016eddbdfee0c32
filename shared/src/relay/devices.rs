//! The account's devices, `urn:counterfoil:devices:0` (R11): each has a queue of its own, so its
//! owner must see which there are, and be able to let one go.
//!
//! ```xml
//! C: <iq type='get' id='1'><devices xmlns='urn:counterfoil:devices:0'/></iq>
//! S: <iq type='result' id='1'>
//!      <devices xmlns='urn:counterfoil:devices:0'>
//!        <device id='phone' name='my phone' seen='2026-11-21T10:00:00.000Z' online='true' this='true' waiting='0'/>
//!        <device id='laptop' seen='2026-11-01T08:30:00.000Z' online='false' waiting='35'/>
//!      </devices></iq>
//!
//! C: <iq type='set' id='2'><rename xmlns='urn:counterfoil:devices:0' id='laptop' name='at work'/></iq>
//! C: <iq type='set' id='3'><remove xmlns='urn:counterfoil:devices:0' id='laptop'/></iq>
//! ```
//!
//! `id` is the resource, `name` what its owner calls it or else what its user agent calls itself
//! (`software/device`, XEP-0388), `waiting` the number of messages in the log above what the device has
//! confirmed. A change is answered when it is on disk. A device that is removed loses its
//! connection (`not-authorized`), its session, its tokens and its place; if it signs in again it is a
//! new one. Errors:
//! `item-not-found` for a device that is not there, `bad-request` for a name of more than 256 bytes or
//! with control characters.

use super::RelayEngine;
use super::rows::{AgentRow, Op};
use crate::id::DeviceId;
use crate::limits::DEVICE_NAME_BYTES_MAX;
use crate::wire::error::{StanzaError, StreamCondition};
use crate::wire::{Element, ns, stanza};

impl AgentRow {
    fn default_name(&self) -> Option<String> {
        let said: Vec<&str> =
            [&self.software, &self.device].into_iter().flatten().map(String::as_str).collect();
        (!said.is_empty()).then(|| said.join("/"))
    }
}

impl RelayEngine {
    /// Answers a request about devices.
    pub(super) fn devices(
        &mut self,
        id: &DeviceId,
        iq: &Element,
        request: &Element,
    ) -> Result<(), StanzaError> {
        let kind = iq.attr("type").unwrap_or_default();
        if (kind, request.name.as_str()) == ("get", "devices") {
            let answer = self.device_list(id);
            self.send_stanza(id, &stanza::iq_result(iq, Some(answer)), true);
            return Ok(());
        }
        let which = DeviceId(request.attr("id").unwrap_or_default().to_owned());
        let known = self.devices.contains_key(&which);
        match (kind, request.name.as_str()) {
            ("set", "rename" | "remove") if !known => Err(StanzaError::ITEM_NOT_FOUND),
            ("set", "rename") => {
                self.rename(&which, request.attr("name").unwrap_or_default())?;
                self.send_stanza(id, &stanza::iq_result(iq, None), true);
                Ok(())
            }
            ("set", "remove") => {
                // The answer waits for it, also on a stream that has no row of its own.
                self.gate.write(Op::DeleteDevice(which.clone()));
                self.send_stanza(id, &stanza::iq_result(iq, None), true);
                self.remove(&which);
                Ok(())
            }
            _ => Err(StanzaError::FEATURE_NOT_IMPLEMENTED),
        }
    }

    fn device_list(&self, this: &DeviceId) -> Element {
        let mut list = Element::new(ns::DEVICES, "devices");
        for (id, device) in &self.devices {
            let online = device.stream.as_ref().is_some_and(|stream| stream.link.is_some());
            let seen = if online { self.now } else { device.last_seen };
            let waiting = self.head.last().0.saturating_sub(device.cursor.0);
            let mut element = Element::new(ns::DEVICES, "device").with_attr("id", id.as_str());
            let name = device.name.clone().or_else(|| device.agent.as_ref()?.default_name());
            if let Some(name) = name {
                element.set_attr("name", name);
            }
            element.set_attr("seen", seen.to_stamp());
            element.set_attr("online", online.to_string());
            element.set_attr("waiting", waiting.to_string());
            if id == this {
                element.set_attr("this", "true");
            }
            list.push(element);
        }
        list
    }

    fn rename(&mut self, which: &DeviceId, name: &str) -> Result<(), StanzaError> {
        if name.len() > DEVICE_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(StanzaError::BAD_REQUEST);
        }
        if let Some(device) = self.devices.get_mut(which) {
            device.name = (!name.is_empty()).then(|| name.to_owned());
        }
        self.put_device(which);
        Ok(())
    }

    fn remove(&mut self, which: &DeviceId) {
        let link = self.devices.get(which).and_then(|device| device.stream.as_ref()?.link);
        if let Some(link) = link {
            self.close_link(link, Some(StreamCondition::NotAuthorized), 1000);
        }
        let removed = self.devices.remove(which);
        self.gate.write(Op::DeleteDevice(which.clone()));
        if let Some(stream) = removed.and_then(|device| device.stream) {
            self.stream_ended(which, &stream);
        }
    }
}
