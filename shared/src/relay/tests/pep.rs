//! What an account publishes (XEP-0163): kept, read, bounded, and told after it is on disk.

use super::pep_caps::interested;
use super::world::{Device, World, jid};
use crate::jid::Jid;
use crate::limits::{PEP_BYTES_MAX, PEP_ITEM_BYTES_MAX, PEP_NODE_ITEMS_MAX, PEP_NODES_MAX};
use crate::wire::{Element, ns, read_frame};

/// Asks, and returns the answer.
pub fn ask(world: &mut World, device: &mut Device, kind: &str, request: &str) -> Element {
    device.send(world, &format!("<iq xmlns='jabber:client' type='{kind}' id='i'>{request}</iq>"));
    device.stanzas.iter().rev().find(|e| e.attr("id") == Some("i")).unwrap().clone()
}

fn pubsub(world: &mut World, device: &mut Device, kind: &str, inside: &str) -> Element {
    ask(world, device, kind, &format!("<pubsub xmlns='{}'>{inside}</pubsub>", ns::PUBSUB))
}

fn owner(world: &mut World, device: &mut Device, kind: &str, inside: &str) -> Element {
    ask(world, device, kind, &format!("<pubsub xmlns='{}'>{inside}</pubsub>", ns::PUBSUB_OWNER))
}

pub fn item(id: &str, text: &str) -> String {
    format!("<item id='{id}'><p xmlns='t'>{text}</p></item>")
}

pub fn form(form_type: &str, fields: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| format!("<field var='{name}'><value>{value}</value></field>");
    let fields: String = [("FORM_TYPE", form_type)].iter().chain(fields).map(field).collect();
    format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>")
}

pub fn publish(
    world: &mut World,
    device: &mut Device,
    node: &str,
    items: &str,
    options: &[(&str, &str)],
) -> Element {
    let options = match options {
        [] => String::new(),
        _ => format!("<publish-options>{}</publish-options>", form(ns::PUBSUB_OPTIONS, options)),
    };
    pubsub(world, device, "set", &format!("<publish node='{node}'>{items}</publish>{options}"))
}

/// The names and texts of the items in an answer or event.
pub fn texts(of: &Element) -> Vec<(String, String)> {
    let items = of.children().find(|child| child.name == "items").unwrap();
    let text = |item: &Element| item.children().next().map(Element::text).unwrap_or_default();
    items.children().map(|item| (item.attr("id").unwrap().to_owned(), text(item))).collect()
}

pub fn items(world: &mut World, device: &mut Device, node: &str) -> Vec<(String, String)> {
    let answer = pubsub(world, device, "get", &format!("<items node='{node}'/>"));
    texts(answer.child(ns::PUBSUB, "pubsub").unwrap_or_else(|| panic!("{}", answer.to_frame())))
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect()
}

fn assert_error(answer: &Element, conditions: &[&str]) {
    let error = answer.child(ns::CLIENT, "error").unwrap_or_else(|| panic!("{}", answer.to_frame()));
    let named: Vec<&str> = error.children().map(|child| child.name.as_str()).collect();
    assert_eq!(named, conditions, "{}", answer.to_frame());
}

fn alone() -> (World, Device) {
    let mut world = World::new();
    let device = Device::online(&mut world, "a", "phone");
    (world, device)
}

const KEEP_ALL: [(&str, &str); 2] = [("pubsub#max_items", "max"), ("pubsub#access_model", "open")];

