//! The browser's odds and ends: clock, random bytes, the page's address.

use js_sys::{Date, Reflect};
use shared::time::Millis;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

/// The wall clock.
pub(super) fn now() -> Millis {
    Millis(Date::now() as u64)
}

/// Bytes from the browser's cryptographic source.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Every browser that runs wasm has it. Going on without would make SCRAM nonces guessable.
    let source = web_sys::window().and_then(|window| window.crypto().ok());
    let filled = source.map(|crypto| crypto.get_random_values_with_u8_array(&mut bytes).is_ok());
    assert_eq!(filled, Some(true), "the browser gives no random bytes");
    bytes
}

/// A short random name.
pub(super) fn random_name() -> String {
    random::<6>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The relay that served this page.
pub fn default_url() -> String {
    let location = web_sys::window().map(|window| window.location());
    let part = |get: fn(&web_sys::Location) -> Result<String, JsValue>| {
        location.as_ref().and_then(|location| get(location).ok()).unwrap_or_default()
    };
    let scheme = if part(web_sys::Location::protocol) == "https:" { "wss" } else { "ws" };
    format!("{scheme}://{}/xmpp-websocket", part(web_sys::Location::host))
}

/// Whether a person can see this page.
pub(super) fn visible() -> bool {
    let document = web_sys::window().and_then(|window| window.document());
    document.is_some_and(|document| document.visibility_state() == web_sys::VisibilityState::Visible)
}

/// Calls back when the network is back, and when the page comes to the front.
pub(super) fn on_return(callback: impl Fn() + Clone + 'static) {
    let Some(window) = web_sys::window() else { return };
    let shown = callback.clone();
    let online = Closure::<dyn FnMut()>::new(callback);
    let visibility = Closure::<dyn FnMut()>::new(move || {
        if visible() {
            shown();
        }
    });
    window.add_event_listener_with_callback("online", online.as_ref().unchecked_ref()).ok();
    if let Some(document) = window.document() {
        let listener = visibility.as_ref().unchecked_ref();
        document.add_event_listener_with_callback("visibilitychange", listener).ok();
    }
    online.forget();
    visibility.forget();
}

/// Asks the browser not to throw this site's stores away when the disk runs full. Its answer
/// changes nothing here.
pub(super) fn keep_stores() {
    let Some(window) = web_sys::window() else { return };
    let storage = Reflect::get(&window.navigator(), &"storage".into());
    let Some(storage) = storage.ok().and_then(|storage| storage.dyn_into::<web_sys::StorageManager>().ok())
    else {
        return;
    };
    if let Ok(asked) = storage.persist() {
        spawn_local(async move {
            let _ = JsFuture::from(asked).await;
        });
    }
}
