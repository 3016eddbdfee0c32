//! The scrolling list of messages.
//!
//! The list is laid out from its bottom up (`column-reverse` in `style/timeline.css`), so at the newest
//! message the browser itself keeps it in view whatever grows. Elsewhere the topmost visible
//! message is the anchor: it is measured while the reader scrolls and put back where it was after
//! every change, before the change is painted.

use super::history::{History, PAGE_ROWS};
use super::icon::{Icon, Sign};
use super::message::Message;
use super::session::Session;
use crate::i18n::{texts, time};
use leptos::ev;
use leptos::html::Div;
use leptos::prelude::*;
use shared::client::Command;
use shared::client::rows::MessageKey;
use shared::jid::BareJid;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, VisibilityState};

/// This close to the newest message is at it.
const BOTTOM_PX: i32 = 48;
/// This close to an end of the shown run, more is shown.
const NEAR_END_PX: i32 = 600;

/// A message, and where it stands from the top of the scroller.
type Anchor = (MessageKey, f64);

/// The messages of the open conversation.
#[component]
pub fn Timeline(jid: BareJid, name: String) -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let scroller = NodeRef::<Div>::new();
    let anchor = StoredValue::new(None::<Anchor>);
    let shown = Memo::new(move |_| session.history.with(|history| history.shown(time::day)));
    let keys = Memo::new(move |_| shown.with(|shown| shown.keys.clone()));

    let scrolled = move || {
        let Some(scroller) = scroller.get_untracked() else { return };
        anchor.set_value(topmost(&scroller));
        let at_bottom =
            from_bottom(&scroller) < BOTTOM_PX && session.history.with_untracked(History::follows);
        if session.at_bottom.get_untracked() != at_bottom {
            session.at_bottom.set(at_bottom);
        }
        if at_bottom && session.fresh.get_untracked() > 0 {
            session.fresh.set(0);
        }
        more(session, &scroller);
    };
    let seen = Seen { session, jid: StoredValue::new(jid), last: StoredValue::new(None) };
    Effect::new(move |_| {
        keys.track();
        let settle = move || {
            let Some(scroller) = scroller.try_get_untracked().flatten() else { return };
            if session.at_bottom.get_untracked() {
                scroller.set_scroll_top(0);
            } else if let Some(anchor) = anchor.get_value() {
                put_back(&scroller, &anchor);
            }
            more(session, &scroller);
            seen.look(&scroller);
        };
        request_animation_frame(settle);
    });
    Effect::new(move |before: Option<u32>| {
        let jumps = session.jumps.get();
        let jump = move || {
            if let Some(scroller) = scroller.try_get_untracked().flatten() {
                scroller.set_scroll_top(0);
            }
        };
        if before.is_some() {
            request_animation_frame(jump);
        }
        jumps
    });
    // A status that changes, or the reader who returns, moves nothing, but may be a thing seen.
    let look = move || {
        if let Some(scroller) = scroller.try_get_untracked().flatten() {
            seen.look(&scroller);
        }
    };
    Effect::new(move |_| {
        shown.track();
        session.conversations.track();
        request_animation_frame(look);
    });
    let focus = window_event_listener(ev::focus, move |_| look());
    let visible = window_event_listener(ev::visibilitychange, move |_| look());
    on_cleanup(move || {
        focus.remove();
        visible.remove();
    });

    let label = move || (texts.get().messages_with)(&name);
    let at_start = move || session.history.with(|history| history.complete && !history.hides_older());
    view! {
        <div class="timeline-frame">
            <div
                class="timeline"
                data-testid="timeline"
                node_ref=scroller
                tabindex="0"
                role="region"
                aria-label=label
                on:scroll=move |_| {
                    scrolled();
                    look();
                }
            >
                <div class="timeline-inner">
                    <p class="quiet edge">
                        {move || {
                            let texts = texts.get();
                            if at_start() {
                                texts.start_of_history
                            } else if session.loading.get() {
                                texts.loading_older
                            } else {
                                ""
                            }
                        }}
                    </p>
                    <ol class="messages" role="list">
                        <For each=move || keys.get() key=MessageKey::clone children=move |key| view! { <Message key shown /> } />
                    </ol>
                </div>
            </div>
            <Show when=move || !session.at_bottom.get()>
                <button class="pill" data-testid="newest-button" on:click=move |_| session.newest()>
                    <Sign icon=Icon::Down />
                    <span>
                        {move || match session.fresh.get() {
                            0 => texts.get().jump_to_newest.to_owned(),
                            count => (texts.get().new_messages)(count),
                        }}
                    </span>
                </button>
            </Show>
        </div>
    }
}

