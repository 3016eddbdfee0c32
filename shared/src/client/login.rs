//! From an open link to an authenticated stream: features, registration (XEP-0077), SASL
//! (RFC 6120 §6).

use super::connect::{Again, Phase};
use super::rows::{AccountRow, Op};
use super::{ClientEngine, Event, SignInFault, stanzas};
use crate::sasl::{ClientExchange, Mechanism, SaslFault, Secret};
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// What the user gave to be signed in with, until the relay has accepted or refused it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SignIn {
    pub(super) password: String,
    pub(super) register: bool,
    /// The name was taken when we came to register it. By us, if the password opens it: the
    /// answer to an earlier try may have been lost.
    pub(super) taken: bool,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (register, taken) = (&self.register, &self.taken);
        f.debug_struct("SignIn").field("register", register).field("taken", taken).finish_non_exhaustive()
    }
}

impl ClientEngine {
    /// RFC 6120 §4.3.2
    pub(super) fn features(&mut self, features: &Element) {
        match self.link.as_ref().map(|link| &link.phase) {
            Some(Phase::Opening) => match &self.sign_in {
                Some(sign_in) if sign_in.register => {
                    let id = self.entropy.token();
                    let username = self.config.account.local().unwrap_or_default();
                    let request = stanzas::register(&id, username, &sign_in.password);
                    self.say(&request);
                    self.set_phase(Phase::Registering { id, features: features.clone() });
                }
                _ => self.authenticate(features),
            },
            Some(Phase::Reopening) => self.resume_or_bind(features),
            _ => self.stream_error(StreamCondition::BadFormat, Again::Backoff),
        }
    }

    /// Takes a stanza before authentication: only the answer to our registration means anything.
    pub(super) fn registered(&mut self, stanza: &Element) {
        let Some(Phase::Registering { id, features }) = self.link.as_ref().map(|link| &link.phase) else {
            return;
        };
        if stanza.name != "iq" || stanza.attr("id") != Some(id) {
            return;
        }
        let (features, result) = (features.clone(), stanza.attr("type") == Some("result"));
        let condition = condition(stanza.child(ns::CLIENT, "error"), ns::STANZA_ERRORS);
        if result || condition == "conflict" {
            if let Some(sign_in) = &mut self.sign_in {
                sign_in.register = false;
                sign_in.taken = !result;
            }
            return self.authenticate(&features);
        }
        self.sign_in_failed(match condition.as_str() {
            "not-allowed" | "service-unavailable" | "forbidden" => SignInFault::RegistrationClosed,
            "not-acceptable" | "bad-request" | "jid-malformed" => SignInFault::NotAcceptable,
            _ => SignInFault::Other(condition),
        });
    }

    fn authenticate(&mut self, features: &Element) {
        let offers = |mechanism: &Mechanism| {
            let list = features.child(ns::SASL, "mechanisms");
            list.is_some_and(|list| list.children().any(|offer| offer.text() == mechanism.name()))
        };
        let Some(mechanism) = [Mechanism::ScramSha256, Mechanism::ScramSha1].into_iter().find(offers) else {
            return match self.sign_in {
                Some(_) => self.sign_in_failed(SignInFault::Other("invalid-mechanism".to_owned())),
                None => self.hang_up(Again::Backoff),
            };
        };
        let username = self.config.account.local().unwrap_or_default();
        let (exchange, message) = ClientExchange::begin(mechanism, username, &self.entropy.token());
        self.say(&stanzas::sasl("auth", &message).with_attr("mechanism", mechanism.name()));
        self.set_phase(Phase::Authenticating { exchange, proved: false, credential: None });
    }

