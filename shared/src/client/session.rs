//! The session on an authenticated stream: resumed or bound anew (XEP-0198 §3, §5), counted in
//! both directions, probed when it is silent.

use super::connect::{Again, Phase};
use super::rows::{Op, SessionRow};
use super::timer::Timer;
use super::{ClientEngine, Effect, Entry, Event, LinkState, stanzas};
use crate::bad::{self, Bug};
use crate::limits::{CLIENT_PROBE_MS, ID_BYTES_MAX, STABLE_MS};
use crate::sm::{Handled, TooHigh, Window};
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ns};

/// XEP-0198 §5: an SM-ID has at most 4000 bytes; one that long is not worth keeping.
const SM_ID_BYTES_MAX: usize = 4 * ID_BYTES_MAX;

impl ClientEngine {
    pub(super) fn resume_or_bind(&mut self, features: &Element) {
        let sm = features.child(ns::SM, "sm").is_some();
        // Written even if it says nothing new: a tab that has lost the lead is refused here, before
        // it takes the stream from the one that has it.
        self.session_unwritten = true;
        self.write_session();
        if !sm || self.session.sm_id.is_empty() {
            return self.bind(sm);
        }
        // Resume comes before bind (XEP-0198 §5). Its `h` must be the whole count.
        if let Some(link) = &self.link {
            let (id, session) = (link.id, &self.session);
            self.gate.effect(Effect::Resume(id, session.stream, session.sm_id.clone()));
        }
        self.set_phase(Phase::Resuming);
    }

    fn bind(&mut self, sm: bool) {
        let id = self.entropy.token();
        self.say(&stanzas::bind(&id, &self.config.device));
        self.set_phase(Phase::Binding { id, sm });
    }

    /// The answer to bind (RFC 6120 §7.7). Returns whether it was that.
    pub(super) fn bound(&mut self, iq: &Element) -> bool {
        let Some(Phase::Binding { id, sm }) = self.link.as_ref().map(|link| &link.phase) else {
            return false;
        };
        if iq.name != "iq" || iq.attr("id") != Some(id) {
            return false;
        }
        let sm = *sm;
        let jid = iq.child(ns::BIND, "bind").and_then(|bind| bind.child(ns::BIND, "jid"));
        match jid.map(Element::text) {
            None => self.hang_up(Again::Backoff),
            Some(bound) if sm => {
                self.say(&stanzas::sm("enable").with_attr("resume", "true"));
                self.set_phase(Phase::Enabling { bound });
            }
            Some(bound) => self.begin_session(String::new(), bound, false),
        }
        true
    }

    /// An element of XEP-0198.
    pub(super) fn stream_management(&mut self, element: &Element) {
        let phase = self.link.as_ref().map(|link| &link.phase);
        match (element.name.as_str(), phase) {
            ("resumed", Some(Phase::Resuming)) => self.resumed(element),
            ("failed", Some(Phase::Resuming)) => {
                // XEP-0198 §5: what it had handled before it forgot us need not be sent again.
                let told = handled(element).filter(|_| !bad::is(Bug::FailedCountIgnored));
                let confirmed = told.and_then(|h| self.window.ack(h).ok());
                confirmed.unwrap_or_default().into_iter().for_each(|entry| self.confirmed(entry));
                self.session.sm_id.clear();
                self.bind(true);
            }
            ("enabled", Some(Phase::Enabling { bound })) => {
                let bound = bound.clone();
                let resumable = matches!(element.attr("resume"), Some("true" | "1"));
                let id = element.attr("id").filter(|id| resumable && id.len() <= SM_ID_BYTES_MAX);
                self.begin_session(id.unwrap_or_default().to_owned(), bound, true);
            }
            ("failed", Some(Phase::Enabling { bound })) => {
                let bound = bound.clone();
                self.begin_session(String::new(), bound, false);
            }
            ("r", Some(Phase::Online)) => {
                self.write_session();
                if let Some(link) = &self.link {
                    self.gate.effect(Effect::Ack(link.id, self.session.stream));
                }
            }
            ("a", Some(Phase::Online)) => self.acked(element),
            // XEP-0198 §4: before it is on, these mean nothing; they are no stanzas either.
            _ => {}
        }
    }

    /// A new session: both counts start at zero, and nothing of the old one will be resumed.
    fn begin_session(&mut self, sm_id: String, bound: String, sm: bool) {
        let SessionRow { stream, seen, .. } = self.session;
        self.session = SessionRow { sm_id, stream, handled: 0, bound, seen };
        self.number_anew(Handled::ZERO);
        self.setup_confirmed = false;
        self.give_up_the_old();
        self.online(sm, false);
    }

    fn resumed(&mut self, element: &Element) {
        let Some(h) = handled(element) else {
            return self.stream_error(StreamCondition::BadFormat, Again::Backoff);
        };
        match self.window.resume(h) {
            Ok(confirmed) => {
                // What remains is sent again from the rows, which are in the same order. The
                // window is exact from here on, also where it was restored.
                confirmed.into_iter().for_each(|entry| self.confirmed(entry));
                self.number_anew(h);
                self.online(true, true);
            }
            Err(fault) => self.acked_too_much(fault),
        }
    }

