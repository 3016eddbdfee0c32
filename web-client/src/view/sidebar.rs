//! The own account, the connection, and every conversation.

use super::avatar::Avatar;
use super::icon::{Icon, Sign};
use super::session::Session;
use super::sign_in::{LanguageSwitch, fault_text, normal_form};
use crate::i18n::{lang, texts, time, tr};
use leptos::html::{Dialog, Input};
use leptos::prelude::*;
use shared::client::{Command, LinkState};
use shared::jid::BareJid;

/// The left pane.
#[component]
pub fn Sidebar() -> impl IntoView {
    let account = Session::here().account();
    let name = account.local().unwrap_or(account.as_str()).to_owned();
    view! {
        <div class="pane-side">
            <header class="bar">
                <Avatar jid=account.clone() />
                <div class="bar-text">
                    <h2 title=account.to_string()>{name}</h2>
                    <ConnectionState />
                </div>
                <LanguageSwitch />
                <SignOut />
            </header>
            <SignInAgain />
            <NewChat />
            <ConversationList />
        </div>
    }
}

/// A chip of fixed height: the connection comes and goes without moving anything.
#[component]
fn ConnectionState() -> impl IntoView {
    let session = Session::here();
    let (texts, lang) = (texts(), lang());
    let state = move || match session.link.get() {
        LinkState::SignedOut => "signed-out",
        LinkState::Offline { .. } => "offline",
        LinkState::Connecting => "connecting",
        LinkState::Online { .. } => "online",
    };
    let resumed = move || matches!(session.link.get(), LinkState::Online { resumed: true });
    let text = move || {
        let texts = texts.get();
        let text = match session.link.get() {
            LinkState::SignedOut => texts.signed_out,
            LinkState::Offline { .. } => texts.offline,
            LinkState::Connecting => texts.connecting,
            LinkState::Online { .. } => texts.online,
        };
        match session.outbox.get() {
            0 => text.to_owned(),
            count => format!("{text} · {}", (texts.waiting)(count)),
        }
    };
    let title = move || match session.link.get() {
        LinkState::Offline { retry_at } => Some((texts.get().retry_at)(&time::clock(lang.get(), retry_at))),
        _ => None,
    };
    view! {
        <button
            class="chip"
            data-testid="connection-state"
            data-state=state
            data-resumed=move || resumed().to_string()
            data-outbox=move || session.outbox.get().to_string()
            data-owed=move || session.owed.get().to_string()
            title=title
            on:click=move |_| session.command(Command::Reconnect)
        >
            <span class="dot" aria-hidden="true"></span>
            <span class="chip-text">{text}</span>
        </button>
    }
}

/// Asks for the password when the relay no longer takes the stored proof. Nothing is lost meanwhile.
#[component]
fn SignInAgain() -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let password = NodeRef::<Input>::new();
    let account = session.account();
    let name = account.to_string();
    let submit = move || {
        let password = password.get_untracked().map(|input| input.value()).unwrap_or_default();
        if !password.is_empty() {
            session.refused.set(None);
            let password = normal_form(password);
            session.command(Command::SignIn { password, register: false });
        }
    };
    let form = move || {
        let (name, title) = (name.clone(), name.clone());
        view! {
            <form
                class="again"
                on:submit=move |event| {
                    event.prevent_default();
                    submit();
                }
            >
                <label for="again">{move || (texts.get().reauth)(&title)}</label>
                <input hidden type="text" autocomplete="username" value=name />
                <div class="row">
                    <input id="again" node_ref=password type="password" autocomplete="current-password" />
                    <button class="button primary">{tr(|t| t.sign_in)}</button>
                </div>
                <p class="error" role="alert">
                    {move || session.refused.get().map(|fault| fault_text(&fault, texts.get()))}
                </p>
            </form>
        }
    };
    view! { <Show when=move || session.refused.with(Option::is_some)>{form.clone()}</Show> }
}

#[component]
fn NewChat() -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let input = NodeRef::<Input>::new();
    let error = RwSignal::new(None::<bool>);
    let start = move || {
        let Some(input) = input.get_untracked() else { return };
        let typed = input.value();
        match address(typed.trim(), session.account().domain()) {
            None => error.set(Some(false)),
            Some(jid) if jid == session.account() => error.set(Some(true)),
            Some(jid) => {
                error.set(None);
                input.set_value("");
                session.command(Command::Accept(jid.clone()));
                session.show(Some(jid));
            }
        }
    };
    view! {
        <form
            class="new-chat"
            on:submit=move |event| {
                event.prevent_default();
                start();
            }
        >
            <label class="sr-only" for="new-chat">{tr(|t| t.new_chat)}</label>
            <div class="row">
                <input
                    id="new-chat"
                    data-testid="new-chat-input"
                    node_ref=input
                    type="text"
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    placeholder=tr(|t| t.new_chat_hint)
                    aria-invalid=move || error.get().is_some().to_string()
                    on:input=move |_| error.set(None)
                />
                <button class="button round" data-testid="new-chat-button" title=tr(|t| t.new_chat)>
                    <Sign icon=Icon::Plus />
                    <span class="sr-only">{tr(|t| t.new_chat_start)}</span>
                </button>
            </div>
            <p class="error" role="alert">
                {move || {
                    let texts = texts.get();
                    error.get().map(|own| if own { texts.new_chat_self } else { texts.fault_name })
                }}
            </p>
        </form>
    }
}

