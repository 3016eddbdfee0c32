//! The object of one account. It carries frames, rows and calls between the runtime and the
//! engine, which decides.
//!
//! **Invariant:** from the moment an event is handed to the engine until the engine is drained,
//! nothing is awaited. So rows are written and what depends on them is sent in one turn, and the
//! runtime holds back what was sent until the rows are on disk.
//!
//! There is one way to recover: the engine is dropped, all sockets are closed, and the next event
//! loads it from the rows.

use crate::calls::{self, Waiting};
use crate::cold::{self, Blobs};
use crate::links::{self, Links};
use crate::store::Store;
use crate::wake::{Clock, now};
use crate::{bind, crash, settings};
use shared::cold::SegmentFault;
use shared::id::LinkId;
use shared::jid::BareJid;
use shared::limits::Limits;
use shared::relay::{CallId, Called, Config, Input, Output, RelayEngine, TransferReply, TransferRequest};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;
use worker::{Env, Error, Result, State, console_error};

/// A WebSocket event that takes longer has hung: handling one never waits for anything.
const EVENT_MS_MAX: u32 = 10_000;
/// How long something that was under way stays undone, if the object is lost and nobody calls it.
const RECOVERY_MS: u64 = 60_000;

/// One thing that happened, until the engine has seen it. See [`Input`].
pub enum Event {
    LinkUp(LinkId),
    Frame(LinkId, String),
    Binary(LinkId),
    LinkDown(LinkId),
    Transfer(CallId, TransferRequest),
    Transferred(BareJid, Called, Option<TransferReply>),
    SegmentPut(String, bool),
    Segment(String, std::result::Result<Vec<u8>, SegmentFault>),
    SegmentDeleted(String, bool),
    Wake,
}

impl Event {
    fn as_input(&self) -> Input<'_> {
        match self {
            Self::LinkUp(link) => Input::LinkUp(*link),
            Self::Frame(link, text) => Input::Frame(*link, text),
            Self::Binary(link) => Input::Binary(*link),
            Self::LinkDown(link) => Input::LinkDown(*link),
            Self::Transfer(call, request) => Input::Transfer(*call, request),
            Self::Transferred(peer, called, reply) => {
                Input::Transferred(peer.clone(), *called, reply.clone())
            }
            Self::SegmentPut(name, stored) => Input::SegmentPut(name, *stored),
            Self::Segment(name, got) => Input::Segment(name, got.as_deref().map_err(|fault| *fault)),
            Self::SegmentDeleted(name, deleted) => Input::SegmentDeleted(name, *deleted),
            Self::Wake => Input::Wake,
        }
    }
}

/// Everything of a mailbox that outlives one event.
pub struct Mailbox {
    pub state: Rc<State>,
    pub env: Env,
    pub links: Links,
    pub store: Store,
    pub clock: Rc<Clock>,
    pub waiting: Waiting,
    engine: RefCell<Option<RelayEngine>>,
    events: RefCell<VecDeque<Event>>,
    draining: Cell<bool>,
    calls: Cell<u32>,
}

impl Mailbox {
    /// Touches nothing: the first event does.
    pub fn new(state: Rc<State>, env: Env) -> Rc<Self> {
        if let Err(error) = bind::limit_events(&state, EVENT_MS_MAX) {
            console_error!("cannot limit how long an event may take: {error}");
        }
        let (links, store) = (Links::new(state.clone()), Store::new(state.clone()));
        let (engine, events, draining, waiting, calls) = Default::default();
        let clock = Clock::new(state.clone());
        Rc::new(Self { state, env, links, store, clock, waiting, engine, events, draining, calls })
    }

    /// Whose mailbox it is; `None` for an object that nobody should have called.
    pub fn account(&self) -> Option<BareJid> {
        settings::local_account(&self.env, &self.state.id().name()?)
    }

    /// Hands an event to the engine and carries out what it wants.
    pub fn happened(self: &Rc<Self>, event: Event) {
        crash::enter(&self.state);
        self.events.borrow_mut().push_back(event);
        if self.draining.replace(true) {
            return;
        }
        loop {
            let next = self.events.borrow_mut().pop_front();
            let Some(event) = next else { break };
            if let Err(error) = self.drain(&event) {
                console_error!("the mailbox starts anew: {error}");
                self.give_up();
            }
        }
        self.draining.set(false);
    }

