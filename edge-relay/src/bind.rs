//! What workerd offers and the `worker` crate does not bind.

use wasm_bindgen::prelude::*;
use worker::{Error, Result, State};

#[wasm_bindgen]
extern "C" {
    type RawStorage;

    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &RawStorage,
        body: &mut dyn FnMut() -> std::result::Result<JsValue, JsValue>,
    ) -> std::result::Result<JsValue, JsValue>;

    type RawState;

    #[wasm_bindgen(method, catch, js_name = setHibernatableWebSocketEventTimeout)]
    fn set_event_timeout(this: &RawState, ms: u32) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(catch, js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(into: &js_sys::Uint8Array) -> std::result::Result<JsValue, JsValue>;

    /// Calls a JavaScript function after a time; answers a handle.
    #[wasm_bindgen(catch, js_name = setTimeout)]
    pub fn set_timeout(callee: &js_sys::Function, ms: u32) -> std::result::Result<JsValue, JsValue>;

    /// Takes back what [`set_timeout`] was to call.
    #[wasm_bindgen(js_name = clearTimeout)]
    pub fn clear_timeout(handle: &JsValue);
}

/// Applies everything `body` writes, or nothing if it fails. It must not wait for anything.
pub fn transaction(state: &State, mut body: impl FnMut() -> Result<()>) -> Result<()> {
    let storage: RawStorage = JsValue::from(state.storage().as_raw()).unchecked_into();
    storage
        .transaction_sync(&mut || body().map(|()| JsValue::UNDEFINED).map_err(JsValue::from))
        .map(|_| ())
        .map_err(Error::from)
}

/// Lets the runtime give up on a WebSocket event that does not end, so that the object can
/// hibernate again.
pub fn limit_events(state: &State, ms: u32) -> Result<()> {
    let state: RawState = JsValue::from(state.as_raw()).unchecked_into();
    state.set_event_timeout(ms).map_err(Error::from)
}

/// Bytes from the runtime's cryptographic source.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = js_sys::Uint8Array::new_with_length(u32::try_from(N).unwrap_or(u32::MAX));
    get_random_values(&filled)?;
    filled.copy_to(&mut bytes);
    Ok(bytes)
}
