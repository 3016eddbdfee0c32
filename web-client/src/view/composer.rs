//! Where a message is written. Its text is a draft in the store from the first pause on.

use super::icon::{Icon, Sign};
use super::session::Session;
use crate::i18n::{texts, tr};
use leptos::ev;
use leptos::html::Textarea;
use leptos::leptos_dom::helpers::TimeoutHandle;
use leptos::prelude::*;
use shared::client::{Command, LinkState};
use shared::jid::BareJid;
use std::time::Duration;

const DRAFT_AFTER_MS: u64 = 400;
/// "Is typing" is said again this often while it lasts, and taken back after a pause this long.
const TYPING_EVERY_MS: u64 = 5_000;
/// What a browser gives as key code while an input method has the keyboard (UI Events §7.3.1).
const KEY_CODE_COMPOSING: u32 = 229;

/// The composer of one conversation.
#[component]
pub fn Composer(jid: BareJid) -> impl IntoView {
    let session = Session::here();
    let texts = texts();
    let input = NodeRef::<Textarea>::new();
    let writing = Writing::new(session, jid);
    let text = Memo::new(move |_| writing.text());

    Effect::new(move |_| {
        text.track();
        input.track();
        // The box does not hold the text yet.
        request_animation_frame(move || {
            if let Some(input) = input.try_get_untracked().flatten() {
                fit(&input);
            }
        });
    });
    Effect::new(move |_| {
        let wide =
            window().inner_width().ok().and_then(|width| width.as_f64()).is_some_and(|width| width >= 768.0);
        if let Some(input) = input.get()
            && wide
        {
            let _ = input.focus();
        }
    });
    let hidden = window_event_listener(ev::visibilitychange, move |_| writing.store());
    let left = window_event_listener(ev::pagehide, move |_| writing.store());
    on_cleanup(move || {
        hidden.remove();
        left.remove();
        writing.store();
        writing.stopped();
    });

    let send = move || {
        writing.send();
        if let Some(input) = input.get_untracked() {
            let _ = input.focus();
        }
    };
    let key = move |event: web_sys::KeyboardEvent| {
        let composing = event.is_composing() || event.key_code() == KEY_CODE_COMPOSING;
        if event.key() == "Enter" && !event.shift_key() && !composing {
            event.prevent_default();
            send();
        }
    };
    let hint = move || match session.link.get() {
        LinkState::Online { .. } => texts.get().write_message,
        _ => texts.get().write_message_offline,
    };
    let empty = move || text.with(|text| text.trim().is_empty());
    view! {
        <form
            class="composer"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <p class="error" role="alert" data-testid="composer-error">
                {move || writing.was_put_back().then(|| texts.get().not_stored)}
            </p>
            <textarea
                data-testid="composer-input"
                node_ref=input
                rows="1"
                dir="auto"
                enterkeyhint="send"
                aria-label=tr(|t| t.write_message)
                placeholder=hint
                prop:value=text
                on:input=move |event| writing.typed(event_target_value(&event))
                on:keydown=key
                on:blur=move |_| writing.store()
            ></textarea>
            <button class="button round primary" data-testid="send-button" disabled=empty title=tr(|t| t.send)>
                <Sign icon=Icon::Send />
                <span class="sr-only">{tr(|t| t.send)}</span>
            </button>
        </form>
    }
}

/// Makes the box as high as its text. Where the browser does it, `style/timeline.css` overrules.
fn fit(input: &web_sys::HtmlElement) {
    let style = input.style();
    let _ = style.set_property("height", "auto");
    let _ = style.set_property("height", &format!("{}px", input.scroll_height() + 2));
}

/// What is being written to one account.
#[derive(Clone, Copy)]
struct Writing {
    session: Session,
    jid: StoredValue<BareJid>,
    /// The draft as the store was last told.
    stored: StoredValue<Option<String>>,
    draft_timer: StoredValue<Option<TimeoutHandle>>,
    typing_timer: StoredValue<Option<TimeoutHandle>>,
    typing_said_at: StoredValue<f64>,
}

impl Writing {
    fn new(session: Session, jid: BareJid) -> Self {
        Self {
            session,
            jid: StoredValue::new(jid),
            stored: StoredValue::new(None),
            draft_timer: StoredValue::new(None),
            typing_timer: StoredValue::new(None),
            typing_said_at: StoredValue::new(0.0),
        }
    }

    /// The text, tracked: as typed in this tab, else as stored.
    fn text(self) -> String {
        let jid = self.jid.get_value();
        let here = self.session.drafts.with(|all| all.get(&jid).cloned());
        here.or_else(|| self.session.conversation(&jid).map(|row| row.draft)).unwrap_or_default()
    }

    fn set(self, text: String) {
        self.session.drafts.update(|all| {
            all.insert(self.jid.get_value(), text);
        });
    }

    fn was_put_back(self) -> bool {
        self.session.put_back.with(|all| all.contains_key(&self.jid.get_value()))
    }

    fn typed(self, text: String) {
        if text.is_empty() {
            self.stopped()
        } else {
            self.going_on()
        }
        self.set(text);
        let store = set_timeout_with_handle(move || self.store(), Duration::from_millis(DRAFT_AFTER_MS));
        restart(self.draft_timer, store.ok());
    }

    /// Tells the store what stands here, unless it knows.
    fn store(self) {
        restart(self.draft_timer, None);
        let Some(jid) = self.jid.try_get_value() else { return };
        let Some(text) = self.session.drafts.with_untracked(|all| all.get(&jid).cloned()) else { return };
        if self.stored.with_value(|stored| stored.as_ref() != Some(&text)) {
            self.stored.set_value(Some(text.clone()));
            self.session.command(Command::Draft(jid, text));
        }
    }

    fn send(self) {
        let body = untrack(|| self.text()).trim().to_owned();
        if body.is_empty() {
            return;
        }
        self.session.send(&self.jid.get_value(), body);
        self.set(String::new());
        self.store();
        self.stopped();
        self.session.newest();
    }

    /// XEP-0085 §5.1 `composing`
    fn going_on(self) {
        let now = js_sys::Date::now();
        if now - self.typing_said_at.get_value() > TYPING_EVERY_MS as f64 {
            self.typing_said_at.set_value(now);
            self.session.command(Command::Typing(self.jid.get_value(), true));
        }
        let stop = set_timeout_with_handle(move || self.stopped(), Duration::from_millis(TYPING_EVERY_MS));
        restart(self.typing_timer, stop.ok());
    }

    fn stopped(self) {
        restart(self.typing_timer, None);
        if self.typing_said_at.try_get_value().is_some_and(|said_at| said_at > 0.0) {
            self.typing_said_at.set_value(0.0);
            self.session.command(Command::Typing(self.jid.get_value(), false));
        }
    }
}

fn restart(timer: StoredValue<Option<TimeoutHandle>>, next: Option<TimeoutHandle>) {
    if let Some(Some(old)) = timer.try_get_value() {
        old.clear();
    }
    let _ = timer.try_set_value(next);
}
