//! Tokens in place of a password (XEP-0484): made for one user agent, good for one mechanism and
//! for a while, replaced when they are used and no longer new.
//!
//! A token ends when it expires, when one that was made later is used, when its user says so,
//! with its device, and with the password it was got with.
//!
//! # Two tabs with one token
//!
//! XEP-0484 §3.5 would have a token that was made and not yet used give way to the next one. Two
//! tabs that use the same old token would then be given two new ones, of which the first is no
//! good by the time its tab uses it. So a token that nobody has used yet is told again to
//! whoever is to have a new one, and stays good until a later one is used. That is why a token
//! itself is kept until it is used for the first time; from then on only what checks it is
//! (`crate::sasl::ht`).

use super::RelayEngine;
use super::rows::{AgentRow, TokenRow};
use super::sasl2::{Fault, UserAgent, Wishes};
use crate::id::DeviceId;
use crate::jid::prepared_local;
use crate::limits::{TOKEN_MS_MAX, TOKEN_ROTATE_MS, TOKENS_MAX};
use crate::sasl::SaslFault;
use crate::sasl::ht::{self, TokenKeys};
use crate::time::Millis;
use crate::wire::{Element, ns};

/// A token that has opened the account, and what its user wants with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct UsedToken {
    place: usize,
    count: Option<u64>,
    invalidate: bool,
}

impl TokenRow {
    fn is_good(&self, now: Millis, salt: &str) -> bool {
        self.expires > now && self.salt == salt
    }

    fn element(&self) -> Option<Element> {
        let token = Element::new(ns::FAST, "token").with_attr("token", self.secret.as_deref()?);
        Some(token.with_attr("expiry", self.expires.to_stamp()))
    }
}

impl RelayEngine {
    /// The device that a user agent is.
    pub(super) fn device_of(&self, agent: &UserAgent) -> Option<(&DeviceId, &AgentRow)> {
        let rows = self.devices.iter().filter_map(|(id, device)| Some((id, device.agent.as_ref()?)));
        rows.into_iter().find(|(_, row)| row.id_hash == agent.id_hash)
    }

    /// Checks the message of a client that has a token. Comes to the answer, and which token it is.
    pub(super) fn token_proof(
        &self,
        message: &[u8],
        authenticate: &Element,
        wishes: &Wishes,
    ) -> Result<(Vec<u8>, UsedToken), Fault> {
        let (name, proof) = ht::read(message)?;
        if prepared_local(name).ok().as_deref() != self.config.account.local() {
            return Err(SaslFault::NotAuthorized.into());
        }
        // XEP-0484 §3.4: the client says that it is a token, and §4.1: who it is.
        let fast = authenticate.child(ns::FAST, "fast").ok_or(SaslFault::MalformedRequest)?;
        let count =
            fast.attr("count").map(str::parse).transpose().map_err(|_| SaslFault::MalformedRequest)?;
        let agent = wishes.agent.as_ref().ok_or(SaslFault::NotAuthorized)?;
        // XEP-0484 §4.2: what is not good, or not any more, asks for the password.
        let expired = SaslFault::CredentialsExpired;
        let salt = self.account.as_ref().map(|account| account.sha256.salt.as_str()).ok_or(expired)?;
        let (_, row) = self.device_of(agent).ok_or(expired)?;
        let found = row.tokens.iter().enumerate().find(|(_, token)| token.keys.match_proof(proof));
        let (place, token) = found.filter(|(_, token)| token.is_good(self.now, salt)).ok_or(expired)?;
        if count.is_some() && count <= token.count {
            return Err(SaslFault::NotAuthorized.into());
        }
        let invalidate = matches!(fast.attr("invalidate"), Some("true" | "1"));
        Ok((token.keys.answer()?, UsedToken { place, count, invalidate }))
    }

    /// What becomes of a device's tokens when it has authenticated. Comes to the one to tell it;
    /// the device is to be written before that.
    pub(super) fn renew_tokens(
        &mut self,
        id: &DeviceId,
        used: Option<UsedToken>,
        wanted: bool,
    ) -> Option<Element> {
        let now = self.now;
        let salt = self.account.as_ref()?.sha256.salt.clone();
        let secret = format!("{}{}", self.entropy.token(), self.entropy.token());
        let tokens = &mut self.devices.get_mut(id)?.agent.as_mut()?.tokens;
        let mut due = wanted;
        if let Some(used) = used {
            // XEP-0484 §3.5: all that were made before it.
            tokens.drain(..used.place.min(tokens.len()));
            if let Some(token) = tokens.first_mut() {
                token.secret = None;
                token.count = used.count.or(token.count);
                due |= !used.invalidate && token.made.plus(TOKEN_ROTATE_MS) <= now;
            }
            // Whoever leaves for good leaves nothing behind that he has not seen, either.
            if used.invalidate {
                tokens.clear();
            }
        }
        tokens.retain(|token| token.is_good(now, &salt));
        if !due {
            return None;
        }
        let lasts = |token: &&TokenRow| token.expires.since(now) > TOKEN_MS_MAX / 2;
        if let Some(told) = tokens.iter().filter(lasts).find_map(TokenRow::element) {
            return Some(told);
        }
        let token = TokenRow {
            keys: TokenKeys::derive(&secret),
            secret: Some(secret),
            made: now,
            expires: now.plus(TOKEN_MS_MAX),
            count: None,
            salt,
        };
        let told = token.element();
        tokens.push(token);
        while tokens.len() > TOKENS_MAX {
            tokens.remove(0);
        }
        told
    }
}
