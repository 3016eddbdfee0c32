//! Who listens in this tab: the views' callbacks, and what they are told when they come late.

use super::database::Database;
use super::history;
use crate::port::StoreFault;
use shared::client::{Event, LinkState};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use wasm_bindgen_futures::spawn_local;

type Listener = Rc<dyn Fn(&Event)>;
type FaultListener = Rc<dyn Fn(Option<StoreFault>)>;

pub(super) struct Audience {
    listeners: RefCell<Vec<Listener>>,
    fault_listeners: RefCell<Vec<FaultListener>>,
    fault: Cell<Option<StoreFault>>,
    link: Cell<LinkState>,
    queue: RefCell<Option<Event>>,
    meanwhile: RefCell<Vec<Weak<Told>>>,
}

/// The rows that were told while others were being read.
type Told = RefCell<BTreeSet<String>>;

impl Audience {
    pub fn new(link: LinkState) -> Self {
        Self {
            listeners: RefCell::default(),
            fault_listeners: RefCell::default(),
            fault: Cell::default(),
            link: Cell::new(link),
            queue: RefCell::default(),
            meanwhile: RefCell::default(),
        }
    }

    /// Adds a listener. It hears the newest queue lengths soon: they are told when they change,
    /// which was before.
    pub fn add(&self, listener: Box<dyn Fn(&Event)>) {
        let listener = Listener::from(listener);
        self.listeners.borrow_mut().push(listener.clone());
        if let Some(queue) = self.queue.borrow().clone() {
            spawn_local(async move { listener(&queue) });
        }
    }

    pub fn tell(&self, event: &Event) {
        match event {
            Event::Link(link) => self.link.set(*link),
            Event::Queue { .. } => drop(self.queue.replace(Some(event.clone()))),
            _ => {}
        }
        if let Some(row) = row_of(event) {
            let meanwhile = self.meanwhile.borrow();
            meanwhile.iter().filter_map(Weak::upgrade).for_each(|told| {
                told.borrow_mut().insert(row.clone());
            });
        }
        // A listener may add another.
        let listeners = self.listeners.borrow().clone();
        listeners.iter().for_each(|listener| listener(event));
    }

    /// Adds a listener to the state of the stores. It hears of a fault at once.
    pub fn add_fault_listener(&self, listener: Box<dyn Fn(Option<StoreFault>)>) {
        if let Some(fault) = self.fault.get() {
            listener(Some(fault));
        }
        self.fault_listeners.borrow_mut().push(listener.into());
    }

    /// Tells how the stores are. Whether that is news.
    pub fn tell_fault(&self, fault: Option<StoreFault>) -> bool {
        let news = self.fault.replace(fault) != fault;
        if news {
            let listeners = self.fault_listeners.borrow().clone();
            listeners.iter().for_each(|listener| listener(fault));
        }
        news
    }

    /// How the stores are.
    pub fn fault(&self) -> Option<StoreFault> {
        self.fault.get()
    }

    pub fn link(&self) -> LinkState {
        self.link.get()
    }

    /// What a new tab is told first.
    pub fn state(&self) -> Vec<Event> {
        [Event::Link(self.link.get())].into_iter().chain(self.queue.borrow().clone()).collect()
    }

    /// Tells what a leader may have written and not told before it died. What is told by
    /// somebody else while it is being read is newer, and not told again: no status goes back.
    pub async fn catch_up(&self, database: &Database) {
        let told = Rc::new(Told::default());
        self.meanwhile.borrow_mut().retain(|told| told.strong_count() > 0);
        self.meanwhile.borrow_mut().push(Rc::downgrade(&told));
        // Stores that can't be read now are a fault that the next commit or page reports.
        let Ok((messages, conversations)) = history::news(database).await else { return };
        let messages = messages.into_iter().map(Event::Message);
        for event in messages.chain(conversations.into_iter().map(Event::Conversation)) {
            if row_of(&event).is_some_and(|row| !told.borrow().contains(&row)) {
                self.tell(&event);
            }
        }
    }
}

fn row_of(event: &Event) -> Option<String> {
    match event {
        Event::Message(row) => Some(format!("m:{}", row.key.0)),
        Event::MessageGone(_, key) => Some(format!("m:{}", key.0)),
        Event::Conversation(row) => Some(format!("c:{}", row.jid)),
        _ => None,
    }
}
