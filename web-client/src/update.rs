//! The service worker's life as the page sees it: registered after start, a newer one found.
//!
//! A new version waits until a person asks for it or the app starts afresh: reloading under
//! somebody's hands is worse than being a version behind, and a worker nobody asks can wait for
//! ever. A tab that did not ask is told that the others have moved on, and stays as it is.

use js_sys::Reflect;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::time::Duration;
use wasm_bindgen::prelude::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ServiceWorkerContainer, ServiceWorkerRegistration, ServiceWorkerState};

const LOOK_AGAIN_MS: u64 = 60 * 60_000;
/// What `sw.js` listens for.
const SKIP_WAITING: &str = "SKIP_WAITING";

/// Whether a newer version is ready, and how to get it.
#[derive(Clone, Copy)]
pub struct Update {
    /// One is.
    pub ready: RwSignal<bool>,
    asked: StoredValue<bool>,
    registration: StoredValue<Option<ServiceWorkerRegistration>, LocalStorage>,
}

impl Update {
    /// Registers the service worker, where the browser has them, and watches it.
    pub fn watch() -> Self {
        let update = Self {
            ready: RwSignal::new(false),
            asked: StoredValue::new(false),
            registration: StoredValue::new_local(None),
        };
        let secure = window().is_secure_context();
        let has_workers = Reflect::has(&window().navigator(), &"serviceWorker".into()).unwrap_or(false);
        if secure && has_workers {
            let workers = window().navigator().service_worker();
            update.watch_controller(&workers);
            spawn_local(update.register(workers));
        }
        update
    }

    /// Goes over to the newer version, if that is possible without a detour by reloading.
    pub fn apply(self) {
        self.asked.set_value(true);
        let waiting = self.registration.with_value(|found| found.as_ref().and_then(|found| found.waiting()));
        match waiting {
            Some(worker) => drop(worker.post_message(&SKIP_WAITING.into())),
            None => reload(),
        }
    }

    fn watch_controller(self, workers: &ServiceWorkerContainer) {
        let mut controlled = workers.controller().is_some();
        on(workers, "controllerchange", move || {
            match (self.asked.get_value(), controlled) {
                (true, _) => reload(),
                (false, true) => self.ready.set(true),
                // The first worker of all took over: the page is its version already.
                (false, false) => controlled = true,
            }
        });
    }

    async fn register(self, workers: ServiceWorkerContainer) {
        let Ok(found) = JsFuture::from(workers.register("/sw.js")).await else { return };
        let Ok(found) = found.dyn_into::<ServiceWorkerRegistration>() else { return };
        self.registration.set_value(Some(found.clone()));
        if found.waiting().is_some() && workers.controller().is_some() {
            // Parked since an earlier visit; nothing has been typed into this page yet.
            self.apply();
            return;
        }
        let registration = found.clone();
        on(&found, "updatefound", move || {
            let Some(worker) = registration.installing() else { return };
            let (installing, workers) = (worker.clone(), workers.clone());
            on(&worker, "statechange", move || {
                if installing.state() == ServiceWorkerState::Installed && workers.controller().is_some() {
                    self.ready.set(true);
                }
            });
        });
        set_interval(move || drop(found.update()), Duration::from_millis(LOOK_AGAIN_MS));
    }
}

fn reload() {
    let _ = window().location().reload();
}

/// Listens for as long as the page lives.
fn on(target: &JsValue, event: &str, listener: impl FnMut() + 'static) {
    let listener = Closure::<dyn FnMut()>::new(listener);
    let target: &web_sys::EventTarget = target.unchecked_ref();
    let _ = target.add_event_listener_with_callback(event, listener.as_ref().unchecked_ref());
    listener.forget();
}
