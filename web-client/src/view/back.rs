//! The system's way back. Where one pane is shown at a time, the open conversation is a step in
//! the browser's history, so that going back leads to the list and not out of the app.
//!
//! The step does not say whom the conversation is with: the browser keeps it beyond a sign-out.

use super::session::Session;
use leptos::ev;
use leptos::prelude::*;
use wasm_bindgen::JsValue;
use web_sys::History;

const STEP: &str = "conversation";
/// As in `style/panes.css`.
const ONE_PANE: &str = "(max-width: 47.99rem)";

/// Makes a step of each conversation that is opened, and closes it when the step is taken back.
pub fn watch(session: Session) {
    // After a reload no conversation is open, but the browser is where it was.
    if at_step()
        && let Some(history) = history()
    {
        let _ = history.replace_state(&JsValue::NULL, "");
    }
    Effect::new(move || {
        if session.open.with(Option::is_some)
            && one_pane()
            && !at_step()
            && let Some(history) = history()
        {
            let _ = history.push_state(&STEP.into(), "");
        }
    });
    let taken_back = window_event_listener(ev::popstate, move |_| {
        if !at_step() {
            session.show(None);
        }
    });
    on_cleanup(move || taken_back.remove());
}

/// Goes back to the list, on whichever way the conversation was reached.
pub fn to_list(session: Session) {
    let gone_back = at_step() && history().is_some_and(|history| history.back().is_ok());
    if !gone_back {
        session.show(None);
    }
}

fn history() -> Option<History> {
    window().history().ok()
}

fn at_step() -> bool {
    history().and_then(|history| history.state().ok()).is_some_and(|state| state == STEP)
}

fn one_pane() -> bool {
    window().match_media(ONE_PANE).ok().flatten().is_some_and(|query| query.matches())
}