/// Distance to the newest shown message. `scrollTop` is 0 there and negative above.
fn from_bottom(scroller: &HtmlElement) -> i32 {
    -scroller.scroll_top()
}

fn more(session: Session, scroller: &HtmlElement) {
    let height = scroller.scroll_height() - scroller.client_height();
    let from_top = height - from_bottom(scroller);
    if from_bottom(scroller) < NEAR_END_PX && !session.history.with_untracked(History::follows) {
        session.newer();
    } else if from_top < NEAR_END_PX {
        session.older();
    }
}

fn messages(scroller: &HtmlElement) -> Vec<Element> {
    let Ok(found) = scroller.query_selector_all("[data-key]") else { return Vec::new() };
    let mut all = Vec::with_capacity(PAGE_ROWS);
    for at in 0..found.length() {
        all.extend(found.item(at).and_then(|node| node.dyn_into::<Element>().ok()));
    }
    all
}

fn top_within(scroller: &HtmlElement, element: &Element) -> f64 {
    element.get_bounding_client_rect().top() - scroller.get_bounding_client_rect().top()
}

/// The first message that is not above the visible part.
fn topmost(scroller: &HtmlElement) -> Option<Anchor> {
    let all = messages(scroller);
    let top = scroller.get_bounding_client_rect().top();
    let at = all.partition_point(|element| element.get_bounding_client_rect().bottom() <= top);
    let element = all.get(at)?;
    Some((MessageKey(element.get_attribute("data-key")?), top_within(scroller, element)))
}

fn element_of(scroller: &HtmlElement, key: &MessageKey) -> Option<Element> {
    messages(scroller).into_iter().find(|element| element.get_attribute("data-key").as_ref() == Some(&key.0))
}

fn put_back(scroller: &HtmlElement, (key, top): &Anchor) {
    if let Some(element) = element_of(scroller, key) {
        let moved = top_within(scroller, &element) - top;
        if moved.abs() >= 1.0 {
            scroller.set_scroll_top(scroller.scroll_top() + moved.round() as i32);
        }
    }
}

/// Tells the engine when a person has the newest incoming message before their eyes.
#[derive(Clone, Copy)]
struct Seen {
    session: Session,
    jid: StoredValue<BareJid>,
    last: StoredValue<Option<MessageKey>>,
}

impl Seen {
    fn look(self, scroller: &HtmlElement) {
        let attentive = document().visibility_state() == VisibilityState::Visible
            && document().has_focus().unwrap_or(false);
        if !attentive {
            return;
        }
        let jid = self.jid.get_value();
        let newest = self.session.history.with_untracked(|history| {
            let ours = history.conversation.as_ref() == Some(&jid);
            history.newest_incoming().filter(|_| ours).map(|row| row.key.clone())
        });
        let Some(newest) = newest else { return };
        let counted = self
            .session
            .conversations
            .with_untracked(|rows| rows.get(&jid).is_some_and(|row| row.unread > 0));
        let unread = counted || self.session.history.with_untracked(History::has_unread);
        let told = self.last.with_value(|last| last.as_ref() == Some(&newest));
        if !unread || told || !in_view(scroller, &newest) {
            return;
        }
        self.last.set_value(Some(newest.clone()));
        self.session.command(Command::Displayed(jid, newest));
    }
}

fn in_view(scroller: &HtmlElement, key: &MessageKey) -> bool {
    element_of(scroller, key).is_some_and(|element| {
        let frame = scroller.get_bounding_client_rect();
        let message = element.get_bounding_client_rect();
        // A message taller than the screen is seen when its end is.
        message.bottom() <= frame.bottom() + 1.0 && message.bottom() > frame.top()
    })
}