#[test]
fn what_is_published_is_there_after_a_crash_in_its_order() {
    let (mut world, mut phone) = alone();
    for (id, text) in [("one", "1"), ("two", "2"), ("three", "3"), ("one", "4")] {
        let answer = publish(&mut world, &mut phone, "n", &item(id, text), &KEEP_ALL);
        let published = answer.child(ns::PUBSUB, "pubsub").unwrap().child(ns::PUBSUB, "publish").unwrap();
        assert_eq!(published.child(ns::PUBSUB, "item").unwrap().attr("id"), Some(id));
    }
    let there = pairs(&[("two", "2"), ("three", "3"), ("one", "4")]);
    assert_eq!(items(&mut world, &mut phone, "n"), there);
    world.crash(&jid("a"));
    assert!(phone.resume(&mut world));
    assert_eq!(items(&mut world, &mut phone, "n"), there);
    publish(&mut world, &mut phone, "n", &item("two", "5"), &[]);
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("three", "3"), ("one", "4"), ("two", "5")]));
}

#[test]
fn a_node_that_nobody_configured_keeps_its_newest_item() {
    let (mut world, mut phone) = alone();
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    publish(&mut world, &mut phone, "n", &item("two", "2"), &[]);
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("two", "2")]));
    assert_eq!(world.disk(&jid("a")).rows.items.len(), 1);
}

#[test]
fn an_item_without_a_name_is_given_one_and_stands_beside_others() {
    let (mut world, mut phone) = alone();
    for text in ["1", "2"] {
        publish(&mut world, &mut phone, "n", &format!("<item><p xmlns='t'>{text}</p></item>"), &KEEP_ALL);
    }
    let there = items(&mut world, &mut phone, "n");
    assert_eq!(there.len(), 2);
    assert!(there[0].0 != there[1].0 && !there[0].0.is_empty());
}

#[test]
fn options_make_a_node_and_are_conditions_for_one_that_is_there() {
    let (mut world, mut phone) = alone();
    publish(&mut world, &mut phone, "n", &item("one", "1"), &KEEP_ALL);
    assert_eq!(
        publish(&mut world, &mut phone, "n", &item("two", "2"), &KEEP_ALL).attr("type"),
        Some("result")
    );
    for options in [
        [("pubsub#access_model", "whitelist")],
        [("pubsub#max_items", "10")],
        [("pubsub#no-such-option", "1")],
        [("pubsub#deliver_payloads", "0")],
    ] {
        for node in ["n", "new"] {
            if node == "new" && !matches!(options[0].0, "pubsub#no-such-option" | "pubsub#deliver_payloads") {
                continue;
            }
            let answer = publish(&mut world, &mut phone, node, &item("three", "3"), &options);
            assert_error(&answer, &["conflict", "precondition-not-met"]);
        }
    }
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("one", "1"), ("two", "2")]));
    assert_eq!(world.disk(&jid("a")).rows.nodes.len(), 1, "nothing was made for what was refused");
}

#[test]
fn what_is_private_by_its_specification_is_private_if_the_client_forgets_to_say_so() {
    let (mut world, mut phone) = alone();
    for node in [ns::DISPLAYED, ns::BOOKMARKS, ns::BOOKMARKS_OLD] {
        publish(&mut world, &mut phone, node, &item("one", "1"), &[]);
        publish(&mut world, &mut phone, node, &item("two", "2"), &[]);
        assert_eq!(items(&mut world, &mut phone, node).len(), 2);
        assert_error(
            &asked(&mut world, "get", ns::PUBSUB, "pubsub", &format!("<items node='{node}'/>")),
            &["not-allowed", "closed-node"],
        );
    }
}

