//! How the tabs of one account know of each other: a Web Lock says who leads, a
//! BroadcastChannel carries words. A word that is lost costs time and nothing else: truth is in
//! the stores.

use super::browser;
use super::commit::{Epoch, to_row};
use super::handover::{Number, TabName};
use crate::port::StoreFault;
use futures::channel::oneshot;
use futures::future::{Either, pending, select};
use js_sys::{Function, Object, Promise, Reflect};
use serde::{Deserialize, Serialize};
use shared::client::{Command, Event};
use std::cell::{Cell, RefCell};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{BroadcastChannel, MessageEvent};

/// What tabs say to each other.
#[derive(Serialize, Deserialize)]
pub(super) enum Word {
    /// A new tab asks the leader how things stand.
    Hello,
    /// The front of a tab's queue, for the leader.
    HandOver(TabName, Vec<(Number, Command)>),
    /// A command that is worth nothing later, for the leader.
    Passing(Command),
    /// The leader has begun, with an engine that has taken nothing yet.
    Leading(Epoch),
    /// The leader: this tab's commands up to here are on disk.
    Taken(TabName, Number),
    /// The leader: tell your views.
    Event(Event),
    /// The leader: the stores fail, or work again.
    Fault(Option<StoreFault>),
}

/// The line between the tabs of one account. Words arrive in every tab but the speaker's.
pub(super) struct Channel {
    channel: BroadcastChannel,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl Channel {
    /// Joins. `None` where the browser has no such channel: this tab is alone then.
    pub fn join(name: &str, hear: impl Fn(Word) + 'static) -> Option<Self> {
        let channel = BroadcastChannel::new(name).ok()?;
        let on_message = Closure::<dyn FnMut(_)>::new(move |event: MessageEvent| {
            // A tab with another version of the app may say what this one does not know.
            if let Ok(word) = serde_wasm_bindgen::from_value(event.data()) {
                hear(word);
            }
        });
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Some(Self { channel, _on_message: on_message })
    }

    pub fn say(&self, word: &Word) {
        if let Ok(word) = to_row(word) {
            self.channel.post_message(&word).ok();
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
    }
}

/// A leader that leaves so many hand-overs in a row without a word while a person waits is
/// frozen: its lead is taken. Counted, not timed: after a sleep of the machine both wake.
const SILENCES_MAX: u32 = 5;

/// How often this tab has waited for a word of the leader in vain.
#[derive(Default)]
pub(super) struct Patience {
    silences: Cell<u32>,
    tell: RefCell<Option<oneshot::Sender<()>>>,
}

impl Patience {
    /// The time for an answer has passed.
    pub fn unanswered(&self) {
        self.silences.set(self.silences.get().saturating_add(1));
        // Of several waiting tabs the one that a person looks at leads.
        if self.silences.get() >= SILENCES_MAX
            && browser::visible()
            && let Some(tell) = self.tell.take()
        {
            tell.send(()).ok();
        }
    }

    /// The leader has said something.
    pub fn answered(&self) {
        self.silences.set(0);
    }

    /// Resolves when it is lost.
    pub fn lost(&self) -> impl Future<Output = ()> + Unpin + use<> {
        self.answered();
        let (tell, told) = oneshot::channel();
        self.tell.replace(Some(tell));
        Box::pin(async move {
            if told.await.is_err() {
                pending().await
            }
        })
    }
}

/// A held Web Lock. Dropping it, or the tab's death, hands it to the next in line.
pub(super) struct Lock {
    release: Option<Function>,
    end: Option<Promise>,
}

impl Lock {
    /// Waits in line for the lock. `impatient` makes this tab take it away from whoever has it.
    pub async fn acquire(name: &str, impatient: impl Future<Output = ()> + Unpin) -> Self {
        let Some(locks) = lock_manager() else { return Self { release: None, end: None } };
        let queued = Self::request(&locks, name, None);
        match select(Box::pin(queued), impatient).await {
            Either::Left((Some(lock), _)) => lock,
            Either::Left((None, _)) => pending().await,
            // The place in line is given up with `queued`.
            Either::Right(_) => match Self::request(&locks, name, Some("steal")).await {
                Some(lock) => lock,
                None => pending().await,
            },
        }
    }

    /// The lock, if no tab holds it and the browser can tell.
    pub async fn if_free(name: &str) -> Option<Self> {
        Self::request(&lock_manager()?, name, Some("ifAvailable")).await
    }

    /// Waits until the lock is taken away.
    pub fn lost(&mut self) -> impl Future<Output = ()> + use<> {
        let end = self.end.take();
        async move {
            match end {
                Some(end) => drop(JsFuture::from(end).await),
                None => pending().await,
            }
        }
    }

    /// Whether this browser has locks (not in insecure contexts). Without them every tab leads
    /// in turn and the newest one's epoch shuts the others out.
    pub fn is_real(&self) -> bool {
        self.release.is_some()
    }

    async fn request(locks: &JsValue, name: &str, option: Option<&str>) -> Option<Self> {
        let (grant, granted) = oneshot::channel::<Function>();
        let mut grant = Some(grant);
        let hold = Closure::once_into_js(move |lock: JsValue| -> JsValue {
            // Not free: `grant` goes, and with it the hope for it.
            if lock.is_null() {
                return JsValue::UNDEFINED;
            }
            Promise::new(&mut |release, _| {
                let unwanted = match grant.take() {
                    Some(grant) => grant.send(release).err(),
                    None => Some(release),
                };
                if let Some(release) = unwanted {
                    release.call0(&JsValue::UNDEFINED).ok();
                }
            })
            .into()
        });
        let options = Object::new();
        if let Some(option) = option {
            Reflect::set(&options, &option.into(), &true.into()).ok()?;
        }
        let request: Function = Reflect::get(locks, &"request".into()).ok()?.dyn_into().ok()?;
        let end: Promise = request.call3(locks, &name.into(), &options, &hold).ok()?.dyn_into().ok()?;
        // A refused request settles its promise and never calls back.
        match select(granted, JsFuture::from(end.clone())).await {
            Either::Left((release, _)) => Some(Self { release: Some(release.ok()?), end: Some(end) }),
            Either::Right(_) => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release.call0(&JsValue::UNDEFINED).ok();
        }
    }
}

/// web-sys has it only under an unstable flag for the whole build.
fn lock_manager() -> Option<JsValue> {
    let navigator = web_sys::window()?.navigator();
    Reflect::get(&navigator, &"locks".into()).ok().filter(|locks| locks.is_object())
}