    /// What is sent from here on is numbered from this count. Numbers in rows that were given
    /// before are void, and must be so on disk before anything else takes them: a row whose
    /// stanza never left would pass for sent as soon as the relay's `h` reaches its number.
    fn number_anew(&mut self, sent: Handled) {
        self.gate.forget(self.session.stream);
        self.session.stream = self.session.stream.wrapping_add(1);
        self.gate.load_count(self.session.stream, Handled(self.session.handled));
        self.session_unwritten = true;
        self.write_session();
        self.window = Window::restore(sent, sent, Vec::new());
    }

    fn online(&mut self, sm: bool, resumed: bool) {
        if let Some(link) = &mut self.link {
            link.phase = Phase::Online;
            link.sm = sm;
        }
        self.timers.clear(Timer::Dial);
        self.timers.set(Timer::Stable, self.now.plus(STABLE_MS));
        self.timers.set(Timer::Probe, self.now.plus(CLIENT_PROBE_MS));
        self.notify(Event::Link(LinkState::Online { resumed }));
        if !self.setup_confirmed {
            self.set_up();
        }
        self.outbox.wait_where(|_| true);
        let conversations = &self.conversations;
        self.owed.wait_where(|row| conversations.get(&row.to).is_some_and(|to| to.accepted));
    }

    /// What a session begins with. Said again on a resumed stream only where the relay may not
    /// have heard it.
    fn set_up(&mut self) {
        let (carbons, roster) = (self.entropy.token(), self.entropy.token());
        self.say_unkept(&stanzas::enable_carbons(&carbons));
        self.say_unkept(&stanzas::get_roster(&roster));
        self.say(&stanzas::presence(true));
        if self.link.as_ref().is_some_and(|link| link.sm) {
            self.window.push(Entry::Setup);
            self.sent_one();
        }
    }

    /// Says a stanza whose loss is harmless: it is counted and not sent again.
    pub(super) fn say_unkept(&mut self, stanza: &Element) {
        self.window.skip();
        self.say(stanza);
    }

    /// Counts a stanza that was received, whatever it was (XEP-0198 §4).
    pub(super) fn count(&mut self) {
        if self.link.as_ref().is_some_and(|link| link.sm) {
            self.session.handled = Handled(self.session.handled).next().0;
            self.session_unwritten = true;
        }
    }

    /// Writes the counter, if it says more than its row.
    pub(super) fn write_session(&mut self) {
        if std::mem::take(&mut self.session_unwritten) {
            self.gate.write(Op::PutSession(self.session.clone()));
            self.gate.count(self.session.stream, Handled(self.session.handled));
        }
    }

    pub(super) fn forget_session(&mut self) {
        self.session.sm_id.clear();
        self.session_unwritten = true;
        self.write_session();
    }

    fn acked(&mut self, element: &Element) {
        let Some(h) = handled(element) else {
            return self.stream_error(StreamCondition::BadFormat, Again::Backoff);
        };
        let before = self.window.acked();
        match self.window.ack(h) {
            Ok(confirmed) => confirmed.into_iter().for_each(|entry| self.confirmed(entry)),
            Err(fault) => return self.acked_too_much(fault),
        }
        self.timers.clear(Timer::Ask);
        let limits = self.config.limits;
        // A relay that has nothing new to say is not asked again and again: it may have lost count.
        let pause = if h == before { limits.ack_timeout_ms } else { limits.ack_idle_ms };
        let Some(link) = &mut self.link else { return };
        link.asked = false;
        if link.unasked >= limits.ack_every_stanzas {
            self.ask();
        } else if self.window.entries().next().is_some() {
            self.timers.set(Timer::Ask, self.now.plus(pause));
        }
    }

    /// XEP-0198 §4: an `h` beyond what was sent ends the stream. The session is void; a fresh
    /// one follows at once, but not again and again.
    fn acked_too_much(&mut self, fault: TooHigh) {
        self.forget_session();
        let again = if self.acked_too_much { Again::Later } else { Again::AtOnce };
        self.acked_too_much = true;
        let condition = StreamCondition::HandledCountTooHigh(fault.handled.0, fault.sent.0);
        self.stream_error(condition, again);
    }

    /// A stanza that must be confirmed was sent: ask after some, or after a while.
    pub(super) fn sent_one(&mut self) {
        let limits = self.config.limits;
        let Some(link) = &mut self.link else { return };
        if !link.sm {
            return;
        }
        link.unasked += 1;
        if link.asked {
            // The answer decides what to ask next.
        } else if link.unasked >= limits.ack_every_stanzas {
            self.ask();
        } else {
            self.timers.set_if_clear(Timer::Ask, self.now.plus(self.config.limits.ack_idle_ms));
        }
    }

    pub(super) fn ask(&mut self) {
        let Some(link) = &mut self.link else { return };
        if !link.sm {
            return;
        }
        (link.asked, link.unasked) = (true, 0);
        self.gate.effect(Effect::Ask(link.id));
        self.timers.clear(Timer::Ask);
    }

    /// Finds out whether the relay is still there.
    pub(super) fn probe(&mut self) {
        match &self.link {
            Some(link) if link.sm => self.ask(),
            Some(_) if self.is_online() => {
                let ping = stanzas::ping(&self.entropy.token(), self.config.account.domain());
                self.say_unkept(&ping);
                self.timers.set_if_clear(Timer::Silence, self.now.plus(self.config.limits.ack_timeout_ms));
            }
            _ => {}
        }
    }
}

fn handled(element: &Element) -> Option<Handled> {
    element.attr("h").and_then(Handled::parse)
}
