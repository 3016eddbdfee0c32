//! Links: dialling, losing, pausing; and the timers, which are all about links.

use super::timer::{self, Timer};
use super::{ClientEngine, Config, Effect, Event, LinkState, SignInFault, stanzas};
use crate::id::LinkId;
use crate::limits::{CLIENT_PROBE_MS, CONNECT_MS_MAX, FRAME_BYTES_MAX, RECONNECT_MS_MAX, RECONNECT_MS_MIN};
use crate::sasl::{ClientExchange, Credential};
use crate::wire::error::StreamCondition;
use crate::wire::{Element, ReadFault, ns, read_frame, stanza};

/// The one connection there is, and how far it has come.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) phase: Phase,
    /// Stream management is on.
    pub(super) sm: bool,
    /// An `<r/>` has no answer yet.
    pub(super) asked: bool,
    /// Messages and confirmations sent since the last `<r/>`.
    pub(super) unasked: u32,
}

/// The way from a dialled link to a usable one.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The WebSocket is not open yet.
    Dialling,
    /// `<open/>` was sent; features are awaited.
    Opening,
    /// The account is being created; the request's id and the mechanisms on offer.
    Registering { id: String, features: Element },
    /// SASL is under way.
    Authenticating { exchange: ClientExchange, proved: bool, credential: Option<Credential> },
    /// Authenticated; `<open/>` was sent again.
    Reopening,
    /// `<resume/>` was sent.
    Resuming,
    /// Bind was asked for under this id; whether the relay speaks XEP-0198.
    Binding { id: String, sm: bool },
    /// `<enable/>` was sent.
    Enabling { bound: String },
    /// Ready.
    Online,
}

/// When to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    AtOnce,
    Backoff,
    /// Somebody else holds the session: fighting for it would only go round.
    Later,
}

impl ClientEngine {
    pub(super) fn is_online(&self) -> bool {
        self.link.as_ref().is_some_and(|link| matches!(link.phase, Phase::Online))
    }