#[test]
fn a_node_is_created_configured_emptied_and_deleted() {
    let (mut world, mut phone) = alone();
    let config = form(ns::PUBSUB_CONFIG, &[("pubsub#max_items", "2"), ("pubsub#unheard_of", "x")]);
    let create = format!("<create node='n'/><configure>{config}</configure>");
    assert_eq!(pubsub(&mut world, &mut phone, "set", &create).attr("type"), Some("result"));
    assert_error(&pubsub(&mut world, &mut phone, "set", &create), &["conflict"]);
    for (id, text) in [("one", "1"), ("two", "2"), ("three", "3")] {
        publish(&mut world, &mut phone, "n", &item(id, text), &[]);
    }
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("two", "2"), ("three", "3")]));
    let configure = |fields: &[(&str, &str)]| {
        format!("<configure node='n'>{}</configure>", form(ns::PUBSUB_CONFIG, fields))
    };
    for bad in
        [("pubsub#max_items", "0"), ("pubsub#max_items", "1000000"), ("pubsub#access_model", "authorize")]
    {
        assert_error(&owner(&mut world, &mut phone, "set", &configure(&[bad])), &["not-acceptable"]);
    }
    owner(&mut world, &mut phone, "set", &configure(&[("pubsub#max_items", "1")]));
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("three", "3")]), "a smaller node lets go");
    let shown = owner(&mut world, &mut phone, "get", "<configure node='n'/>").to_frame();
    assert!(
        shown.contains("<field type='text-single' var='pubsub#max_items'><value>1</value></field>"),
        "{shown}"
    );
    owner(&mut world, &mut phone, "set", "<purge node='n'/>");
    assert!(items(&mut world, &mut phone, "n").is_empty());
    world.crash(&jid("a"));
    assert!(phone.resume(&mut world));
    assert!(items(&mut world, &mut phone, "n").is_empty());
    let shown = owner(&mut world, &mut phone, "get", "<configure node='n'/>").to_frame();
    assert!(shown.contains("var='pubsub#max_items'><value>1</value>"), "it is as it was configured: {shown}");
    owner(&mut world, &mut phone, "set", "<delete node='n'/>");
    for request in ["<delete node='n'/>", "<purge node='n'/>"] {
        assert_error(&owner(&mut world, &mut phone, "set", request), &["item-not-found"]);
    }
    assert!(world.disk(&jid("a")).rows.nodes.is_empty());
}

#[test]
fn what_is_taken_back_is_gone_all_of_it_or_nothing() {
    let (mut world, mut phone) = alone();
    publish(&mut world, &mut phone, "n", &[item("one", "1"), item("two", "2")].concat(), &KEEP_ALL);
    let retract = |ids: &[&str]| {
        let items: String = ids.iter().map(|id| format!("<item id='{id}'/>")).collect();
        format!("<retract node='n'>{items}</retract>")
    };
    let refused = pubsub(&mut world, &mut phone, "set", &retract(&["one", "gone"]));
    assert_error(&refused, &["item-not-found"]);
    assert_error(&pubsub(&mut world, &mut phone, "set", &retract(&[])), &["bad-request", "item-required"]);
    assert_eq!(items(&mut world, &mut phone, "n").len(), 2);
    pubsub(&mut world, &mut phone, "set", &retract(&["one"]));
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("two", "2")]));
    world.crash(&jid("a"));
    assert!(phone.resume(&mut world));
    assert_eq!(items(&mut world, &mut phone, "n"), pairs(&[("two", "2")]));
}

