//! The loop around one engine: inputs queue up, each is handled, and the outputs are carried
//! out in order until the engine is drained.
//!
//! Carrying out an output may bring about inputs (a view answers an event with a command);
//! they wait in the queue, so the engine is never entered twice. After a failed commit the loop
//! is over for good, as its engine is; [`super::leader`] begins a new one.

use super::browser;
use super::commit::{self, CommitFault, Epoch};
use super::database::Database;
use super::handover::{Number, TabName, Taken};
use super::socket::{Socket, SocketEvent};
use crate::port::StoreFault;
use futures::channel::oneshot;
use gloo_timers::callback::Timeout;
use shared::client::rows::Op;
use shared::client::{ClientEngine, Command, Event, Input, Output};
use shared::gate::BatchNo;
use shared::id::LinkId;
use shared::time::Millis;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use wasm_bindgen_futures::spawn_local;

/// Longest sleep of the timer. The engine's times are of the wall clock, which may jump; the
/// browser's timers are not.
const SLEEP_MS_MAX: u64 = 60_000;

/// Why a loop is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// This batch or the stores could not be used; the next engine starts from what is there.
    Failed(StoreFault),
    /// Another tab leads.
    Fenced,
    /// Nobody needs an engine any more.
    Finished,
}

/// Who hears of what the loop does.
pub(super) trait Owner {
    /// For the views of every tab.
    fn event(&self, event: Event);
    /// This tab's commands up to here are on disk.
    fn taken(&self, tab: TabName, upto: Number);
    /// A batch is on disk.
    fn committed(&self);
}

/// What came in.
enum Arrival {
    Socket(LinkId, SocketEvent),
    Wake,
    Passing(Command),
    HandedOver(TabName, Number, Command),
    Committed(BatchNo),
    CommitFailed(BatchNo, Ended),
}

pub(super) struct EngineLoop {
    engine: RefCell<Option<ClientEngine>>,
    arrivals: RefCell<VecDeque<Arrival>>,
    draining: Cell<bool>,
    taken: RefCell<Taken>,
    socket: RefCell<Option<Socket>>,
    alarm: RefCell<Option<Timeout>>,
    batches: RefCell<VecDeque<(BatchNo, Vec<Op>)>>,
    committing: Cell<bool>,
    database: Rc<Database>,
    epoch: Epoch,
    owner: Rc<dyn Owner>,
    ended: RefCell<Option<oneshot::Sender<Ended>>>,
    itself: Weak<Self>,
}

impl EngineLoop {
    /// Takes a loaded engine; [`EngineLoop::wake`] starts it. The receiver hears of the end.
    pub fn new(
        engine: ClientEngine,
        database: Rc<Database>,
        epoch: Epoch,
        owner: Rc<dyn Owner>,
    ) -> (Rc<Self>, oneshot::Receiver<Ended>) {
        let (ended, end) = oneshot::channel();
        let engine_loop = Rc::new_cyclic(|itself| Self {
            engine: RefCell::new(Some(engine)),
            arrivals: RefCell::default(),
            draining: Cell::default(),
            taken: RefCell::default(),
            socket: RefCell::default(),
            alarm: RefCell::default(),
            batches: RefCell::default(),
            committing: Cell::default(),
            database,
            epoch,
            owner,
            ended: RefCell::new(Some(ended)),
            itself: itself.clone(),
        });
        (engine_loop, end)
    }

    /// Lets the engine look at the time.
    pub fn wake(&self) {
        self.arrived(Arrival::Wake);
    }

    /// A command that is not handed over again.
    pub fn pass(&self, command: Command) {
        self.arrived(Arrival::Passing(command));
    }

    /// The front of a tab's queue. Answers how far that tab's commands are on disk.
    pub fn hand_over(&self, tab: &TabName, commands: Vec<(Number, Command)>) -> Number {
        let arrivals =
            commands.into_iter().map(|(number, command)| Arrival::HandedOver(tab.clone(), number, command));
        self.arrivals.borrow_mut().extend(arrivals);
        self.drain();
        self.taken.borrow().durable(tab)
    }

    /// Drops the engine, its connection and its timer.
    pub fn stop(&self, why: Ended) {
        self.engine.take();
        self.socket.take();
        self.alarm.take();
        self.arrivals.take();
        self.batches.take();
        if let Some(ended) = self.ended.take() {
            ended.send(why).ok();
        }
    }

    fn arrived(&self, arrival: Arrival) {
        self.arrivals.borrow_mut().push_back(arrival);
        self.drain();
    }

