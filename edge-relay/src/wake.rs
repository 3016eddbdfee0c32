//! When the engine wants to be woken: soon by a timer, which keeps the object in memory, later
//! by the object's alarm, which outlives it and costs a row each time it is set.

use crate::pause::pause;
use futures::future::{AbortHandle, abortable};
use shared::time::Millis;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen_futures::spawn_local;
use worker::{Date, State, console_error};

/// Up to here a timer does; the object would not have hibernated much earlier anyway.
const TIMER_MS_MAX: u64 = 15_000;
/// From here on an alarm is far: it is asked whether there is one already.
const FAR_MS_MIN: u64 = 3_600_000;
/// An alarm that is overdue by this much is not coming.
const ALARM_LATE_MS_MAX: u64 = 120_000;

/// The wall clock.
pub fn now() -> Millis {
    Millis(Date::now().as_millis())
}

/// What is known of the object's alarm.
#[derive(Clone, Copy, PartialEq)]
enum Alarm {
    Unknown,
    At(Millis),
}

/// The object's timer and its alarm.
pub struct Clock {
    state: Rc<State>,
    timer: RefCell<Option<(Millis, AbortHandle)>>,
    alarm: Cell<Alarm>,
    wanted: Cell<Option<Millis>>,
    asking: Cell<bool>,
    /// How often the alarm was set since the object was constructed.
    pub alarms_set: Cell<u64>,
}

impl Clock {
    /// The clock of this object. Touches nothing.
    pub fn new(state: Rc<State>) -> Rc<Self> {
        let (timer, wanted, asking, alarms_set) = Default::default();
        Rc::new(Self { state, timer, alarm: Cell::new(Alarm::Unknown), wanted, asking, alarms_set })
    }

    /// The alarm went off: there is none any more.
    pub fn alarm_went_off(&self) {
        self.alarm.set(Alarm::Unknown);
    }

    /// Calls `wake` at this time, if the object is still there; if it is not, the alarm does.
    /// It may be called earlier, or not be wanted any more.
    ///
    /// Without `alarm` nothing is written: then a timer must do, however long it takes.
    pub fn wake_at(self: &Rc<Self>, at: Option<Millis>, alarm: bool, wake: impl FnOnce() + 'static) {
        match at.map(|at| (at, at.since(now()))) {
            Some((at, ms)) if ms <= TIMER_MS_MAX || !alarm => self.set_timer(at, ms, wake),
            Some((at, ms)) => {
                self.stop_timer();
                if ms >= FAR_MS_MIN && self.alarm.get() == Alarm::Unknown {
                    self.ask_for_alarm(at);
                } else {
                    self.alarm_by(at);
                }
            }
            None => self.stop_timer(),
        }
    }

    /// The same for what is far away: nothing is lost if it is set a moment later, and an object
    /// that is constructed again and again must not write a row each time to set what is set.
    fn ask_for_alarm(self: &Rc<Self>, at: Millis) {
        if self.asking.replace(true) {
            return;
        }
        let clock = self.clone();
        spawn_local(async move {
            let set = clock.state.storage().get_alarm().await;
            clock.asking.set(false);
            let set = set.ok().flatten().and_then(|ms| u64::try_from(ms).ok()).map(Millis);
            match set.filter(|set| *set <= at && now().since(*set) < ALARM_LATE_MS_MAX) {
                // One that was set meanwhile is nearer.
                Some(set) if clock.alarm.get() == Alarm::Unknown => clock.alarm.set(Alarm::At(set)),
                Some(_) => {}
                None => clock.alarm_by(at),
            }
        });
    }

    /// Has the object woken by then, whatever becomes of it until then.
    pub fn alarm_by(self: &Rc<Self>, at: Millis) {
        self.wanted.set(Some(self.wanted.get().map_or(at, |wanted| wanted.min(at))));
        self.set_alarm();
    }

    /// Whether something waits for a timer, which would be lost with the object.
    pub fn has_timer(&self) -> bool {
        self.timer.borrow().is_some()
    }

    fn set_timer(self: &Rc<Self>, at: Millis, ms: u64, wake: impl FnOnce() + 'static) {
        // One that rings early is cheaper than a new one for every frame.
        if self.timer.borrow().as_ref().is_some_and(|(set, _)| *set <= at) {
            return;
        }
        self.stop_timer();
        let (delay, handle) = abortable(pause(ms));
        *self.timer.borrow_mut() = Some((at, handle));
        let clock = self.clone();
        spawn_local(async move {
            if delay.await.is_ok() {
                clock.timer.take();
                wake();
            }
        });
    }

    fn stop_timer(&self) {
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }

    fn set_alarm(self: &Rc<Self>) {
        let Some(wanted) = self.wanted.get() else { return };
        match self.alarm.get() {
            Alarm::At(set) if set <= wanted && now().since(set) < ALARM_LATE_MS_MAX => self.wanted.set(None),
            // What an earlier construction of the object has set is not asked for first: this must be
            // set in the turn that stored what it is for. A load does all that is due anyway.
            Alarm::Unknown | Alarm::At(_) => {
                self.wanted.set(None);
                self.alarm.set(Alarm::At(wanted));
                self.alarms_set.set(self.alarms_set.get() + 1);
                spawn_local(self.clone().set(wanted));
            }
        }
    }

    async fn set(self: Rc<Self>, at: Millis) {
        let in_ms = i64::try_from(at.since(now())).unwrap_or(i64::MAX);
        if let Err(error) = self.state.storage().set_alarm(in_ms).await {
            console_error!("cannot set the alarm: {error}");
            self.alarm.set(Alarm::Unknown);
        }
    }
}