    pub(super) fn sasl(&mut self, element: &Element) {
        if !matches!(self.link.as_ref().map(|link| &link.phase), Some(Phase::Authenticating { .. })) {
            return self.stream_error(StreamCondition::BadFormat, Again::Backoff);
        }
        if element.name == "failure" {
            return self.sasl_failed(&condition(Some(element), ns::SASL));
        }
        let text = element.text();
        // RFC 6120 §6.4.2: a lone "=" is the empty message.
        let step = STANDARD
            .decode(if text == "=" { "" } else { text.as_str() })
            .map_err(|_| SaslFault::IncorrectEncoding)
            .and_then(|message| match element.name.as_str() {
                "challenge" => self.challenged(&message),
                "success" => self.succeeded(&message),
                _ => Err(SaslFault::MalformedRequest),
            });
        if let Err(fault) = step {
            self.say(&Element::new(ns::SASL, "abort"));
            self.sign_in_failed(match fault {
                SaslFault::CredentialStale | SaslFault::NotAuthorized => SignInFault::WrongPassword,
                _ => SignInFault::ServerNotTrusted,
            });
        }
    }

    fn challenged(&mut self, message: &[u8]) -> Result<(), SaslFault> {
        let Some(Phase::Authenticating { exchange, proved, credential }) =
            self.link.as_mut().map(|link| &mut link.phase)
        else {
            return Err(SaslFault::MalformedRequest);
        };
        let answer = if credential.is_some() {
            // The server's proof may come as one more challenge (RFC 4422 §3.6).
            exchange.verify(message)?;
            *proved = true;
            Vec::new()
        } else {
            let secret = match (&self.sign_in, &self.account) {
                (Some(sign_in), _) => Secret::Password(&sign_in.password),
                (None, Some(account)) => Secret::Credential(&account.credential),
                (None, None) => return Err(SaslFault::NotAuthorized),
            };
            let (answer, earned) = exchange.respond(message, secret)?;
            *credential = Some(earned);
            answer
        };
        self.say(&stanzas::sasl("response", &answer));
        Ok(())
    }

    fn succeeded(&mut self, message: &[u8]) -> Result<(), SaslFault> {
        let Some(Phase::Authenticating { exchange, proved, credential }) =
            self.link.as_ref().map(|link| &link.phase)
        else {
            return Err(SaslFault::MalformedRequest);
        };
        if !proved {
            exchange.verify(message)?;
        }
        let credential = credential.clone().ok_or(SaslFault::ServerNotTrusted)?;
        // The password is forgotten here; what is kept is good for this account only.
        if self.sign_in.take().is_some() {
            let account = AccountRow {
                jid: self.config.account.clone(),
                device: self.config.device.clone(),
                url: self.config.url.clone(),
                credential,
            };
            self.refused = false;
            self.gate.write(Op::PutAccount(account.clone()));
            self.account = Some(account);
            self.notify(Event::SignedIn);
        }
        // RFC 7395 §3.7: the stream starts anew, without a `<close/>`.
        self.set_phase(Phase::Reopening);
        self.say(&stanzas::open(self.config.account.domain()));
        Ok(())
    }

    fn sasl_failed(&mut self, condition: &str) {
        match condition {
            "not-authorized" | "credentials-expired" | "invalid-authzid" => {
                let taken = self.sign_in.as_ref().is_some_and(|sign_in| sign_in.taken);
                self.sign_in_failed(if taken { SignInFault::NameTaken } else { SignInFault::WrongPassword });
            }
            // RFC 6120 §6.5.10: nothing is wrong with the password.
            "temporary-auth-failure" if self.sign_in.is_none() => self.hang_up(Again::Backoff),
            other => self.sign_in_failed(SignInFault::Other(other.to_owned())),
        }
    }

    /// The user must do something: no further try by ourselves. Every row stays.
    fn sign_in_failed(&mut self, fault: SignInFault) {
        self.sign_in = None;
        self.refused = true;
        self.notify(Event::SignInFailed(fault));
        self.say(&stanzas::close());
        self.part(Again::Backoff);
    }
}

/// The name of a defined condition inside an error or failure.
fn condition(error: Option<&Element>, namespace: &str) -> String {
    let mut conditions = error.into_iter().flat_map(Element::children);
    let found = conditions.find(|child| child.ns == namespace && child.name != "text");
    found.map_or_else(|| "undefined-condition".to_owned(), |child| child.name.clone())
}