    fn drain(&self) {
        if self.draining.replace(true) {
            return;
        }
        while let Some(arrival) = self.next_arrival() {
            self.handle(&arrival);
            self.carry_out();
            if let Arrival::CommitFailed(_, why) = arrival {
                self.stop(why);
            }
        }
        self.draining.set(false);
        if self.is_running() {
            self.taken.borrow_mut().drained();
            self.tell_taken();
        }
    }

    /// Whether there is an engine. What reaches a loop without one counts as not taken.
    fn is_running(&self) -> bool {
        self.engine.borrow().is_some()
    }

    fn next_arrival(&self) -> Option<Arrival> {
        let next = self.arrivals.borrow_mut().pop_front();
        next.filter(|_| self.is_running())
    }

    fn handle(&self, arrival: &Arrival) {
        let input = match arrival {
            Arrival::Socket(link, SocketEvent::Open) => Input::LinkUp(*link),
            Arrival::Socket(link, SocketEvent::Closed) => Input::LinkDown(*link),
            Arrival::Socket(link, SocketEvent::Text(text)) => Input::Frame(*link, text),
            Arrival::Wake => Input::Wake,
            Arrival::Passing(command) => Input::Command(command.clone()),
            Arrival::HandedOver(tab, number, command) => {
                if !self.taken.borrow_mut().take(tab, *number) {
                    return;
                }
                Input::Command(command.clone())
            }
            Arrival::Committed(batch) => {
                self.taken.borrow_mut().committed(*batch);
                Input::Committed(*batch)
            }
            Arrival::CommitFailed(batch, _) => Input::CommitFailed(*batch),
        };
        if let Some(engine) = &mut *self.engine.borrow_mut() {
            engine.handle(browser::now(), input);
        }
    }

    fn carry_out(&self) {
        while let Some(output) = self.poll() {
            match output {
                Output::Commit(batch, ops) => self.commit(batch, ops),
                Output::Connect(link, url) => self.connect(link, &url),
                Output::Send(link, text) => {
                    if let Some(socket) = self.socket.borrow().as_ref().filter(|socket| socket.link == link) {
                        socket.send(&text);
                    }
                }
                Output::Close(link) => drop(self.socket.borrow_mut().take_if(|socket| socket.link == link)),
                Output::Notify(event) => self.owner.event(event),
                Output::WakeAt(at) => return self.sleep_until(at),
            }
        }
    }

    fn poll(&self) -> Option<Output> {
        self.engine.borrow_mut().as_mut().map(ClientEngine::poll)
    }

    fn connect(&self, link: LinkId, url: &str) {
        let itself = self.itself.clone();
        let socket = Socket::connect(link, url, move |event| {
            if let Some(itself) = itself.upgrade() {
                itself.arrived(Arrival::Socket(link, event));
            }
        });
        if socket.is_none() {
            self.arrived(Arrival::Socket(link, SocketEvent::Closed));
        }
        self.socket.replace(socket);
    }

    fn sleep_until(&self, at: Option<Millis>) {
        let itself = self.itself.clone();
        let alarm = at.map(|at| {
            let sleep_ms = at.since(browser::now()).min(SLEEP_MS_MAX) as u32;
            Timeout::new(sleep_ms, move || {
                if let Some(itself) = itself.upgrade() {
                    itself.wake();
                }
            })
        });
        self.alarm.replace(alarm);
    }

    fn commit(&self, batch: BatchNo, ops: Vec<Op>) {
        self.taken.borrow_mut().out(batch);
        self.batches.borrow_mut().push_back((batch, ops));
        if !self.committing.replace(true)
            && let Some(itself) = self.itself.upgrade()
        {
            spawn_local(async move { itself.commit_all().await });
        }
    }

    async fn commit_all(&self) {
        while let Some((batch, ops)) = self.next_batch() {
            match commit::commit(&self.database, self.epoch, &ops).await {
                Ok(()) => {
                    self.owner.committed();
                    self.arrived(Arrival::Committed(batch));
                }
                Err(CommitFault::Fenced) => self.arrived(Arrival::CommitFailed(batch, Ended::Fenced)),
                Err(CommitFault::Store(fault)) => {
                    self.arrived(Arrival::CommitFailed(batch, Ended::Failed(fault)));
                }
            }
        }
        self.committing.set(false);
    }

    fn next_batch(&self) -> Option<(BatchNo, Vec<Op>)> {
        self.batches.borrow_mut().pop_front()
    }

    fn tell_taken(&self) {
        let news = self.taken.borrow_mut().news();
        for (tab, upto) in news {
            self.owner.taken(tab, upto);
        }
    }
}
