//! The open conversation: who it is with, what was said, what is being written.

use super::avatar::Avatar;
use super::back;
use super::composer::Composer;
use super::icon::{Icon, Sign};
use super::session::Session;
use super::timeline::Timeline;
use crate::i18n::{texts, tr};
use leptos::prelude::*;
use leptos::task::spawn_local;
use shared::client::Command;
use shared::jid::BareJid;

/// Announcements closer together than this become one.
const ANNOUNCE_AFTER_MS: u32 = 400;

/// The right pane while a conversation is open. One instance per conversation.
#[component]
pub fn Conversation(jid: BareJid) -> impl IntoView {
    let name = Session::here().name_of(&jid);
    let label = name.clone();
    view! {
        <section class="conversation" aria-label=label>
            <Header jid=jid.clone() name=name.clone() />
            <Stranger jid=jid.clone() name=name.clone() />
            <Timeline jid=jid.clone() name=name.clone() />
            <Composer jid />
            <Announcer name />
        </section>
    }
}

#[component]
fn Header(jid: BareJid, name: String) -> impl IntoView {
    let session = Session::here();
    // A foreign account's name is its address already.
    let address = if name == jid.as_str() { String::new() } else { jid.to_string() };
    let avatar = jid.clone();
    let texts = texts();
    let subtitle = move || {
        if session.typing.with(|all| all.contains_key(&jid)) {
            texts.get().typing.to_owned()
        } else {
            address.clone()
        }
    };
    view! {
        <header class="bar">
            <button
                class="button plain square back"
                data-testid="back-button"
                title=tr(|t| t.back)
                on:click=move |_| back::to_list(session)
            >
                <Sign icon=Icon::Back />
                <span class="sr-only">{tr(|t| t.back)}</span>
            </button>
            <Avatar jid=avatar />
            <div class="bar-text">
                <h2>{name}</h2>
                <p class="quiet" data-testid="conversation-subtitle">{subtitle}</p>
            </div>
        </header>
    }
}

/// Above the messages of somebody whom the user has not chosen.
#[component]
fn Stranger(jid: BareJid, name: String) -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let is_stranger = Memo::new({
        let jid = jid.clone();
        move |_| session.conversation(&jid).is_some_and(|row| !row.accepted)
    });
    let banner = move || {
        let (jid, name) = (jid.clone(), name.clone());
        view! {
            <div class="stranger">
                <p>{move || (texts.get().stranger)(&name)}</p>
                <button
                    class="button primary"
                    data-testid="accept-button"
                    on:click=move |_| session.command(Command::Accept(jid.clone()))
                >
                    {tr(|t| t.accept)}
                </button>
            </div>
        }
    };
    view! { <Show when=move || is_stranger.get()>{banner.clone()}</Show> }
}

/// Reads new messages of the open conversation to those who listen. One region, spoken when
/// there is a pause, apart from the list, which would be read again as it scrolls.
#[component]
fn Announcer(name: String) -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let said = RwSignal::new(String::new());
    let waiting = StoredValue::new(false);
    Effect::new(move || {
        if session.unspoken.with(Vec::is_empty) || waiting.get_value() {
            return;
        }
        waiting.set_value(true);
        let name = name.clone();
        spawn_local(async move {
            gloo_timers::future::TimeoutFuture::new(ANNOUNCE_AFTER_MS).await;
            // The conversation may have been left meanwhile, and this view with it.
            if waiting.try_set_value(false).is_some() {
                return;
            }
            let bodies = session.unspoken.get_untracked();
            let texts = texts.get_untracked();
            match bodies.as_slice() {
                [] => return,
                [one] => said.set((texts.announce_one)(&name, one)),
                many => said.set((texts.announce_many)(many.len(), &name)),
            }
            session.unspoken.set(Vec::new());
        });
    });
    view! {
        <p class="sr-only" role="status" aria-live="polite" data-testid="announcer">
            {said}
        </p>
    }
}
