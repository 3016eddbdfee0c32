//! Devices that speak stream management as a foreign client would.

use super::world::{World, jid};
use crate::id::LinkId;
use crate::jid::BareJid;
use crate::relay::Input;
use crate::sasl::{ClientExchange, Mechanism, Secret};
use crate::sm::{Handled, Window};
use crate::wire::{Element, ns, read_frame, stanza};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;

/// A device that speaks XMPP and stream management, and keeps what it was told.
pub struct Device {
    pub account: BareJid,
    resource: String,
    pub link: LinkId,
    pub sm_id: String,
    pub handled: Handled,
    pub window: Window<String>,
    pub bodies: Vec<String>,
    pub stanzas: Vec<Element>,
    pub nonzas: Vec<Element>,
    pub acks: bool,
    pub resumptions: usize,
}

pub const PASSWORD: &str = "correct horse";

impl Device {
    /// Registers the account if need be, and brings a device of it online.
    pub fn online(world: &mut World, name: &str, resource: &str) -> Self {
        let mut device = Self::offline(name, resource);
        device.authenticate(world);
        device.bind(world);
        device
    }

    /// One that has never been there.
    pub fn offline(name: &str, resource: &str) -> Self {
        Self {
            account: jid(name),
            resource: resource.to_owned(),
            link: LinkId(0),
            sm_id: String::new(),
            handled: Handled::ZERO,
            window: Window::default(),
            bodies: Vec::new(),
            stanzas: Vec::new(),
            nonzas: Vec::new(),
            acks: true,
            resumptions: 0,
        }
    }

    pub fn say(&mut self, world: &mut World, frame: &str) {
        world.input(&self.account.clone(), Input::Frame(self.link, frame));
        self.drain(world);
    }

    fn say_element(&mut self, world: &mut World, element: Element) {
        self.say(world, &element.to_frame());
    }

    pub fn authenticate(&mut self, world: &mut World) {
        self.link = world.connect(&self.account);
        let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";
        self.say(world, open);
        let name = self.account.local().unwrap().to_owned();
        if world.disk(&self.account.clone()).rows.account.is_none() {
            let query = Element::new(ns::REGISTER, "query")
                .with(Element::new(ns::REGISTER, "username").with_text(&name))
                .with(Element::new(ns::REGISTER, "password").with_text(PASSWORD));
            self.say_element(world, stanza::iq("set", "r", query));
        }
        let (mut exchange, first) = ClientExchange::begin(Mechanism::ScramSha256, &name, "nonce");
        let auth = Element::new(ns::SASL, "auth").with_attr("mechanism", "SCRAM-SHA-256");
        self.say_element(world, auth.with_text(STANDARD.encode(first)));
        let Some(challenge) = self.nonzas.iter().rev().find(|e| e.name == "challenge") else { return };
        let challenge = STANDARD.decode(challenge.text()).unwrap();
        let (last, _) = exchange.respond(&challenge, Secret::Password(PASSWORD)).unwrap();
        self.say_element(world, Element::new(ns::SASL, "response").with_text(STANDARD.encode(last)));
        self.say(world, open);
    }

    pub fn bind(&mut self, world: &mut World) {
        self.bind_unseen(world);
        self.send(world, "<presence xmlns='jabber:client'/>");
    }

    /// Without stream management and presence.
    pub fn bind_unmanaged(&mut self, world: &mut World) {
        let bind =
            Element::new(ns::BIND, "bind").with(Element::new(ns::BIND, "resource").with_text(&self.resource));
        self.say_element(world, stanza::iq("set", "b", bind));
        self.window = Window::default();
    }

    /// Without presence: nothing is sent to it yet.
    pub fn bind_unseen(&mut self, world: &mut World) {
        self.bind_unmanaged(world);
        self.say(world, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    }

    /// Sends a stanza and keeps it until it is acked.
    pub fn send(&mut self, world: &mut World, frame: &str) {
        self.window.push(frame.to_owned());
        self.say(world, frame);
    }

    pub fn message(&mut self, world: &mut World, to: &str, body: &str) {
        let frame = format!(
            "<message xmlns='jabber:client' to='{to}' type='chat' id='{body}'><body>{body}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='o-{body}'/></message>"
        );
        self.send(world, &frame);
    }

    /// Whether its connection still stands.
    pub fn connected(&self, world: &World) -> bool {
        !world.closed.contains_key(&self.link)
    }

    /// Takes everything it was sent, and answers what asks for an answer.
    pub fn drain(&mut self, world: &mut World) {
        while let Some(frame) = world.sent.get_mut(&self.link).and_then(VecDeque::pop_front) {
            let element = read_frame(&frame, usize::MAX).unwrap();
            if stanza::kind(&element).is_some() {
                self.handled = self.handled.next();
                self.bodies.extend(stanza::body(&element));
                self.stanzas.push(element);
                continue;
            }
            match element.name.as_str() {
                "r" if self.acks => {
                    let a = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled);
                    world.input(&self.account.clone(), Input::Frame(self.link, &a));
                }
                "a" => drop(self.window.ack(h(&element)).unwrap()),
                "enabled" => {
                    self.sm_id = element.attr("id").unwrap().to_owned();
                    self.handled = Handled::ZERO;
                }
                _ => {}
            }
            self.nonzas.push(element);
        }
    }

    /// Comes back after a lost connection; returns whether the stream was resumed.
    pub fn resume(&mut self, world: &mut World) -> bool {
        self.authenticate(world);
        let resume = self.resume_frame();
        let before = self.nonzas.len();
        self.say(world, &resume);
        let answer =
            self.nonzas.iter().skip(before).find(|e| matches!(e.name.as_str(), "resumed" | "failed"));
        let Some(answer) = answer.cloned() else { return false };
        if answer.name == "failed" {
            return false;
        }
        self.resumptions += 1;
        self.window.resume(h(&answer)).unwrap();
        let again: Vec<String> = self.window.unacked().flatten().cloned().collect();
        for frame in again {
            self.say(world, &frame);
        }
        true
    }

    /// What it says to go on from where it is.
    pub fn resume_frame(&self) -> String {
        format!("<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{}'/>", self.sm_id, self.handled)
    }

    /// How often it was asked for an ack.
    pub fn asked(&self) -> usize {
        self.nonzas.iter().filter(|e| e.name == "r").count()
    }

    /// The conditions of the errors it was sent, with the ids of what failed.
    pub fn errors(&self) -> Vec<(String, String)> {
        let errors = self.stanzas.iter().filter(|e| e.attr("type") == Some("error"));
        let condition = |e: &Element| Some(e.child(ns::CLIENT, "error")?.children().next()?.name.clone());
        errors.map(|e| (e.attr("id").unwrap().to_owned(), condition(e).unwrap())).collect()
    }

    /// Asks what the relay has.
    pub fn request_ack(&mut self, world: &mut World) {
        self.say(world, "<r xmlns='urn:xmpp:sm:3'/>");
    }

    pub fn unacked(&self) -> usize {
        self.window.entries().count()
    }

    pub fn last_nonza(&self) -> String {
        self.nonzas.last().map(Element::to_frame).unwrap_or_default()
    }

    pub fn last_stanza(&self) -> String {
        self.stanzas.last().map(Element::to_frame).unwrap_or_default()
    }
}

fn h(element: &Element) -> Handled {
    Handled::parse(element.attr("h").unwrap()).unwrap()
}
