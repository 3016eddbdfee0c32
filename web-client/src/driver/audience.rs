//! Who listens in this tab: the views' callbacks, and what they are told when they come late.

use crate::port::StoreFault;
use shared::client::{Event, LinkState};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen_futures::spawn_local;

type Listener = Rc<dyn Fn(&Event)>;
type FaultListener = Rc<dyn Fn(Option<StoreFault>)>;

thread_local! {
    static FAULT: Cell<Option<StoreFault>> = const { Cell::new(None) };
    static FAULT_LISTENERS: RefCell<Vec<FaultListener>> = const { RefCell::new(Vec::new()) };
}

/// Calls back when the stores fail while they are in use, and with `None` when they work again.
/// What fails meanwhile is kept in memory and tried again, except after
/// [`StoreFault::NewerVersion`], which only a reload ends.
pub fn on_fault(listener: impl Fn(Option<StoreFault>) + 'static) {
    if let Some(fault) = FAULT.get() {
        listener(Some(fault));
    }
    FAULT_LISTENERS.with_borrow_mut(|listeners| listeners.push(Rc::new(listener)));
}

/// Tells the listeners of [`on_fault`], if it is news.
pub(super) fn show_fault(fault: Option<StoreFault>) {
    if FAULT.replace(fault) != fault {
        let listeners = FAULT_LISTENERS.with_borrow(Clone::clone);
        listeners.iter().for_each(|listener| listener(fault));
    }
}

pub(super) struct Audience {
    listeners: RefCell<Vec<Listener>>,
    link: Cell<LinkState>,
    queue: RefCell<Option<Event>>,
}

impl Audience {
    pub fn new(link: LinkState) -> Self {
        Self { listeners: RefCell::default(), link: Cell::new(link), queue: RefCell::default() }
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
        // A listener may add another.
        let listeners = self.listeners.borrow().clone();
        listeners.iter().for_each(|listener| listener(event));
    }

    pub fn link(&self) -> LinkState {
        self.link.get()
    }

    /// What a new tab is told first.
    pub fn state(&self) -> Vec<Event> {
        [Event::Link(self.link.get())].into_iter().chain(self.queue.borrow().clone()).collect()
    }
}
