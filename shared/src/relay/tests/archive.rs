//! The archive (XEP-0313) as a device asks for it.

use super::world::{Device, World, jid};
use crate::limits::Limits;
use crate::relay::Input;
use crate::wire::{Element, ns};

/// What came of one query.
#[derive(Debug)]
struct Answer {
    ids: Vec<u64>,
    bodies: Vec<String>,
    reply: Element,
}

impl Answer {
    fn is_complete(&self) -> bool {
        self.fin().attr("complete") == Some("true")
    }

    fn fin(&self) -> &Element {
        self.reply.child(ns::MAM, "fin").unwrap()
    }

    fn set(&self, name: &str) -> Option<String> {
        self.fin().child(ns::RSM, "set")?.child(ns::RSM, name).map(Element::text)
    }

    fn error(&self) -> String {
        self.reply.child(ns::CLIENT, "error").unwrap().children().next().unwrap().name.clone()
    }
}

fn results(device: &Device, from: usize) -> (Vec<u64>, Vec<String>) {
    let results = device.stanzas[from..].iter().filter_map(|e| e.child(ns::MAM, "result"));
    let read = |result: &Element| {
        assert_eq!(result.attr("queryid"), Some("q"));
        let message = result.child(ns::FORWARD, "forwarded").unwrap().child(ns::CLIENT, "message").unwrap();
        let id = result.attr("id").unwrap();
        assert_eq!(message.child(ns::STANZA_ID, "stanza-id").unwrap().attr("id"), Some(id));
        (id.parse::<u64>().unwrap(), message.child(ns::CLIENT, "body").unwrap().text())
    };
    results.map(read).unzip()
}

fn say(world: &mut World, device: &mut Device, request: &str, kind: &str) -> Answer {
    let had = device.stanzas.len();
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    let (ids, bodies) = results(device, had);
    let reply = device.stanzas.last().unwrap().clone();
    assert_eq!((reply.name.as_str(), reply.attr("id")), ("iq", Some("i")), "the answer comes last");
    Answer { ids, bodies, reply }
}

fn ask(world: &mut World, device: &mut Device, fields: &[(&str, &str)], page: &str) -> Answer {
    let values = |text: &str| text.split(' ').map(|v| format!("<value>{v}</value>")).collect::<String>();
    let fields: String =
        fields.iter().map(|(var, text)| format!("<field var='{var}'>{}</field>", values(text))).collect();
    let request = format!(
        "<query xmlns='urn:xmpp:mam:2' queryid='q'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>{fields}</x>\
         <set xmlns='http://jabber.org/protocol/rsm'>{page}</set></query>"
    );
    say(world, device, &request, "set")
}

/// Alice and Bob have written 25 messages to each other, a second apart; Carol one to Bob.
fn talked(limits: Limits) -> (World, Device, Device) {
    let mut world = World::with(limits);
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    let mut carol = Device::online(&mut world, "c", "pad");
    for n in 1..=24 {
        world.now = world.now.plus(1_000);
        let (from, to) = if n % 3 == 0 { (&mut bob, "a@d") } else { (&mut alice, "b@d") };
        from.message(&mut world, to, &n.to_string());
    }
    carol.message(&mut world, "b@d", "25");
    for device in [&mut alice, &mut bob] {
        device.drain(&mut world);
    }
    (world, alice, bob)
}

#[test]
fn the_archive_is_read_in_pages_to_its_end() {
    let (mut world, _, mut bob) = talked(Limits::DEFAULT);
    let (mut after, mut bodies, mut sizes) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = ask(&mut world, &mut bob, &[], &format!("<max>10</max>{after}"));
        assert_eq!(page.set("first").unwrap(), page.ids[0].to_string());
        after = format!("<after>{}</after>", page.set("last").unwrap());
        sizes.push(page.ids.len());
        bodies.extend(page.bodies.clone());
        if page.is_complete() {
            break;
        }
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(bodies, (1..=25).map(|n| n.to_string()).collect::<Vec<_>>());
    let end = ask(&mut world, &mut bob, &[], &after);
    assert!(end.ids.is_empty() && end.is_complete() && end.set("first").is_none());
}

#[test]
fn it_is_read_backwards_too_and_a_page_stays_in_order_unless_it_is_flipped() {
    let (mut world, _, mut bob) = talked(Limits::DEFAULT);
    let last = ask(&mut world, &mut bob, &[], "<max>5</max><before/>");
    assert_eq!(last.ids, [21, 22, 23, 24, 25]);
    assert!(!last.is_complete());
    let before = ask(&mut world, &mut bob, &[], "<max>30</max><before>21</before>");
    assert_eq!(before.ids, (1..=20).collect::<Vec<_>>());
    assert!(before.is_complete());
    let flipped = "<query xmlns='urn:xmpp:mam:2' queryid='q'><flip-page/>\
        <set xmlns='http://jabber.org/protocol/rsm'><max>3</max><before/></set></query>";
    let flipped = say(&mut world, &mut bob, flipped, "set");
    assert_eq!(flipped.ids, [25, 24, 23]);
    assert_eq!(flipped.set("first").unwrap(), "23", "what is returned is the same");
}

