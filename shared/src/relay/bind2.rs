//! What a session begins with once its client is authenticated (XEP-0386, XEP-0484):
//! a stream that goes on, or else a resource with all that was asked for, in one answer.

use super::fast::UsedToken;
use super::link::features_after_authentication;
use super::parked::Resuming;
use super::rows::AgentRow;
use super::sasl2::{BindWish, Fault, UserAgent, Wishes};
use super::session::failed;
use super::{Effect, LogStore, Phase, RelayEngine};
use crate::id::{DeviceId, LinkId};
use crate::jid::prepared_resource;
use crate::wire::error::StanzaError;
use crate::wire::{Element, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

impl RelayEngine {
    /// The client has proved itself with what it said: everything that it wishes is done, and
    /// `<success/>` says so. Unless that has to wait: then nothing is done, and it is as if it were
    /// said later.
    pub(super) fn begin_session(
        &mut self,
        link: LinkId,
        said: &Element,
        data: &[u8],
        used: Option<UsedToken>,
        wishes: Wishes,
        log: &dyn LogStore,
    ) -> Result<(), Fault> {
        // XEP-0386 §3.2: a stream that can go on comes before everything else.
        let (mut resumed, mut not_resumed) = (None, None);
        if let Some(wish) = &wishes.resume {
            match wish.h.map(|h| self.resumable(link, said, &wish.previd, h, log)).transpose()? {
                Some(Resuming::With(id, rows)) => resumed = Some((id, rows)),
                Some(Resuming::Over(failed)) => not_resumed = Some(failed),
                Some(Resuming::Parked) => return Ok(()),
                None => not_resumed = Some(failed("bad-request")),
            }
        }
        let bind = wishes.bind.as_ref().filter(|_| resumed.is_none());
        let bound = match bind {
            Some(bind) => Some(self.bindable(wishes.agent.as_ref(), bind).map_err(full)?),
            None => None,
        };
        let device = resumed.as_ref().map(|(id, _)| id.clone()).or_else(|| bound.clone());
        let token = self.settle_agent(device.as_ref(), used, &wishes);

        let identity = match &device {
            Some(id) => self.config.account.with_resource(id.as_str()).to_string(),
            None => self.config.account.to_string(),
        };
        let mut success = Element::new(ns::SASL2, "success")
            .with(Element::new(ns::SASL2, "additional-data").with_text(STANDARD.encode(data)))
            .with(Element::new(ns::SASL2, "authorization-identifier").with_text(identity));
        token.into_iter().chain(not_resumed).for_each(|said| success.push(said));

        if let Some((id, rows)) = resumed {
            let previd = wishes.resume.map(|wish| wish.previd).unwrap_or_default();
            let greeting = |no| Effect::Success(link, success, Some((no, previd)));
            self.take_over(link, &id, greeting, &rows, log);
            return Ok(());
        }
        let mut features = features_after_authentication();
        if let Some((id, bind)) = bound.zip(wishes.bind.as_ref()) {
            success.push(self.begin_bound(link, &id, bind, log));
            // Nothing is left to bind.
            features.remove_children(|feature| {
                feature.ns == ns::BIND || feature.ns == ns::SM && bind.sm.is_some()
            });
        } else if let Some(known) = self.links.get_mut(&link) {
            known.phase = Phase::Unbound;
            known.agent = wishes.agent;
        }
        self.send_element(link, &success);
        // XEP-0388 §2.6.1
        self.send_element(link, &features);
        Ok(())
    }

    /// Binds a device to a connection, as its client wishes.
    fn begin_bound(&mut self, link: LinkId, id: &DeviceId, bind: &BindWish, log: &dyn LogStore) -> Element {
        let replaced = self.begin_stream(link, id);
        let mut bound = Element::new(ns::BIND2, "bound");
        if let Some(resumable) = bind.sm {
            bound.push(self.manage(id, resumable));
        }
        if let Some(stream) = self.stream_mut(id) {
            stream.carbons = bind.carbons;
            stream.csi.inactive = bind.inactive;
        }
        self.put_device(id);
        if let Some(replaced) = replaced {
            self.stream_ended(id, &replaced);
        }
        // XEP-0386 §3.2: what was there at this instant.
        bound.with(self.archive_ends(id, log))
    }

    /// The device that is to be bound, which is there when it answers.
    fn bindable(&mut self, agent: Option<&UserAgent>, bind: &BindWish) -> Result<DeviceId, StanzaError> {
        let tail = agent.map_or_else(|| self.entropy.token(), UserAgent::resource);
        // XEP-0386 §3.2.1
        let tagged = bind.tag.as_ref().and_then(|tag| prepared_resource(&format!("{tag}/{tail}")).ok());
        let id = DeviceId(tagged.unwrap_or(tail));
        match agent {
            Some(agent) => self.agents_device(agent, Some(id)),
            None => self.ensure_device(&id, false).map(|()| id),
        }
    }

    /// The device that a user agent is: the one it has been, or the one it wants to be if that is
    /// nobody else.
    pub(super) fn agents_device(
        &mut self,
        agent: &UserAgent,
        wanted: Option<DeviceId>,
    ) -> Result<DeviceId, StanzaError> {
        if let Some((id, _)) = self.device_of(agent) {
            return Ok(id.clone());
        }
        let free = |id: &DeviceId| self.devices.get(id).is_none_or(|device| device.agent.is_none());
        let own = || Some(DeviceId(agent.resource()));
        let id = wanted.filter(free).or_else(own).filter(free);
        let id = id.unwrap_or_else(|| DeviceId(self.entropy.token()));
        self.ensure_device(&id, true)?;
        self.introduce(&id, agent);
        Ok(id)
    }

    /// Notes which user agent a device is, and what that calls itself.
    fn introduce(&mut self, id: &DeviceId, agent: &UserAgent) {
        let Some(device) = self.devices.get_mut(id) else { return };
        let tokens = device.agent.take().map(|row| row.tokens).unwrap_or_default();
        let UserAgent { id_hash, software, device: runs_on } = agent.clone();
        device.agent = Some(AgentRow { id_hash, software, device: runs_on, tokens });
        device.named = true;
    }

    /// A user agent without a device goes on as one that has not said who it is.
    pub(super) fn adopt(&mut self, id: &DeviceId, agent: &UserAgent) {
        let nameless = self.devices.get(id).is_some_and(|device| device.agent.is_none());
        if nameless && self.device_of(agent).is_none() {
            self.introduce(id, agent);
        }
    }

    /// Gives the user agent that has authenticated its device and its token. `device` is the one
    /// that is written next.
    fn settle_agent(
        &mut self,
        device: Option<&DeviceId>,
        used: Option<UsedToken>,
        wishes: &Wishes,
    ) -> Option<Element> {
        let agent = wishes.agent.as_ref()?;
        if let Some(id) = device {
            self.adopt(id, agent);
        }
        let own = match self.device_of(agent) {
            Some((id, _)) => id.clone(),
            // Without a device there is nothing that a token could end with.
            None if wishes.token => self.agents_device(agent, None).ok()?,
            None => return None,
        };
        self.introduce(&own, agent);
        let token = self.renew_tokens(&own, used, wishes.token);
        if Some(&own) != device && (token.is_some() || used.is_some()) {
            self.put_device(&own);
        }
        token
    }
}

/// More devices than an account may have, and none of them to be let go.
fn full(_: StanzaError) -> Fault {
    Fault::Refused("temporary-auth-failure", Some("The account has too many devices."))
}