#[test]
fn every_request_that_cannot_be_served_is_refused_by_its_name() {
    let (mut world, mut phone) = alone();
    let long = "n".repeat(4_000);
    for (kind, request, conditions) in [
        ("set", "<publish/>".to_owned(), &["bad-request", "nodeid-required"][..]),
        ("set", format!("<publish node='{long}'>{}</publish>", item("a", "")), &["not-acceptable"]),
        ("set", format!("<publish node='n'>{}</publish>", item(&long, "")), &["not-acceptable"]),
        ("set", "<publish node='n'/>".to_owned(), &["bad-request", "item-required"]),
        (
            "set",
            "<publish node='n'><item id='a'/></publish>".to_owned(),
            &["bad-request", "payload-required"],
        ),
        (
            "set",
            "<publish node='n'><item id='a'><p xmlns='t'/><p xmlns='t'/></item></publish>".to_owned(),
            &["bad-request", "invalid-payload"],
        ),
        (
            "set",
            format!("<publish node='n'>{}{}</publish>", item("a", ""), item("b", "")),
            &["not-allowed", "max-items-exceeded"],
        ),
        ("set", format!("<publish node='vcard-temp'>{}</publish>", item("a", "")), &["not-allowed"]),
        ("get", "<items node='n'/>".to_owned(), &["item-not-found"]),
        ("get", "<items/>".to_owned(), &["bad-request", "nodeid-required"]),
        ("get", "<options node='n' jid='a@d'/>".to_owned(), &["feature-not-implemented", "unsupported"]),
        ("set", "<subscribe node='n' jid='a@d'/>".to_owned(), &["item-not-found"]),
        ("set", "<unsubscribe node='n' jid='a@d'/>".to_owned(), &["unexpected-request", "not-subscribed"]),
        ("set", "<publish-it-all/>".to_owned(), &["feature-not-implemented"]),
        ("get", String::new(), &["bad-request"]),
    ] {
        let answer = pubsub(&mut world, &mut phone, kind, &request);
        assert_error(&answer, conditions);
    }
    assert!(world.disk(&jid("a")).rows.nodes.is_empty() && world.disk(&jid("a")).rows.items.is_empty());
    publish(&mut world, &mut phone, "n", &item("a", ""), &[]);
    let subscribed =
        pubsub(&mut world, &mut phone, "set", "<subscribe node='n' jid='a@d/phone'/>").to_frame();
    assert!(subscribed.contains("subscription='subscribed'"), "{subscribed}");
    let other = pubsub(&mut world, &mut phone, "set", "<subscribe node='n' jid='b@d'/>");
    assert_error(&other, &["bad-request", "invalid-jid"]);
}

#[test]
fn what_is_too_much_is_refused_and_what_was_there_stays() {
    let (mut world, mut phone) = alone();
    let large = "x".repeat(PEP_ITEM_BYTES_MAX);
    let answer = publish(&mut world, &mut phone, "n", &item("a", &large), &[]);
    assert_error(&answer, &["not-acceptable", "payload-too-big"]);
    let fits = &large[..PEP_ITEM_BYTES_MAX - 100];
    let many = PEP_BYTES_MAX as usize / fits.len();
    for number in 0..many {
        let answer = publish(&mut world, &mut phone, "n", &item(&number.to_string(), fits), &KEEP_ALL);
        assert_eq!(answer.attr("type"), Some("result"), "{number}");
    }
    let answer = publish(&mut world, &mut phone, "n", &item("too much", fits), &KEEP_ALL);
    assert_error(&answer, &["resource-constraint"]);
    publish(&mut world, &mut phone, "n", &item("0", fits), &[]);
    assert_eq!(world.disk(&jid("a")).rows.items.len(), many, "what takes another's place needs no more");
    owner(&mut world, &mut phone, "set", "<delete node='n'/>");
    let answer = publish(&mut world, &mut phone, "n", &item("again", fits), &KEEP_ALL);
    assert_eq!(answer.attr("type"), Some("result"), "there is room again");
}

#[test]
fn nodes_and_items_are_counted() {
    let (mut world, mut phone) = alone();
    for number in 0..PEP_NODES_MAX {
        pubsub(&mut world, &mut phone, "set", &format!("<create node='{number}'/>"));
    }
    let answer = pubsub(&mut world, &mut phone, "set", "<create node='one more'/>");
    assert_error(&answer, &["resource-constraint", "max-nodes-exceeded"]);
    let answer = publish(&mut world, &mut phone, "one more", &item("a", ""), &[]);
    assert_error(&answer, &["resource-constraint", "max-nodes-exceeded"]);
    let max = form(ns::PUBSUB_CONFIG, &[("pubsub#max_items", "max")]);
    for node in 0..5 {
        owner(&mut world, &mut phone, "set", &format!("<configure node='{node}'>{max}</configure>"));
        for hundred in 0..PEP_NODE_ITEMS_MAX / 100 {
            let items: String = (0..100).map(|one| item(&(hundred * 100 + one).to_string(), "")).collect();
            let answer = publish(&mut world, &mut phone, &node.to_string(), &items, &[]);
            let fits = node < 4;
            assert_eq!(answer.attr("type"), Some(if fits { "result" } else { "error" }), "{node} {hundred}");
        }
    }
    publish(&mut world, &mut phone, "0", &item("new", ""), &[]);
    let stored = &world.disk(&jid("a")).rows.items;
    assert!(
        !stored.contains_key(&("0".into(), "0".into())) && stored.contains_key(&("0".into(), "new".into()))
    );
    assert_eq!(stored.len(), 4 * PEP_NODE_ITEMS_MAX, "the oldest made room");
}