#[test]
fn a_query_is_narrowed_by_person_by_device_by_time_and_by_id() {
    let (mut world, _, mut bob) = talked(Limits::DEFAULT);
    let start = world.now.minus(3_000).to_stamp();
    let end = world.now.minus(1_000).to_stamp();
    for (fields, expected) in [
        (vec![("with", "c@d")], vec![25]),
        (vec![("with", "c@d/pad")], vec![25]),
        (vec![("with", "c@d/phone")], vec![]),
        (vec![("with", "a@d/phone"), ("after-id", "20")], vec![22, 23]),
        (vec![("with", "a@d"), ("after-id", "20")], vec![21, 22, 23, 24]),
        (vec![("start", &start), ("end", &end)], vec![21, 22, 23]),
        (vec![("after-id", "4"), ("before-id", "7")], vec![5, 6]),
        (vec![("ids", "19 3 7")], vec![3, 7, 19]),
        (vec![("include-groupchat", "true"), ("after-id", "23")], vec![24, 25]),
    ] {
        let answer = ask(&mut world, &mut bob, &fields, "");
        assert_eq!(answer.ids, expected, "{fields:?}");
        assert!(answer.is_complete());
    }
    let counted = ask(&mut world, &mut bob, &[("with", "a@d")], "<max>0</max>");
    assert_eq!((counted.ids.len(), counted.set("count").unwrap().as_str()), (0, "24"));
    assert!(!counted.is_complete());
    for (fields, expected) in [(vec![], "25"), (vec![("after-id", "20")], "5"), (vec![("ids", "3 9")], "2")] {
        assert_eq!(ask(&mut world, &mut bob, &fields, "<max>0</max>").set("count").unwrap(), expected);
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_name() {
    let (mut world, _, mut bob) = talked(Limits::DEFAULT);
    for (fields, page, condition) in [
        (vec![], "<after>26</after>", "item-not-found"),
        (vec![], "<before>x</before>", "item-not-found"),
        (vec![], "<after>05</after>", "item-not-found"),
        (vec![("ids", "3 99")], "", "item-not-found"),
        (vec![("after-id", "0")], "", "item-not-found"),
        (vec![], "<max>-1</max>", "bad-request"),
        (vec![], "<index>3</index>", "feature-not-implemented"),
        (vec![("colour", "red")], "", "feature-not-implemented"),
        (vec![("start", "yesterday")], "", "bad-request"),
        (vec![("with", "a@@d")], "", "jid-malformed"),
    ] {
        let answer = ask(&mut world, &mut bob, &fields, page);
        assert_eq!(answer.error(), condition, "{fields:?} {page}");
        assert!(answer.ids.is_empty());
    }
    let elsewhere =
        "<iq xmlns='jabber:client' type='set' id='i' to='a@d'><query xmlns='urn:xmpp:mam:2'/></iq>";
    bob.send(&mut world, elsewhere);
    assert!(bob.last_stanza().contains("<forbidden"), "{}", bob.last_stanza());
}

#[test]
fn its_ends_and_its_form_can_be_asked_for() {
    let (mut world, _, mut bob) = talked(Limits::DEFAULT);
    let mut nobody = Device::online(&mut world, "e", "phone");
    let ends = "<metadata xmlns='urn:xmpp:mam:2'/>";
    let empty = say(&mut world, &mut nobody, ends, "get");
    assert_eq!(empty.reply.child(ns::MAM, "metadata").unwrap().children().count(), 0);
    let ends = say(&mut world, &mut bob, ends, "get").reply;
    let ends: Vec<_> = ends.child(ns::MAM, "metadata").unwrap().children().cloned().collect();
    assert_eq!(ends.iter().map(|e| e.attr("id").unwrap()).collect::<Vec<_>>(), ["1", "25"]);
    assert_eq!(ends[1].attr("timestamp").unwrap(), world.now.to_stamp());
    let form = say(&mut world, &mut bob, "<query xmlns='urn:xmpp:mam:2'/>", "get").reply.to_frame();
    assert!(form.contains("var='before-id'"), "{form}");
}

#[test]
fn every_device_reads_the_same_ids_in_the_same_order() {
    let (mut world, mut alice, _) = talked(Limits::DEFAULT);
    let mut laptop = Device::online(&mut world, "a", "laptop");
    let (one, other) = (ask(&mut world, &mut alice, &[], ""), ask(&mut world, &mut laptop, &[], ""));
    assert_eq!((&one.ids, &one.bodies), (&other.ids, &other.bodies));
    assert_eq!(one.ids.len(), 24);
}

#[test]
fn a_page_that_was_interrupted_goes_on_when_the_stream_is_resumed() {
    for crash in [false, true] {
        let (mut world, _, mut bob) = talked(Limits::DEFAULT);
        bob.acks = false;
        let page = ask(&mut world, &mut bob, &[], "<max>12</max>");
        assert_eq!(page.ids.len(), 12);
        let delivered = bob.bodies.len();
        // Of the twelve, and the answer, it had three.
        bob.handled = crate::sm::Handled(bob.handled.0 - 10);
        let had = bob.stanzas.len();
        if crash {
            world.crash(&jid("b"));
        } else {
            world.input(&jid("b"), Input::LinkDown(bob.link));
        }
        assert!(bob.resume(&mut world));
        let (ids, _) = results(&bob, had);
        assert_eq!(ids, (4..=12).collect::<Vec<_>>());
        assert!(bob.last_stanza().contains("<fin xmlns='urn:xmpp:mam:2'"), "{}", bob.last_stanza());
        assert_eq!(bob.bodies.len(), delivered, "what was delivered is not delivered again");
    }
}

#[test]
fn a_page_has_its_limits() {
    let few = Limits { page_stanzas: 4, page_stanzas_max: 6, ..Limits::DEFAULT };
    let (mut world, _, mut bob) = talked(few);
    assert_eq!(ask(&mut world, &mut bob, &[], "").ids.len(), 4);
    assert_eq!(ask(&mut world, &mut bob, &[], "<max>100</max>").ids.len(), 6);
    let small = Limits { page_bytes_max: 300, ..Limits::DEFAULT };
    let (mut world, _, mut bob) = talked(small);
    let page = ask(&mut world, &mut bob, &[], "");
    assert!((1..3).contains(&page.ids.len()) && !page.is_complete(), "{page:?}");
    let tiny = Limits { page_bytes_max: 1, ..Limits::DEFAULT };
    let (mut world, _, mut bob) = talked(tiny);
    assert_eq!(ask(&mut world, &mut bob, &[], "<before/>").ids, [25], "one message at least");
}

#[test]
fn pages_that_are_not_acked_are_bounded_by_their_bytes() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    let mut bob = Device::online(&mut world, "b", "phone");
    let body = "x".repeat(250_000);
    for n in 1..=4 {
        let frame = format!("<message xmlns='jabber:client' to='b@d' id='{n}'><body>{body}</body></message>");
        alice.send(&mut world, &frame);
        bob.drain(&mut world);
    }
    bob.acks = false;
    let query = "<iq xmlns='jabber:client' type='set' id='i'><query xmlns='urn:xmpp:mam:2'/></iq>";
    let mut asked = 0;
    while bob.connected(&world) {
        world.input(&jid("b"), Input::Frame(bob.link, query));
        world.sent.remove(&bob.link);
        asked += 1;
    }
    assert_eq!(asked, 6, "four pages of a megabyte, one more, and the end");
    bob.authenticate(&mut world);
    world.input(&jid("b"), Input::Frame(bob.link, &bob.resume_frame()));
    let again: usize = world.sent[&bob.link].iter().map(String::len).sum();
    let most = Limits::DEFAULT.unacked_page_bytes_max + Limits::DEFAULT.page_bytes_max as u64;
    assert!((again as u64) < most + 50_000, "{again} in one turn");
}

#[test]
fn what_was_acked_counts_no_more_after_a_sleep() {
    let (mut world, _, mut bob) = talked(Limits { unacked_stanzas_max: 60, ..Limits::DEFAULT });
    bob.acks = false;
    for _ in 0..2 {
        ask(&mut world, &mut bob, &[], "");
    }
    bob.say(&mut world, &format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", bob.handled));
    world.hibernate(&jid("b"));
    for _ in 0..2 {
        assert_eq!(ask(&mut world, &mut bob, &[], "").ids.len(), 25);
    }
    assert!(bob.connected(&world));
}

#[test]
fn a_note_to_oneself_is_in_it_once() {
    let mut world = World::new();
    let mut alice = Device::online(&mut world, "a", "phone");
    alice.message(&mut world, "a@d", "note");
    assert_eq!(ask(&mut world, &mut alice, &[], "").bodies, ["note"]);
    assert_eq!(ask(&mut world, &mut alice, &[("with", "a@d")], "").bodies, ["note"]);
    assert_eq!(ask(&mut world, &mut alice, &[], "<max>0</max>").set("count").unwrap(), "1");
    let ends = say(&mut world, &mut alice, "<metadata xmlns='urn:xmpp:mam:2'/>", "get").reply;
    let ends = ends.child(ns::MAM, "metadata").unwrap().children().map(|end| end.attr("id").unwrap());
    assert_eq!(ends.collect::<Vec<_>>(), ["2", "2"], "its ends are ids that it shows");
}

#[test]
fn who_names_no_id_gets_none() {
    let (mut world, _, mut bob) = talked(Limits::DEFAULT);
    let query = "<query xmlns='urn:xmpp:mam:2' queryid='q'><x xmlns='jabber:x:data' type='submit'>\
        <field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='ids'/></x></query>";
    let none = say(&mut world, &mut bob, query, "set");
    assert!(none.ids.is_empty() && none.is_complete());
    let huge = ask(&mut world, &mut bob, &[], "<max>5000000000</max>");
    assert_eq!(huge.ids.len(), 25, "more than there can be is all");
}
