//! A pause that ends when its time is over or when it is dropped.
//!
//! `worker::Delay` takes the handle that `setTimeout` answers for a number. Under compatibility
//! dates from 2026 it is an object, so a delay that was dropped would still go off.

use crate::bind::{clear_timeout, set_timeout};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};

/// See [`pause`].
pub struct Pause {
    ms: u32,
    is_over: Rc<Cell<bool>>,
    timer: Option<(JsValue, Closure<dyn FnMut()>)>,
}

/// Comes to nothing after this many milliseconds, counted from the first poll.
pub fn pause(ms: u64) -> Pause {
    // The longest time that a timer takes.
    let ms = u32::try_from(ms).map_or(i32::MAX as u32, |ms| ms.min(i32::MAX as u32));
    Pause { ms, is_over: Rc::default(), timer: None }
}

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over.get() {
            self.timer = None;
            return Poll::Ready(());
        }
        if self.timer.is_none() {
            let (is_over, waker) = (self.is_over.clone(), context.waker().clone());
            let ring = Closure::<dyn FnMut()>::wrap_assert_unwind_safe(Box::new(move || {
                is_over.set(true);
                waker.wake_by_ref();
            }));
            // Without timers there is nothing to wait for.
            let Ok(handle) = set_timeout(ring.as_ref().unchecked_ref(), self.ms) else {
                return Poll::Ready(());
            };
            self.timer = Some((handle, ring));
        }
        Poll::Pending
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Some((handle, _ring)) = self.timer.take() {
            clear_timeout(&handle);
        }
    }
}