#[test]
fn a_page_is_what_was_asked_for_and_no_answer_is_longer_than_is_kept() {
    let (mut world, mut phone) = alone();
    for number in 0..10 {
        publish(&mut world, &mut phone, "n", &item(&number.to_string(), "x"), &KEEP_ALL);
    }
    let ids = |world: &mut World, phone: &mut Device, request: &str| -> (Vec<String>, Option<String>) {
        let answer = pubsub(world, phone, "get", request);
        let answer = answer.child(ns::PUBSUB, "pubsub").unwrap();
        let count = answer.child(ns::RSM, "set").map(|set| set.child(ns::RSM, "count").unwrap().text());
        (texts(answer).into_iter().map(|(id, _)| id).collect(), count)
    };
    let set = |inside: &str| format!("<items node='n'/><set xmlns='{}'>{inside}</set>", ns::RSM);
    let all = Some("10".to_owned());
    for (request, expected, count) in [
        ("<items node='n' max_items='3'/>".to_owned(), &["7", "8", "9"][..], None),
        ("<items node='n'><item id='4'/><item id='2'/></items>".to_owned(), &["2", "4"], None),
        (set("<max>3</max>"), &["0", "1", "2"], all.clone()),
        (set("<max>3</max><after>7</after>"), &["8", "9"], all.clone()),
        (set("<max>2</max><before/>"), &["8", "9"], all.clone()),
        (set("<max>2</max><before>5</before>"), &["3", "4"], all.clone()),
        (set("<max>0</max>"), &[], all),
    ] {
        assert_eq!(
            ids(&mut world, &mut phone, &request),
            (expected.iter().map(|s| (*s).to_owned()).collect(), count),
            "{request}"
        );
    }
    for request in [set("<after>gone</after>"), "<items node='n'><item id='gone'/></items>".to_owned()] {
        assert_error(&pubsub(&mut world, &mut phone, "get", &request), &["item-not-found"]);
    }
    let large = "x".repeat(100_000);
    for number in 0..3 {
        publish(&mut world, &mut phone, "large", &item(&number.to_string(), &large), &KEEP_ALL);
    }
    let (some, count) = ids(&mut world, &mut phone, "<items node='large'/>");
    assert_eq!((some, count.as_deref()), (vec!["0".to_owned()], Some("3")));
}

/// What somebody else asks, and is answered.
fn asked(world: &mut World, kind: &str, namespace: &str, name: &str, inside: &str) -> Element {
    let iq = format!(
        "<iq xmlns='jabber:client' type='{kind}' id='q' from='b@d/x' to='a@d'><{name} xmlns='{namespace}'>{inside}</{name}></iq>"
    );
    let iq = read_frame(&iq, 100_000).unwrap();
    world.asked(&jid("a"), &Jid::parse("b@d/x").unwrap(), &iq).unwrap()
}

