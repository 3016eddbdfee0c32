//! Crash only: a panic becomes closed sockets and failed calls, which clients and mailboxes
//! answer by connecting and calling again.
//!
//! A panic ends the one Wasm instance that all objects of the isolate share. The runtime makes a
//! new instance, but tells nobody: the object that panicked never answers, and all others have
//! lost what they were doing. So the object that panicked is aborted, and every other aborts
//! itself when it finds that it is being constructed a second time.
//!
//! `abort` ends JavaScript execution where it stands. Called from Wasm it would leave the
//! executor believing for ever that it is scheduled, so it is called in a later turn, by a
//! function without any Wasm in it.

use crate::bind;
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue};
use worker::{State, console_error};

/// Set on an object's state by its first construction.
const MARK: &str = "counterfoil constructed";

thread_local! {
    /// Whose code is running.
    static RUNNING: RefCell<Option<JsValue>> = const { RefCell::new(None) };
}

/// Aborts the object whose code panics.
pub fn install() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        previous(info);
        let running = RUNNING.try_with(|running| running.try_borrow_mut().ok()?.take()).ok().flatten();
        if let Some(state) = running {
            abort_later(&state);
        }
    }));
}

/// From here on this object's code runs.
pub fn enter(state: &State) {
    set_running(Some(JsValue::from(state.as_raw())));
}

/// From here on the stateless Worker's code runs.
pub fn leave() {
    set_running(None);
}

/// Marks the object as constructed. If it was before, it is aborted, and the answer is `false`:
/// what it was doing is lost, so it must not do anything any more.
pub fn first_construction(state: &State) -> bool {
    let state = JsValue::from(state.as_raw());
    let mark = JsValue::from_str(MARK);
    if js_sys::Reflect::has(&state, &mark).unwrap_or(true) {
        abort_later(&state);
        return false;
    }
    // An unmarked object would go on after an instance is lost: better to have none.
    js_sys::Reflect::set(&state, &mark, &JsValue::TRUE).unwrap_or(false)
}

/// Ends an object and closes its sockets, in a later turn.
fn abort_later(state: &JsValue) {
    let bound = js_sys::Reflect::get(state, &JsValue::from_str("abort"))
        .ok()
        .and_then(|abort| abort.dyn_into::<js_sys::Function>().ok())
        .map(|abort| abort.bind1(state, &JsValue::from_str("the relay crashed")))
        .map(|abort| abort.unchecked_into::<js_sys::Function>());
    if bound.is_none_or(|abort| bind::set_timeout(&abort, 0).is_err()) {
        console_error!("cannot abort an object");
    }
}

fn set_running(state: Option<JsValue>) {
    RUNNING.with(|running| {
        if let Ok(mut running) = running.try_borrow_mut() {
            *running = state;
        }
    });
}
