//! One mailbox whose calls are answered by hand: other mailboxes that are away, and a disk that
//! reports what is long known.

use super::world::jid;
use crate::gate::BatchNo;
use crate::id::{DeviceId, LinkId, StanzaSeq};
use crate::limits::{Limits, TRANSFER_RETRY_MS_MIN};
use crate::memory::MailboxStore;
use crate::relay::rows::{DeviceRow, Op};
use crate::relay::{Called, Config, Counters, Input, LinkState, Output, Phase, Registration};
use crate::relay::{RelayEngine, TransferReply, TransferRequest};
use crate::sm::Handled;
use crate::time::Millis;

const LINK: LinkId = LinkId(1);
const TYPING: &str = "<message xmlns='jabber:client' to='b@d'>\
    <composing xmlns='http://jabber.org/protocol/chatstates'/></message>";

/// A device without acks, as its row and its connection remember it.
pub fn phone() -> DeviceRow {
    DeviceRow {
        device: DeviceId::from("phone"),
        cursor: StanzaSeq(0),
        stream: None,
        last_seen: Millis(0),
        name: None,
        named: true,
        taken: Default::default(),
        agent: None,
        caps: None,
        there: None,
    }
}

/// See [`phone`].
pub fn bound() -> LinkState {
    let counters = Counters {
        handled: Handled::ZERO,
        told: Handled::ZERO,
        sent: Handled::ZERO,
        next: StanzaSeq(1),
        unrequested: 0,
        requested: None,
        managed: false,
        stream: 1,
        carbons: false,
        available: false,
        priority: 0,
        acked: None,
        held: false,
        watches_blocklist: false,
        interested: false,
        flexible: Default::default(),
    };
    LinkState {
        phase: Phase::Bound("phone".into()),
        opened: Millis(0),
        failures: 0,
        foreign: false,
        agent: None,
        counters: Some(counters),
        transferred: StanzaSeq(0),
        csi: Default::default(),
        parked: false,
    }
}

/// The mailbox, with a device that was there before it woke up.
pub struct Alone {
    engine: RelayEngine,
    pub store: MailboxStore,
    now: Millis,
    held: Vec<(BatchNo, Vec<Op>)>,
    calls: Vec<TransferRequest>,
    wake: Option<Millis>,
}

impl Alone {
    fn new() -> Self {
        let mut store = MailboxStore::default();
        store.devices.insert("phone".into(), phone());
        Self::load(store, vec![(LINK, bound())])
    }

    pub fn load(store: MailboxStore, links: Vec<(LinkId, LinkState)>) -> Self {
        let config = Config {
            cold: false,
            account: jid("a"),
            registration: Registration::Closed,
            seed: [0; 32],
            limits: Limits::DEFAULT,
        };
        let now = Millis(1_000_000);
        let engine = RelayEngine::load(now, store.rows(), links, config);
        Self { engine, store, now, held: Vec::new(), calls: Vec::new(), wake: None }
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input, &self.store);
        loop {
            match self.engine.poll() {
                Output::Commit(no, ops) => self.held.push((no, ops)),
                Output::Transfer(request) => self.calls.push(request),
                Output::WakeAt(at) => {
                    self.wake = at;
                    return;
                }
                _ => {}
            }
        }
    }

    fn message(&mut self, id: &str) {
        let text = format!("<message xmlns='jabber:client' to='b@d' id='{id}'><body>{id}</body></message>");
        self.input(Input::Frame(LINK, &text));
    }

    fn commit(&mut self) -> BatchNo {
        let (no, ops) = self.held.remove(0);
        ops.iter().for_each(|op| self.store.apply(op));
        self.input(Input::Committed(no));
        no
    }

    /// The disk is done with everything.
    pub fn settle(&mut self) {
        while !self.held.is_empty() {
            self.commit();
        }
    }

    fn called(&mut self) -> Vec<u64> {
        self.calls.remove(0).items.iter().map(|item| item.seq.0).collect()
    }
}

#[test]
fn a_state_that_cannot_be_handed_over_leaves_nothing_to_wake_up_for() {
    let mut alone = Alone::new();
    alone.input(Input::Frame(LINK, TYPING));
    assert_eq!(alone.called(), [0]);
    alone.input(Input::Transferred(jid("b"), Called::default(), None));
    assert_eq!(alone.wake, None, "it is lost with the call");
    alone.now = alone.now.plus(TRANSFER_RETRY_MS_MIN);
    alone.input(Input::Wake);
    assert_eq!(alone.wake, None, "a wake-up that does nothing must not ask for the next");
}

#[test]
fn a_commit_reported_twice_is_old_news_for_the_log_too() {
    let mut alone = Alone::new();
    alone.message("1");
    let first = alone.commit();
    assert_eq!(alone.called(), [1]);
    alone.message("2");
    alone.input(Input::Committed(first));
    alone.input(Input::Transferred(
        jid("b"),
        Called { upto: StanzaSeq(1), news: 0 },
        Some(TransferReply::Accepted),
    ));
    assert_eq!(alone.calls, []);
    alone.commit();
    assert_eq!(alone.called(), [2], "what is on its way to the disk is still there to be handed over");
}