#[test]
fn somebody_else_sees_what_is_open_and_nothing_of_the_rest() {
    let (mut world, mut phone) = alone();
    let nothing = asked(&mut world, "get", ns::DISCO_ITEMS, "query", "");
    assert_eq!(nothing.child(ns::DISCO_ITEMS, "query").unwrap().children().count(), 0);
    for (node, access) in [("open", "open"), ("presence", "presence"), ("private", "whitelist")] {
        publish(&mut world, &mut phone, node, &item("one", node), &[("pubsub#access_model", access)]);
    }
    let get = |world: &mut World, node: &str| {
        asked(world, "get", ns::PUBSUB, "pubsub", &format!("<items node='{node}'/>"))
    };
    let open = get(&mut world, "open");
    assert_eq!(texts(open.child(ns::PUBSUB, "pubsub").unwrap()), pairs(&[("one", "open")]));
    assert_eq!((open.attr("from"), open.attr("to")), (Some("a@d"), Some("b@d/x")));
    assert_error(&get(&mut world, "presence"), &["not-authorized", "presence-subscription-required"]);
    assert_error(&get(&mut world, "private"), &["not-allowed", "closed-node"]);
    assert_error(&get(&mut world, "none"), &["item-not-found"]);
    let listed = asked(&mut world, "get", ns::DISCO_ITEMS, "query", "");
    let listed: Vec<_> =
        listed.child(ns::DISCO_ITEMS, "query").unwrap().children().map(|i| i.attr("node")).collect();
    assert_eq!(listed, [Some("open")]);
    assert_error(&asked(&mut world, "get", ns::DISCO_INFO, "query", ""), &["service-unavailable"]);
    for (namespace, name) in [(ns::PUBSUB, "pubsub"), (ns::PUBSUB_OWNER, "pubsub"), (ns::VCARD, "vCard")] {
        let answer = asked(&mut world, "set", namespace, name, "<delete node='open'/>");
        assert_error(&answer, &["forbidden"]);
    }
    let subscribe = "<subscribe node='open' jid='b@d'/>";
    let answer = asked(&mut world, "set", ns::PUBSUB, "pubsub", subscribe);
    assert_error(&answer, &["feature-not-implemented", "unsupported"]);
    ask(&mut world, &mut phone, "set", "<block xmlns='urn:xmpp:blocking'><item jid='b@d'/></block>");
    assert_error(&get(&mut world, "open"), &["service-unavailable"]);
}

