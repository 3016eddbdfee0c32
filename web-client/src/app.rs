//! Which screen is shown: whoever used this device before sees their conversations at once, with
//! no connection; everybody else signs in.

use crate::port::StoreFault;
use crate::update::Update;
use crate::view::main::Main;
use crate::view::notice::StorePage;
use crate::view::session::Session;
use crate::view::sign_in::SignIn;
use crate::view::update::UpdateNotice;
use crate::{driver, i18n};
use leptos::prelude::*;
use leptos::task::spawn_local;

/// A screen.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "there is one, and a session is handed about as a copy")]
pub enum Screen {
    /// The stores are being opened.
    Opening,
    /// Nobody is signed in on this device.
    SignIn,
    /// Somebody is.
    Main(Session),
    /// The stores cannot be used.
    Fault(StoreFault),
}

/// The whole app.
#[component]
pub fn App() -> impl IntoView {
    i18n::provide();
    let update = Update::watch();
    let screen = RwSignal::new(Screen::Opening);
    open_remembered(screen);
    title(screen);
    view! {
        <UpdateNotice update />
        {move || match screen.get() {
            Screen::Opening => view! { <Opening /> }.into_any(),
            Screen::SignIn => view! { <SignIn screen /> }.into_any(),
            Screen::Main(session) => view! { <Main session /> }.into_any(),
            Screen::Fault(fault) => view! { <StorePage fault /> }.into_any(),
        }}
    }
}

fn open_remembered(screen: RwSignal<Screen>) {
    spawn_local(async move {
        screen.set(match driver::remembered().await {
            Ok(Some(client)) => Screen::Main(Session::new(client)),
            Ok(None) => Screen::SignIn,
            Err(fault) => Screen::Fault(fault),
        });
    });
}

/// The tab says how much is unread.
fn title(screen: RwSignal<Screen>) {
    let texts = i18n::texts();
    Effect::new(move || {
        let unread = match screen.get() {
            Screen::Main(session) => session.unread(),
            _ => 0,
        };
        let name = texts.get().app_name;
        document().set_title(&if unread == 0 { name.to_owned() } else { format!("({unread}) {name}") });
    });
}

#[component]
fn Opening() -> impl IntoView {
    view! {
        <main class="page" aria-busy="true">
            <span class="spinner" aria-hidden="true"></span>
            <p class="quiet">{i18n::tr(|t| t.opening)}</p>
        </main>
    }
}
