//! The screen of a signed-in account: conversations beside the open one, or one of the two where
//! there is no room for both.

use super::back;
use super::conversation::Conversation;
use super::notice::StoreNotice;
use super::session::Session;
use super::sidebar::Sidebar;
use crate::i18n::{time, tr};
use leptos::prelude::*;
use std::time::Duration;

const LOOK_AT_CLOCK_MS: u64 = 30_000;

/// The screen. Provides the [`Session`] to everything below.
#[component]
pub fn Main(session: Session) -> impl IntoView {
    provide_context(session);
    watch_clock(session);
    back::watch(session);
    let open = Memo::new(move |_| session.open.get());
    view! {
        <main class="panes" class:has-open=move || open.with(Option::is_some)>
            <h1 class="sr-only">{tr(|t| t.app_name)}</h1>
            <Sidebar />
            <div class="pane-main">
                {move || match open.get() {
                    Some(jid) => view! { <Conversation jid /> }.into_any(),
                    None => view! { <Nothing /> }.into_any(),
                }}
            </div>
            {move || session.fault.get().map(|fault| view! { <StoreNotice fault /> })}
        </main>
    }
}

/// "Today" is another day after midnight.
fn watch_clock(session: Session) {
    let look = move || {
        let today = time::day(time::now());
        if session.today.get_untracked() != today {
            session.today.set(today);
        }
    };
    if let Ok(interval) = set_interval_with_handle(look, Duration::from_millis(LOOK_AT_CLOCK_MS)) {
        on_cleanup(move || interval.clear());
    }
}

#[component]
fn Nothing() -> impl IntoView {
    view! {
        <div class="nothing">
            <img src="/icons/mark.svg" alt="" width="72" height="72" />
            <p class="quiet">{tr(|t| t.pick_conversation)}</p>
        </div>
    }
}
