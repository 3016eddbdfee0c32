//! What a device says that authenticates by XEP-0388.

use super::world::{Device, PASSWORD, World};
use crate::sasl::{ClientExchange, Mechanism, Secret, ht};
use crate::sm::{Handled, Window};
use crate::wire::{Element, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub const PHONE: &str = "d4565fa7-4d72-4749-b3d3-740edbf87770";
pub const LAPTOP: &str = "0b4fbd25-2f9c-4b6e-a1f5-6d4f1c0e9a11";
/// A session with everything.
pub const BIND: &str = "<bind xmlns='urn:xmpp:bind:0'><tag>Tests</tag>\
    <enable xmlns='urn:xmpp:sm:3' resume='true'/><enable xmlns='urn:xmpp:carbons:2'/></bind>";
pub const REQUEST_TOKEN: &str = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
pub const FAST: &str = "<fast xmlns='urn:xmpp:fast:0'/>";

/// Who a device says it is.
pub fn agent(id: &str) -> String {
    format!("<user-agent id='{id}'><software>Tests</software><device>Bench</device></user-agent>")
}

impl Device {
    /// Opens a connection and the stream on it.
    pub fn open(&mut self, world: &mut World, attributes: &str) {
        self.link = world.connect(&self.account);
        self.say(
            world,
            &format!("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0' {attributes}/>"),
        );
    }

    /// Says something and comes to the answer in this namespace.
    pub fn ask2(&mut self, world: &mut World, frame: &str) -> Option<Element> {
        let before = self.nonzas.len();
        self.say(world, frame);
        self.nonzas.iter().skip(before).find(|element| element.ns == ns::SASL2).cloned()
    }

    /// The first half of a SCRAM exchange: the client's side of it, and the answer.
    pub fn scram_first(&mut self, world: &mut World, wishes: &str) -> (ClientExchange, Option<Element>) {
        let name = self.account.local().unwrap().to_owned();
        let (exchange, first) = ClientExchange::begin(Mechanism::ScramSha256, &name, "nonce");
        let answer = self.authenticate_with(world, "SCRAM-SHA-256", &first, wishes);
        (exchange, answer)
    }

    pub fn authenticate_with(
        &mut self,
        world: &mut World,
        mechanism: &str,
        first: &[u8],
        wishes: &str,
    ) -> Option<Element> {
        let authenticate = format!(
            "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>\
             <initial-response>{}</initial-response>{wishes}</authenticate>",
            STANDARD.encode(first)
        );
        self.ask2(world, &authenticate)
    }

    /// Connects and authenticates by password. The answer is the last word of the exchange.
    pub fn scram2(&mut self, world: &mut World, wishes: &str) -> Option<Element> {
        self.open(world, "");
        self.scram2_here(world, wishes)
    }

    /// The same on the connection that is there.
    pub fn scram2_here(&mut self, world: &mut World, wishes: &str) -> Option<Element> {
        let (exchange, answer) = self.scram_first(world, wishes);
        let challenge = answer?;
        if challenge.name != "challenge" {
            return Some(challenge);
        }
        self.scram_last(world, exchange, &challenge, PASSWORD)
    }

    /// The second half of a SCRAM exchange.
    pub fn scram_last(
        &mut self,
        world: &mut World,
        mut exchange: ClientExchange,
        challenge: &Element,
        password: &str,
    ) -> Option<Element> {
        let challenge = STANDARD.decode(challenge.text()).unwrap();
        let (last, _) = exchange.respond(&challenge, Secret::Password(password)).unwrap();
        let response = Element::new(ns::SASL2, "response").with_text(STANDARD.encode(last));
        let answer = self.ask2(world, &response.to_frame())?;
        if answer.name == "success" {
            exchange.verify(&additional_data(&answer)).unwrap();
            self.begin2(world, &answer);
        }
        Some(answer)
    }

    /// Connects and authenticates by a token.
    pub fn fast(&mut self, world: &mut World, token: &str, wishes: &str) -> Option<Element> {
        self.open(world, "");
        let first = ht::initial_response(self.account.local().unwrap(), token);
        let answer = self.authenticate_with(world, ht::MECHANISM, &first, wishes)?;
        if answer.name == "success" {
            ht::verify(token, &additional_data(&answer)).unwrap();
            self.begin2(world, &answer);
        }
        Some(answer)
    }

    /// The session that a `<success/>` speaks of begins.
    fn begin2(&mut self, world: &mut World, success: &Element) {
        if let Some(resumed) = success.child(ns::SM, "resumed") {
            self.window.resume(Handled::parse(resumed.attr("h").unwrap()).unwrap()).unwrap();
            let again: Vec<String> = self.window.unacked().flatten().cloned().collect();
            again.iter().for_each(|frame| self.say(world, frame));
        }
        let enabled = success.child(ns::BIND2, "bound").and_then(|bound| bound.child(ns::SM, "enabled"));
        if let Some(enabled) = enabled {
            self.sm_id = enabled.attr("id").unwrap().to_owned();
            self.handled = Handled::ZERO;
            self.window = Window::default();
        }
    }

    /// Its connection is lost, and what was on its way with it.
    pub fn lose(&mut self, world: &mut World) {
        world.sent.remove(&self.link);
        world.input(&self.account.clone(), crate::relay::Input::LinkDown(self.link));
    }
}

fn additional_data(success: &Element) -> Vec<u8> {
    STANDARD.decode(success.child(ns::SASL2, "additional-data").unwrap().text()).unwrap()
}

/// The address that a `<success/>` names.
pub fn identity(success: &Element) -> String {
    success.child(ns::SASL2, "authorization-identifier").unwrap().text()
}

/// The condition of a `<failure/>`.
pub fn condition(failure: &Element) -> &str {
    assert_eq!(failure.name, "failure", "{}", failure.to_frame());
    &failure.children().next().unwrap().name
}

/// The token that a `<success/>` gives.
pub fn token(success: &Element) -> Option<String> {
    Some(success.child(ns::FAST, "token")?.attr("token")?.to_owned())
}