fn address(typed: &str, domain: &str) -> Option<BareJid> {
    if typed.contains('@') { BareJid::parse(typed).ok() } else { BareJid::new(typed, domain).ok() }
}

#[component]
fn ConversationList() -> impl IntoView {
    let session = Session::here();
    let order = Memo::new(move |_| {
        session.conversations.with(|rows| {
            let mut order: Vec<_> = rows.values().map(|row| (row.last_at, row.jid.clone())).collect();
            order.sort_by(|a, b| b.cmp(a));
            order.into_iter().map(|(_, jid)| jid).collect::<Vec<_>>()
        })
    });
    let empty = move || session.loaded.get() && order.with(Vec::is_empty);
    view! {
        <nav class="list-frame" aria-label=tr(|t| t.conversations)>
            <ul class="list" role="list" data-testid="conversation-list">
                <For each=move || order.get() key=BareJid::clone children=|jid| view! { <Entry jid /> } />
            </ul>
            <Show when=empty>
                <p class="quiet list-empty">{tr(|t| t.no_conversations)}</p>
            </Show>
        </nav>
    }
}

/// One conversation in the list.
#[component]
fn Entry(jid: BareJid) -> impl IntoView {
    let session = Session::here();
    let (texts, lang) = (texts(), lang());
    let name = session.name_of(&jid);
    let row = Memo::new({
        let jid = jid.clone();
        move |_| session.conversation(&jid)
    });
    let is_open = Memo::new({
        let jid = jid.clone();
        move |_| session.open.with(|open| open.as_ref() == Some(&jid))
    });
    let typing = Memo::new({
        let jid = jid.clone();
        move |_| session.typing.with(|all| all.contains_key(&jid))
    });
    let draft = Memo::new({
        let jid = jid.clone();
        move |_| {
            let here = session.drafts.with(|all| all.get(&jid).cloned());
            here.or_else(|| row.with(|row| row.as_ref().map(|row| row.draft.clone()))).unwrap_or_default()
        }
    });
    let unread = move || row.with(|row| row.as_ref().map_or(0, |row| row.unread));
    let when = move || {
        let at = row.with(|row| row.as_ref().map(|row| row.last_at)).filter(|at| at.0 > 0)?;
        Some(time::brief(lang.get(), at, session.today.get()))
    };
    let last = move || last_line(texts.get(), row.get(), typing.get(), is_open.get(), draft.get());
    let target = jid.clone();
    view! {
        <li>
            <button
                class="entry"
                class:open=is_open
                data-testid="conversation"
                data-jid=jid.to_string()
                data-unread=move || unread().to_string()
                aria-current=move || is_open.get().then_some("true")
                title=jid.to_string()
                on:click=move |_| session.show(Some(target.clone()))
            >
                <Avatar jid=jid.clone() />
                <span class="entry-name">{name}</span>
                <span class="entry-time">{when}</span>
                <span class="entry-last" class:lively=typing dir="auto">{last}</span>
                <Show when=move || { unread() > 0 }>
                    <span class="badge">
                        <span aria-hidden="true">{move || badge(unread())}</span>
                        <span class="sr-only">{move || (texts.get().unread)(unread())}</span>
                    </span>
                </Show>
            </button>
        </li>
    }
}

fn badge(unread: u32) -> String {
    if unread > 99 { "99+".into() } else { unread.to_string() }
}

fn last_line(
    texts: &'static crate::i18n::Texts,
    row: Option<shared::client::rows::ConversationRow>,
    typing: bool,
    is_open: bool,
    draft: String,
) -> String {
    use shared::client::rows::Direction;
    if typing {
        return texts.typing.into();
    }
    if !draft.is_empty() && !is_open {
        return format!("{} {draft}", texts.draft);
    }
    match row {
        Some(row) if row.last_text.is_empty() => texts.no_messages.into(),
        Some(row) if row.last_direction == Some(Direction::Outgoing) => (texts.you)(&row.last_text),
        Some(row) => row.last_text,
        None => String::new(),
    }
}

/// Signing out deletes what this device holds, so it asks first.
#[component]
fn SignOut() -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let dialog = NodeRef::<Dialog>::new();
    let waiting = move || match session.outbox.get() {
        0 => None,
        count => Some((texts.get().sign_out_waiting)(count)),
    };
    let ask = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            let _ = dialog.show_modal();
        }
    };
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <button class="button plain square" data-testid="sign-out-button" title=tr(|t| t.sign_out) on:click=ask>
            <Sign icon=Icon::SignOut />
            <span class="sr-only">{tr(|t| t.sign_out)}</span>
        </button>
        <dialog node_ref=dialog class="card" aria-labelledby="sign-out-title">
            <h2 id="sign-out-title">{tr(|t| t.sign_out_title)}</h2>
            <p>{tr(|t| t.sign_out_body)}</p>
            <p class="error">{waiting}</p>
            <div class="actions">
                <button class="button" on:click=move |_| close()>
                    {tr(|t| t.cancel)}
                </button>
                <button
                    class="button danger"
                    data-testid="sign-out-confirm"
                    on:click=move |_| {
                        close();
                        session.command(Command::SignOut);
                    }
                >
                    {tr(|t| t.sign_out)}
                </button>
            </div>
        </dialog>
    }
}