    fn drain(self: &Rc<Self>, event: &Event) -> Result<()> {
        let mut slot = self.engine.borrow_mut();
        let engine = match slot.as_mut() {
            Some(engine) => engine,
            None => slot.insert(self.load()?),
        };
        let mut failed = None;
        engine.handle(now(), event.as_input(), &self.store);
        loop {
            if self.store.take_failed() {
                return Err(Error::from("the store cannot be read"));
            }
            match engine.poll() {
                Output::Commit(no, ops) => {
                    let committed = self.store.commit(&ops);
                    let input =
                        if committed.is_ok() { Input::Committed(no) } else { Input::CommitFailed(no) };
                    failed = failed.or(committed.err());
                    engine.handle(now(), input, &self.store);
                }
                Output::Send(link, text) => self.links.send(link, &text),
                Output::Close(link, code) => self.links.close(link, code),
                // One connection that cannot be kept is not the others' trouble.
                Output::Remember(link, state) => {
                    if let Err(error) = self.links.remember(link, &state) {
                        console_error!("a connection cannot be kept over hibernation: {error}");
                        self.links.close(link, 1011);
                        self.events.borrow_mut().push_back(Event::LinkDown(link));
                    }
                }
                Output::Transfer(request) => self.call(request),
                Output::Reply(call, reply) => self.waiting.reply(call, reply),
                Output::PutSegment(name, bytes) => {
                    let blobs = self.blobs();
                    self.under_way(async move {
                        let stored = cold::put(blobs, &name, bytes).await;
                        Event::SegmentPut(name, stored)
                    });
                }
                Output::GetSegment(name) => {
                    let (blobs, mailbox) = (self.blobs(), self.clone());
                    // If it is lost, so are the connections that wait for it: nothing is left to do.
                    self.state.wait_until(async move {
                        let got = cold::get(blobs, &name).await;
                        mailbox.happened(Event::Segment(name, got));
                    });
                }
                Output::DeleteSegment(name) => {
                    let blobs = self.blobs();
                    self.under_way(async move {
                        let deleted = cold::delete(blobs, &name).await;
                        Event::SegmentDeleted(name, deleted)
                    });
                }
                Output::SegmentFault(name, fault) => console_error!("segment {name} is {fault:?}"),
                Output::WakeAt(at) => {
                    let mailbox = self.clone();
                    // Whoever connects to a name that is not registered must not cost storage.
                    let alarm = !self.store.is_empty();
                    self.clock.wake_at(at, alarm, move || mailbox.happened(Event::Wake));
                    return failed.map_or(Ok(()), Err);
                }
            }
        }
    }

    fn load(&self) -> Result<RelayEngine> {
        let account = self.account().ok_or("this object belongs to no account")?;
        let registration = settings::registration(&self.env);
        let cold = self.blobs().is_some();
        let config = Config { account, registration, seed: bind::random()?, limits: Limits::DEFAULT, cold };
        Ok(RelayEngine::load(now(), self.store.load()?, self.links.load()?, config))
    }

    /// Drops the engine. What is true is in the store.
    fn give_up(self: &Rc<Self>) {
        self.engine.take();
        self.links.close_all(1011);
        self.waiting.clear();
        self.clock.alarm_by(now().plus(RECOVERY_MS));
    }

    /// The alarm went off.
    pub fn alarm(self: &Rc<Self>) {
        self.clock.alarm_went_off();
        self.happened(Event::Wake);
        self.outlive();
    }

    /// If the object is lost now, calls and timers are lost with it, and there may be no client
    /// to ask for what they were to do. Then the alarm has the engine loaded, which knows.
    fn outlive(&self) {
        if self.calls.get() > 0 || self.clock.has_timer() {
            self.clock.alarm_by(now().plus(RECOVERY_MS));
        }
    }

    fn call(self: &Rc<Self>, request: TransferRequest) {
        let env = self.env.clone();
        self.under_way(async move {
            let called = request.called();
            let reply = calls::transfer(&env, &request).await;
            Event::Transferred(request.to, called, reply)
        });
    }

    /// Has something done that must be begun again if the object is lost meanwhile.
    fn under_way(self: &Rc<Self>, work: impl Future<Output = Event> + 'static) {
        let mailbox = self.clone();
        self.calls.set(self.calls.get() + 1);
        self.outlive();
        self.state.wait_until(async move {
            let event = work.await;
            mailbox.calls.set(mailbox.calls.get().saturating_sub(1));
            mailbox.happened(event);
        });
    }

    /// Where this mailbox's segments are.
    fn blobs(&self) -> Option<Blobs> {
        Blobs::of(&self.env, self.account()?.as_str())
    }

    /// A socket was closed by the other side, or lost.
    pub fn closed(self: &Rc<Self>, socket: &worker::WebSocket, code: u16) {
        match self.links.number(socket) {
            Some(link) => {
                self.happened(Event::LinkDown(link));
                self.links.close(link, code);
            }
            // Closed from here before; the runtime still waits for a close.
            None => links::close(socket, code),
        }
    }
}