    /// Authenticated: what comes is from the own relay.
    fn is_authenticated(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            use Phase::{Binding, Enabling, Online, Resuming};
            matches!(link.phase, Resuming | Binding { .. } | Enabling { .. } | Online)
        })
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Some(link) = &mut self.link {
            link.phase = phase;
        }
    }

    /// Starts a connection, unless one is under way.
    pub(super) fn dial(&mut self) {
        let idle = self.account.is_none() || self.refused;
        if self.link.is_some() || idle && self.sign_in.is_none() {
            return;
        }
        let id = LinkId(self.last_link.0 + 1);
        self.last_link = id;
        self.link = Some(Link { id, phase: Phase::Dialling, sm: false, asked: false, unasked: 0 });
        self.timers.clear(Timer::Retry);
        self.timers.set(Timer::Dial, self.now.plus(CONNECT_MS_MAX));
        self.gate.effect(Effect::Connect(id));
        self.notify(Event::Link(LinkState::Connecting));
    }

    pub(super) fn link_up(&mut self, id: LinkId) {
        if self.link.as_ref().is_some_and(|link| link.id == id && matches!(link.phase, Phase::Dialling)) {
            self.set_phase(Phase::Opening);
            self.say(&stanzas::open(self.config.account.domain()));
        }
    }

    pub(super) fn link_down(&mut self, id: LinkId) {
        if self.link.as_ref().is_some_and(|link| link.id == id) {
            // What was not released cannot leave; its numbers are beyond any `h`.
            self.gate.discard(|effect| effect.is_said_on(id));
            self.lost(Again::Backoff);
        }
    }

    /// Gives the link up without a word: it is dead, or has said its last.
    pub(super) fn hang_up(&mut self, again: Again) {
        if let Some(link) = &self.link {
            let id = link.id;
            self.gate.discard(|effect| effect.is_said_on(id));
            self.gate.effect(Effect::Close(id));
            self.lost(again);
        }
    }

    /// Ends the stream with an error (RFC 6120 §4.9).
    pub(super) fn stream_error(&mut self, condition: StreamCondition, again: Again) {
        if let Some(link) = &self.link {
            let id = link.id;
            self.gate.discard(|effect| effect.is_said_on(id));
            self.say(&condition.element());
            self.say(&stanzas::close());
            self.gate.effect(Effect::Close(id));
            self.lost(again);
        }
    }

    /// There is no link any more.
    fn lost(&mut self, again: Again) {
        if self.link.take().is_none() {
            return;
        }
        for timer in [Timer::Dial, Timer::Ask, Timer::Silence, Timer::Probe, Timer::Stable] {
            self.timers.clear(timer);
        }
        self.typing_to.clear();
        if self.sign_in.take().is_some() {
            self.notify(Event::SignInFailed(SignInFault::Unreachable));
        }
        if self.account.is_none() || self.refused {
            return self.notify(Event::Link(LinkState::SignedOut));
        }
        let pause = match again {
            Again::AtOnce => 0,
            Again::Backoff => self.pause(),
            Again::Later => RECONNECT_MS_MAX + self.entropy.below(RECONNECT_MS_MAX),
        };
        let retry_at = self.now.plus(pause);
        self.timers.set(Timer::Retry, retry_at);
        self.notify(Event::Link(LinkState::Offline { retry_at }));
    }

    /// Full jitter: anything up to a bound that doubles with each try. A thousand clients that
    /// lost the same relay do not come back at the same moment.
    fn pause(&mut self) -> u64 {
        let bound = RECONNECT_MS_MIN.checked_shl(self.attempts.min(16)).unwrap_or(RECONNECT_MS_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.entropy.below(bound.min(RECONNECT_MS_MAX) + 1)
    }

    pub(super) fn serve_timers(&mut self) {
        for timer in timer::ALL {
            if !self.timers.take_due(timer, self.now) {
                continue;
            }
            match timer {
                Timer::Retry => self.dial(),
                Timer::Dial => self.hang_up(Again::Backoff),
                Timer::Silence => self.hang_up(Again::AtOnce),
                Timer::Stable => {
                    self.attempts = 0;
                    self.acked_too_much = false;
                }
                Timer::Probe => self.probe(),
                Timer::Ask => self.ask(),
            }
        }
        // A link that was just given up may be tried again in the same breath.
        if self.timers.take_due(Timer::Retry, self.now) {
            self.dial();
        }
    }

    /// One text message from the relay.
    pub(super) fn frame(&mut self, id: LinkId, text: &str) {
        if self.link.as_ref().is_none_or(|link| link.id != id) {
            return;
        }
        self.heard();
        // The relay adds to what passed its limit: stanza-id, delay, a carbon's wrapping.
        match read_frame(text, 2 * FRAME_BYTES_MAX) {
            Ok(element) => self.element(&element),
            // A peer's stanza at the edge of the limits must not end every stream it is sent on:
            // it is counted, as a stanza that makes no sense would be.
            Err(ReadFault::TooLarge) if self.is_online() && text.starts_with("<message") => self.count(),
            Err(fault) => self.stream_error(fault.into(), Again::Backoff),
        }
    }

    fn heard(&mut self) {
        self.timers.clear(Timer::Silence);
        if self.is_online() {
            self.timers.set(Timer::Probe, self.now.plus(CLIENT_PROBE_MS));
        }
        if self.link.as_ref().is_some_and(|link| link.asked) {
            self.timers.set_if_clear(Timer::Ask, self.now.plus(self.config.limits.ack_timeout_ms));
        }
    }

    fn element(&mut self, element: &Element) {
        if stanza::kind(element).is_some() {
            if self.is_authenticated() {
                self.stanza(element);
            } else {
                self.registered(element);
            }
            return;
        }
        match (element.ns.as_str(), element.name.as_str()) {
            (ns::FRAMING, "open") => {}
            (ns::FRAMING, "close") => {
                self.say(&stanzas::close());
                self.part(Again::Backoff);
            }
            (ns::STREAMS, "error") => self.stream_ended(element),
            (ns::STREAMS, "features") => self.features(element),
            (ns::SASL, _) => self.sasl(element),
            (ns::SM, _) => self.stream_management(element),
            _ => self.stream_error(StreamCondition::UnsupportedStanzaType, Again::Backoff),
        }
    }

    /// Closes after what is already queued has left.
    pub(super) fn part(&mut self, again: Again) {
        if let Some(link) = &self.link {
            self.gate.effect(Effect::Close(link.id));
            self.lost(again);
        }
    }

    fn stream_ended(&mut self, error: &Element) {
        let says = |name| error.child(ns::STREAM_ERRORS, name).is_some();
        if error.child(ns::SM, "handled-count-too-high").is_some() {
            // It does not believe our count: the session is of no use to either side.
            self.forget_session();
        }
        self.hang_up(if says("conflict") { Again::Later } else { Again::Backoff });
    }
}

/// Where to connect: our own relay is told whose mailbox is wanted, as a hint for its router.
pub(super) fn url(config: &Config) -> String {
    if !config.url.ends_with("/xmpp-websocket") {
        return config.url.clone();
    }
    let mut url = format!("{}?account=", config.url);
    for byte in config.account.as_str().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
