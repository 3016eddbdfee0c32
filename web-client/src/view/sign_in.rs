//! Signing in and registering.

use super::session::Session;
use crate::app::Screen;
use crate::driver;
use crate::i18n::{Texts, lang, texts, tr};
use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;
use shared::client::{Command, SignInFault};
use shared::jid::BareJid;

/// Why the card says no.
#[derive(Clone, PartialEq, Eq)]
enum Refusal {
    Name,
    NoPassword,
    Fault(SignInFault),
}

/// The card for whoever is not signed in on this device.
#[component]
pub fn SignIn(screen: RwSignal<Screen>) -> impl IntoView {
    let (name, password) = (NodeRef::<Input>::new(), NodeRef::<Input>::new());
    let working = RwSignal::new(false);
    let refusal = RwSignal::new(None::<Refusal>);
    let session = RwSignal::new(None::<Session>);
    watch(session, screen, working, refusal);

    let texts = texts();
    let attempt = move |register: bool| {
        if working.get_untracked() {
            return;
        }
        let typed =
            |input: NodeRef<Input>| input.get_untracked().map(|input| input.value()).unwrap_or_default();
        let Some(account) = account(typed(name).trim()) else {
            return refusal.set(Some(Refusal::Name));
        };
        let password = typed(password);
        if password.is_empty() {
            return refusal.set(Some(Refusal::NoPassword));
        }
        refusal.set(None);
        working.set(true);
        let command = Command::SignIn { password: normal_form(password), register };
        // A client stays with its account: a second attempt for the same one goes to the same.
        let last = session.get_untracked();
        if let Some(session) = last.filter(|session| session.account() == account) {
            session.refused.set(None);
            return session.command(command);
        }
        session.set(None);
        spawn_local(async move {
            if let Some(last) = last {
                last.close().await;
            }
            match driver::open(account, driver::default_url()).await {
                Ok(client) => {
                    let opened = Session::new(client);
                    session.set(Some(opened));
                    opened.command(command);
                }
                Err(fault) => screen.set(Screen::Fault(fault)),
            }
        });
    };

    view! {
        <main class="page">
            <form
                class="card"
                novalidate
                on:submit=move |event| {
                    event.prevent_default();
                    attempt(false);
                }
            >
                <img class="mark" src="/icons/mark.svg" alt="" width="64" height="64" />
                <h1>{tr(|t| t.app_name)}</h1>
                <p class="quiet">{tr(|t| t.tagline)}</p>
                <label for="name">{tr(|t| t.name)}</label>
                <input
                    id="name"
                    data-testid="jid-input"
                    node_ref=name
                    type="text"
                    autocomplete="username"
                    autocapitalize="none"
                    spellcheck="false"
                    autofocus
                    aria-describedby="name-hint"
                />
                <p id="name-hint" class="hint">
                    {move || (texts.get().name_hint)(&own_domain())}
                </p>
                <label for="password">{tr(|t| t.password)}</label>
                <input
                    id="password"
                    data-testid="password-input"
                    node_ref=password
                    type="password"
                    autocomplete="current-password"
                />
                <p class="error" data-testid="sign-in-error" role="alert">
                    {move || refusal.get().map(|refusal| refusal_text(&refusal, texts.get()))}
                </p>
                <div class="actions">
                    <button
                        class="button primary"
                        type="submit"
                        data-testid="sign-in-button"
                        disabled=working
                        aria-busy=move || working.get().to_string()
                    >
                        <span class="spinner" class:idle=move || !working.get() aria-hidden="true"></span>
                        {move || {
                            let texts = texts.get();
                            if working.get() { texts.signing_in } else { texts.sign_in }
                        }}
                    </button>
                    <button
                        class="button"
                        type="button"
                        data-testid="register-button"
                        disabled=working
                        on:click=move |_| attempt(true)
                    >
                        {tr(|t| t.register)}
                    </button>
                </div>
            </form>
            <LanguageSwitch />
        </main>
    }
}

/// Waits for the answer to an attempt.
fn watch(
    session: RwSignal<Option<Session>>,
    screen: RwSignal<Screen>,
    working: RwSignal<bool>,
    refusal: RwSignal<Option<Refusal>>,
) {
    Effect::new(move || {
        let Some(session) = session.get() else { return };
        if session.signed_in.get() {
            screen.set(Screen::Main(session));
        } else if let Some(fault) = session.fault.get() {
            screen.set(Screen::Fault(fault));
        } else if let Some(fault) = session.refused.get() {
            refusal.set(Some(Refusal::Fault(fault)));
            working.set(false);
        }
    });
}

/// Where the page comes from is where a plain name lives.
fn own_domain() -> String {
    match window().location().hostname().unwrap_or_default().as_str() {
        "127.0.0.1" | "[::1]" => "localhost".into(),
        host => host.to_owned(),
    }
}

fn account(typed: &str) -> Option<BareJid> {
    if typed.contains('@') { BareJid::parse(typed).ok() } else { BareJid::new(typed, &own_domain()).ok() }
}

/// The same password whichever keyboard wrote it (RFC 4013 §2.2).
pub fn normal_form(password: String) -> String {
    js_sys::JsString::from(password).normalize("NFKC").into()
}

fn refusal_text(refusal: &Refusal, texts: &'static Texts) -> String {
    match refusal {
        Refusal::Name => texts.fault_name.into(),
        Refusal::NoPassword => texts.fault_password_empty.into(),
        Refusal::Fault(fault) => fault_text(fault, texts),
    }
}

/// A sentence for a person.
pub fn fault_text(fault: &SignInFault, texts: &'static Texts) -> String {
    match fault {
        SignInFault::WrongPassword => texts.fault_wrong_password.into(),
        SignInFault::NameTaken => texts.fault_name_taken.into(),
        SignInFault::RegistrationClosed => texts.fault_registration_closed.into(),
        SignInFault::NotAcceptable => texts.fault_not_acceptable.into(),
        SignInFault::ServerNotTrusted => texts.fault_server_not_trusted.into(),
        SignInFault::Unreachable => texts.fault_unreachable.into(),
        SignInFault::Other(condition) => (texts.fault_other)(condition),
    }
}

/// Changes every text to the other language.
#[component]
pub fn LanguageSwitch() -> impl IntoView {
    let lang = lang();
    view! {
        <button
            class="button plain"
            data-testid="language-switch"
            lang=move || lang.get().other().tag()
            on:click=move |_| lang.update(|lang| *lang = lang.other())
        >
            {tr(|t| t.switch_language)}
        </button>
    }
}
