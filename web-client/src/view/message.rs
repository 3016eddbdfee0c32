//! One message and how far it has come.

use super::history::{Item, Shown};
use super::icon::{Icon, Sign};
use super::session::Session;
use crate::i18n::{Lang, Texts, lang, texts, time, tr};
use leptos::prelude::*;
use shared::client::Command;
use shared::client::rows::{Direction, MessageKey, MessageRow, Status};

/// A message in the timeline, with the day above it if it is the day's first.
#[component]
pub fn Message(key: MessageKey, shown: Memo<Shown>) -> impl IntoView {
    let session = Session::here();
    let (texts, lang) = (texts(), lang());
    let item = Memo::new({
        let key = key.clone();
        // A message on its way out keeps its last state.
        move |last: Option<&Option<Item>>| {
            shown.with(|shown| shown.items.get(&key).cloned()).or_else(|| last.cloned().flatten())
        }
    });
    let of = move |read: fn(&MessageRow) -> String| {
        item.with(|item| item.as_ref().map(|item| read(&item.row)).unwrap_or_default())
    };
    let status = Memo::new(move |_| {
        item.with(|item| {
            item.as_ref()
                .map_or((Direction::Incoming, Status::Read), |item| (item.row.direction, item.row.status))
        })
    });
    let day = move || {
        let opens = item.with(|item| item.as_ref().filter(|item| item.opens_day).map(|item| item.row.at));
        opens.map(|at| view! { <p class="day"><span>{time::day_name(lang.get(), at, session.today.get())}</span></p> })
    };
    let clock = move || item.with(|item| item.as_ref().map(|item| time::clock(lang.get(), item.row.at)));
    let times =
        move || item.with(|item| item.as_ref().map(|item| times_text(&item.row, lang.get(), texts.get())));
    let failure = {
        let key = key.clone();
        move || {
            let failed = status.get() == (Direction::Outgoing, Status::Failed);
            failed.then(|| view! { <Failure key=key.clone() reason=of(|row| row.failure.clone().unwrap_or_default()) /> })
        }
    };
    let discard = {
        let key = key.clone();
        move || {
            let queued = status.get() == (Direction::Outgoing, Status::Queued);
            queued.then(|| view! { <Discard key=key.clone() /> })
        }
    };
    view! {
        <li class="item" class:opens-group=move || item.with(|item| item.as_ref().is_some_and(|item| item.opens_group))>
            {day}
            <article
                class="bubble"
                data-testid="message"
                data-key=key.0.clone()
                data-direction=move || direction_name(status.get().0)
                data-status=move || status_name(status.get().1)
                data-order=move || of(|row| row.order.to_string())
            >
                <div class="words" dir="auto">
                    <p class="body" data-testid="message-body">{move || of(|row| row.body.clone())}</p>
                    <span class="meta" title=times>
                        <time>{clock}</time>
                        {move || match status.get() {
                            (Direction::Outgoing, status) => Some(view! { <Glyph status /> }),
                            (Direction::Incoming, _) => None,
                        }}
                    </span>
                </div>
                {failure}
                {discard}
            </article>
        </li>
    }
}

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Incoming => "in",
        Direction::Outgoing => "out",
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Sent => "sent",
        Status::Failed => "failed",
        Status::Delivered => "delivered",
        Status::Read => "read",
    }
}

/// A sign, and the same in words.
#[component]
fn Glyph(status: Status) -> impl IntoView {
    let (icon, text): (_, fn(&'static Texts) -> &'static str) = match status {
        Status::Queued => (Icon::Clock, |t| t.status_queued),
        Status::Sent => (Icon::Check, |t| t.status_sent),
        Status::Failed => (Icon::Alert, |t| t.status_failed),
        Status::Delivered => (Icon::Checks, |t| t.status_delivered),
        Status::Read => (Icon::Checks, |t| t.status_read),
    };
    view! {
        <span class="glyph">
            <Sign icon />
            <span class="sr-only">{tr(text)}</span>
        </span>
    }
}

fn times_text(row: &MessageRow, lang: Lang, texts: &'static Texts) -> String {
    let write = |write: fn(&str) -> String, at: Option<_>| at.map(|at| write(&time::full(lang, at)));
    let lines = [
        write(texts.written_at, Some(row.at)),
        write(texts.sent_at, row.times.sent),
        write(texts.delivered_at, row.times.delivered),
        write(texts.read_at, row.times.read),
    ];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Takes back what has not left this device. It is there for whoever points at the message or
/// comes to it by keyboard; on a touch screen always.
#[component]
fn Discard(key: MessageKey) -> impl IntoView {
    let session = Session::here();
    view! {
        <button
            class="button plain square discard"
            data-testid="delete-button"
            title=tr(|t| t.discard)
            on:click=move |_| session.command(Command::Discard(key.clone()))
        >
            <Sign icon=Icon::Trash />
            <span class="sr-only">{tr(|t| t.discard)}</span>
        </button>
    }
}

/// Why a message failed, and the two ways out.
#[component]
fn Failure(key: MessageKey, reason: String) -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let again = key.clone();
    view! {
        <div class="failure">
            <p>{move || (texts.get().failure)(&reason)}</p>
            <button
                class="button small"
                data-testid="retry-button"
                on:click=move |_| session.command(Command::Retry(again.clone()))
            >
                {tr(|t| t.retry)}
            </button>
            <button
                class="button small"
                data-testid="delete-button"
                on:click=move |_| session.command(Command::Discard(key.clone()))
            >
                {tr(|t| t.delete)}
            </button>
        </div>
    }
}