#[test]
fn the_service_says_what_it_is_and_what_is_in_it() {
    let (mut world, mut phone) = alone();
    publish(&mut world, &mut phone, "n", &item("one", "1"), &[]);
    ask(&mut world, &mut phone, "set", "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>");
    let mut disco = |namespace: &str, attributes: &str| {
        let iq = format!(
            "<iq xmlns='jabber:client' type='get' id='i' to='a@d'><query xmlns='{namespace}'{attributes}/></iq>"
        );
        phone.send(&mut world, &iq);
        phone.last_stanza()
    };
    let info = disco(ns::DISCO_INFO, "");
    for part in [
        "<identity category='account'",
        "<identity category='pubsub' type='pep'/>",
        "'http://jabber.org/protocol/pubsub#publish-options'",
        "'urn:xmpp:mds:server-assist:0'",
        "'vcard-temp'",
        "'urn:xmpp:mam:2'",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let nodes = disco(ns::DISCO_ITEMS, "");
    assert!(nodes.contains("><item jid='a@d' node='n'/></query>"), "and not the vCard: {nodes}");
    let node = disco(ns::DISCO_INFO, " node='n'");
    assert!(node.contains("type='leaf'") && node.contains("pubsub#meta-data"), "{node}");
    assert!(disco(ns::DISCO_ITEMS, " node='n'").contains("<item jid='a@d' name='one'/>"));
    for node in ["vcard-temp", "none"] {
        assert!(disco(ns::DISCO_INFO, &format!(" node='{node}'")).contains("type='error'"), "{node}");
    }
}

#[test]
fn the_old_vcard_is_kept_shown_to_everybody_and_changed_by_its_owner() {
    let (mut world, mut phone) = alone();
    let get = "<vCard xmlns='vcard-temp'/>";
    assert_error(&ask(&mut world, &mut phone, "get", get), &["item-not-found"]);
    assert_error(&asked(&mut world, "get", ns::VCARD, "vCard", ""), &["service-unavailable"]);
    let photo = "x".repeat(100_000);
    let card = format!("<vCard xmlns='vcard-temp'><FN>A</FN><PHOTO><BINVAL>{photo}</BINVAL></PHOTO></vCard>");
    assert_eq!(ask(&mut world, &mut phone, "set", &card).attr("type"), Some("result"));
    world.crash(&jid("a"));
    assert!(phone.resume(&mut world));
    assert_eq!(ask(&mut world, &mut phone, "get", get).child(ns::VCARD, "vCard").unwrap().to_frame(), card);
    assert_eq!(
        asked(&mut world, "get", ns::VCARD, "vCard", "").child(ns::VCARD, "vCard").unwrap().to_frame(),
        card
    );
    let huge = format!("<vCard xmlns='vcard-temp'><DESC>{}</DESC></vCard>", "x".repeat(PEP_ITEM_BYTES_MAX));
    assert_error(&ask(&mut world, &mut phone, "set", &huge), &["not-acceptable", "payload-too-big"]);
}

#[test]
fn nobody_is_told_before_it_is_on_disk_and_it_can_be_read_before_that() {
    let (mut world, mut phone) = alone();
    let mut laptop = interested(&mut world, "laptop", &["n"]);
    laptop.stanzas.clear();
    world.slow_disk = true;
    let publish = "<iq xmlns='jabber:client' type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
        <publish node='n'><item id='one'><p xmlns='t'>1</p></item></publish></pubsub></iq>";
    phone.send(&mut world, publish);
    let get = "<iq xmlns='jabber:client' type='get' id='g'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
        <items node='n'/></pubsub></iq>";
    phone.send(&mut world, get);
    laptop.drain(&mut world);
    let answered = |device: &Device, id: &str| device.stanzas.iter().any(|e| e.attr("id") == Some(id));
    assert!(!answered(&phone, "p") && !answered(&phone, "g") && laptop.stanzas.is_empty());
    world.settle(true);
    phone.drain(&mut world);
    laptop.drain(&mut world);
    assert!(answered(&phone, "p") && laptop.last_stanza().contains("<items node='n'>"));
    assert!(phone.last_stanza().contains(">1</p>"), "{}", phone.last_stanza());
}

#[test]
fn if_the_disk_fails_nobody_is_told_and_nothing_is_there() {
    let (mut world, mut phone) = alone();
    world.slow_disk = true;
    let publish = "<iq xmlns='jabber:client' type='set' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
        <publish node='n'><item id='one'><p xmlns='t'>1</p></item></publish></pubsub></iq>";
    phone.send(&mut world, publish);
    world.settle(false);
    phone.drain(&mut world);
    assert!(!phone.stanzas.iter().any(|e| e.attr("id") == Some("p")));
    world.crash(&jid("a"));
    assert!(phone.resume(&mut world));
    phone.drain(&mut world);
    assert_eq!(phone.stanzas.iter().filter(|e| e.attr("id") == Some("p")).count(), 1, "it was sent again");
    assert_eq!(items(&mut world, &mut phone, "n").len(), 1);
}

#[test]
fn an_answer_that_a_broken_connection_took_comes_when_the_stream_is_resumed() {
    let (mut world, mut phone) = alone();
    publish(&mut world, &mut phone, "n", &item("one", &"x".repeat(100_000)), &[]);
    phone.drain(&mut world);
    let get = "<iq xmlns='jabber:client' type='get' id='late'><pubsub xmlns='http://jabber.org/protocol/pubsub'>\
        <items node='n'/></pubsub></iq>";
    world.slow_disk = true;
    phone.send(&mut world, get);
    world.settle(true);
    world.sent.remove(&phone.link);
    world.crash(&jid("a"));
    assert!(phone.resume(&mut world));
    phone.drain(&mut world);
    assert!(
        phone.stanzas.iter().any(|e| e.attr("id") == Some("late") && e.child(ns::PUBSUB, "pubsub").is_some())
    );
}
