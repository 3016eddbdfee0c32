//! Rows and connections that no engine of ours has left behind. A mailbox that cannot be loaded is
//! lost for good.

use super::transfer::{Alone, bound, phone};
use crate::id::{LinkId, StanzaSeq};
use crate::memory::MailboxStore;
use crate::relay::{CallId, Counters, Input, LinkState, Phase, TransferItem, TransferRequest};
use crate::sasl::{Mechanism, ServerKeys};
use crate::time::Millis;

#[test]
fn numbers_at_their_end_do_not_end_the_mailbox() {
    let keys = ServerKeys::derive(Mechanism::ScramSha1, "x", b"salt", 1);
    let account = crate::relay::rows::AccountRow {
        sha1: keys.clone(),
        sha256: keys,
        created: Millis(0),
        blocked: Vec::new(),
        archiving: Default::default(),
        removed: false,
        begins: StanzaSeq(0),
    };
    let mut store = MailboxStore { account: Some(account), ..MailboxStore::default() };
    store.devices.insert("phone".into(), phone());
    store.marks.streams = u64::MAX;
    let reads = bound();
    let counters =
        reads.counters.map(|counters| Counters { unrequested: u32::MAX, available: true, ..counters });
    let on =
        |phase| LinkState { phase, counters: None, failures: u32::MAX, opened: Millis(999_999), ..bound() };
    let links = vec![
        (LinkId(1), LinkState { counters, ..reads }),
        (LinkId(2), on(Phase::Open)),
        (LinkId(3), on(Phase::Unbound)),
    ];
    let mut alone = Alone::load(store, links);
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>=</auth>";
    alone.input(Input::Frame(LinkId(2), auth));
    let bind =
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    alone.input(Input::Frame(LinkId(3), bind));
    let stanza = "<message xmlns='jabber:client' to='a@d'><body>x</body></message>".to_owned();
    let items = vec![TransferItem { seq: StanzaSeq(1), stanza, news: 0 }];
    let request = TransferRequest { from: super::world::jid("b"), to: super::world::jid("a"), items };
    alone.input(Input::Transfer(CallId(1), &request));
    alone.input(Input::Frame(LinkId(1), "<presence xmlns='jabber:client'/>"));
    alone.settle();
    assert_eq!(alone.store.log.len(), 1, "and it takes messages");
}
