//! Scripts for the relay's engine: see [`relay_script`] for the letters.

use super::account;
use super::world::{SLOTS, World, account_row};
use crate::leaf;
use crate::script::{Fields, Step, escaped, filled, flags, steps};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shared::id::{DeviceId, LinkId, StanzaSeq};
use shared::jid::BareJid;
use shared::relay::rows::{DeviceRow, StreamRow};
use shared::relay::{Called, Input, TransferItem, TransferReply, TransferRequest};
use shared::sasl::{ClientExchange, Secret};
use shared::sm::Handled;
use shared::wire::read_frame;

/// A day: what one step of the clock is at most.
const STEP_MS_MAX: u64 = 86_400_000;
/// Rounds after which everything must have arrived everywhere.
const ROUNDS_MAX: usize = 400;

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";

/// What a device may say, by its letter. `{0|x}` is the first field, or `x`.
const TEMPLATES: [(char, &str); 33] = [
    ('o', "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{0|d}' version='{1|1.0}'/>"),
    ('q', "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
    (
        'm',
        "<message xmlns='jabber:client' type='chat' to='{0|bob@d}' id='{1|m}'><body>{2|x}</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='{1|m}'/></message>",
    ),
    (
        'a',
        "<message xmlns='jabber:client' type='chat' to='{0|bob@d}' id='{1|m}'><body>{2|x}</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='{1|m}'/><accept xmlns='urn:counterfoil:accepted:0'/></message>",
    ),
    ('n', "<message xmlns='jabber:client' to='{0|bob@d}' id='{1|1}'><body>{2|x}</body></message>"),
    ('M', "<message xmlns='jabber:client' type='{1|normal}'><body>{0|x}</body></message>"),
    (
        'e',
        "<message xmlns='jabber:client' type='chat' to='{0|bob@d}'>\
         <composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ),
    (
        'r',
        "<message xmlns='jabber:client' to='{0|bob@d}' id='{1|r}'><received xmlns='urn:xmpp:receipts' id='{2|m}'/>\
         <origin-id xmlns='urn:xmpp:sid:0' id='{1|r}'/></message>",
    ),
    (
        'x',
        "<message xmlns='jabber:client' to='{0|bob@d}'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' \
         by='alice@d' id='{1|999}'/><delay xmlns='urn:xmpp:delay' from='d' stamp='{2|now}'/></message>",
    ),
    ('p', "<presence xmlns='jabber:client'><show>{0|chat}</show></presence>"),
    ('P', "<presence xmlns='jabber:client' type='{0|unavailable}' to='{1|}'/>"),
    ('u', "<presence xmlns='jabber:client' type='unavailable'/>"),
    ('i', "<iq xmlns='jabber:client' type='get' id='{0|p}' to='{1|d}'><ping xmlns='urn:xmpp:ping'/></iq>"),
    (
        'd',
        "<iq xmlns='jabber:client' type='get' id='{0|d}' to='{1|d}'>\
         <query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    ),
    ('c', "<iq xmlns='jabber:client' type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"),
    ('C', "<iq xmlns='jabber:client' type='set' id='c'><disable xmlns='urn:xmpp:carbons:2'/></iq>"),
    ('R', "<iq xmlns='jabber:client' type='{0|get}' id='r'><query xmlns='jabber:iq:roster'/></iq>"),
    (
        's',
        "<iq xmlns='jabber:client' type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
    ),
    (
        'I',
        "<iq xmlns='jabber:client' type='{0|result}' id='{1|i}' to='{2|bob@d/x}'><{3|q} xmlns='{4|u}'/></iq>",
    ),
    (
        'b',
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
         <resource>{0|phone}</resource></bind></iq>",
    ),
    (
        'B',
        "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    ),
    ('E', "<enable xmlns='urn:xmpp:sm:3' resume='{0|true}'/>"),
    ('F', "<enable xmlns='urn:xmpp:sm:3'/>"),
    ('z', "<resume xmlns='urn:xmpp:sm:3' previd='{0|}' h='{1|0}'/>"),
    ('?', "<r xmlns='urn:xmpp:sm:3'/>"),
    ('!', "<a xmlns='urn:xmpp:sm:3' h='{0|0}'/>"),
    (
        'g',
        "<iq xmlns='jabber:client' type='{0|set}' id='g'><query xmlns='jabber:iq:register'>\
         <username>{1|alice}</username><password>{2|pencil}</password></query></iq>",
    ),
    ('S', "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{0|SCRAM-SHA-256}'>{1|=}</auth>"),
    ('T', "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{0|=}</response>"),
    ('U', "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
    (
        'A',
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{0|SCRAM-SHA-256}'>\
         <initial-response>{1|biwsbj1hbGljZSxyPXg=}</initial-response>\
         <user-agent id='{2|d4565fa7-4d72-4749-b3d3-740edbf87770}'><software>x</software></user-agent>\
         <resume xmlns='urn:xmpp:sm:3' previd='{3|x}' h='{4|0}'/>\
         <bind xmlns='urn:xmpp:bind:0'><tag>x</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>\
         <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>\
         <fast xmlns='urn:xmpp:fast:0'/></authenticate>",
    ),
    ('D', "<response xmlns='urn:xmpp:sasl:2'>{0|}</response>"),
    ('G', "<abort xmlns='urn:xmpp:sasl:2'/>"),
];

/// Steps, one per line; the digit names a connection.
///
/// `u` `d` a connection comes, goes · `o` and authenticates · `g` and is the device named, with acks
/// and presence · `f` says the rest of the line · `t` says a template · `l` sends a SASL element
/// whose text is the rest of the line · `b` sends bytes · `h` acks what it has · `z` resumes what the
/// named device had · `i` another mailbox hands over `peer|place|text|to`, `I` `peer|place|stanza` ·
/// `a` a call is answered: `a` `n` `f`, or lost · `j` and so is one that was never made · `w` time
/// passes, until the engine wants to be woken or as told · `W` a wake for nothing, the clock set back
/// · `s` the disk gets slow, or fast · `c` `x` it commits, fails · `y` `X` so it does with another
/// number · `K` `k` the power fails, before or after the commit that was out · `H` sleep.
///
/// At the end everything heals, and every device that told the truth must have been sent every
/// message, and every message must have been handed over.
pub fn relay_script(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let flags = flags(&text);
    let mut world = if flags.contains('m') { near_the_end_of_numbers(flags) } else { World::new(flags) };
    for step in steps(&text) {
        perform(&mut world, step);
    }
    heal(&mut world);
}

pub(super) fn perform(world: &mut World, step: Step<'_>) {
    let Step { letter, slot, rest } = step;
    match letter {
        'u' => drop(world.connect(slot)),
        'd' => world.disconnect(slot),
        'o' => drop(authenticate(world, slot)),
        'g' => go_online(world, slot, step.fields().get(0, "phone")),
        'f' => say(world, slot, &rest.replace("\\n", "\n")),
        't' => template(world, slot, rest),
        'l' => {
            let (name, payload) = rest.split_once('|').unwrap_or(("response", rest));
            say(world, slot, &sasl(name, payload.as_bytes()));
        }
        'b' => world.link(slot).into_iter().for_each(|link| world.input(Input::Binary(link))),
        'h' => acknowledge(world, slot),
        'z' => resume(world, slot, step.fields().get(0, "phone")),
        'i' | 'I' => handed_over(world, letter == 'I', step.fields()),
        'a' => answer(world, slot, rest),
        'j' => {
            let fields = step.fields();
            let upto = fields.get(1, "1").parse().unwrap_or(1);
            if let Ok(peer) = BareJid::parse(fields.get(0, "bob@d")) {
                let (upto, reply) = (StanzaSeq(upto), reply(fields.get(2, "a")));
                if reply.is_some() {
                    world.ledger.settled_upto(&peer, upto);
                }
                world.transferred(peer, Called { upto, news: 0 }, reply);
            }
        }
        'w' => pass(world, step.number()),
        'W' => {
            world.now.0 = world.now.0.saturating_sub(step.number().unwrap_or(0).min(STEP_MS_MAX));
            world.input(Input::Wake);
        }
        's' => world.slow = !world.slow,
        'c' => world.commit(),
        'x' => world.fail(),
        'y' => world.stale_commit(step.number().unwrap_or(slot as u64)),
        'X' => world.input(Input::CommitFailed(shared::gate::BatchNo(slot as u64))),
        'K' => world.crash(false),
        'k' => world.crash(true),
        'H' => world.hibernate(),
        _ => {}
    }
}

/// A device `phone` has a stream to resume whose counts are about to pass 2³².
fn near_the_end_of_numbers(flags: &str) -> World {
    let near = Handled(u32::MAX - 2);
    let stream = StreamRow {
        no: 1,
        // Of the SM-ID "wrap".
        sm_id_hash: "8KKJkj7WNKzsdIlBp/q2oFfl1KXLKeXithNtY5iXx0o=".to_owned(),
        handled: near,
        acked: near,
        sent_max: near,
        next: StanzaSeq(1),
        suspended: None,
        carbons: false,
        presence: Some("<presence xmlns='jabber:client'/>".to_owned()),
        ..StreamRow::default()
    };
    let phone = DeviceId::from("phone");
    let row = DeviceRow {
        device: phone.clone(),
        cursor: StanzaSeq(0),
        stream: Some(stream),
        last_seen: shared::time::Millis(0),
        name: None,
        named: true,
        taken: Default::default(),
        agent: None,
        caps: None,
        there: None,
    };
    let mut store = shared::memory::MailboxStore { account: Some(account_row()), ..Default::default() };
    store.devices.insert(phone.clone(), row);
    let mut world = World::with(store, flags);
    world.ledger.devices.had(&phone, "wrap", near);
    world
}

fn say(world: &mut World, slot: usize, text: &str) {
    if let Some(link) = world.link(slot) {
        world.frame(link, text);
    }
}

fn template(world: &mut World, slot: usize, rest: &str) {
    let mut chars = rest.chars();
    let letter = chars.next().unwrap_or('p');
    if let Some((_, template)) = TEMPLATES.iter().find(|(name, _)| *name == letter) {
        say(world, slot, &filled(template, Fields::of(chars.as_str())));
    }
}

fn sasl(name: &str, payload: &[u8]) -> String {
    let (name, mechanism) =
        if name == "auth" { (name, " mechanism='SCRAM-SHA-256'") } else { ("response", "") };
    let text = STANDARD.encode(payload);
    format!("<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'{mechanism}>{text}</{name}>")
}

/// Opens a connection and proves the account, as far as the mailbox goes along.
pub(super) fn authenticate(world: &mut World, slot: usize) -> LinkId {
    let link = world.connect(slot);
    world.frame(link, OPEN);
    let (mut exchange, first) = ClientExchange::begin(leaf::MECHANISM, "alice", "nonce");
    world.frame(link, &sasl("auth", &first));
    let challenge = world.sent.remove(&link).and_then(|sent| read_frame(sent.last()?, usize::MAX).ok());
    let challenge = challenge.filter(|element| element.name == "challenge").map(|element| element.text());
    let Some(challenge) = challenge.and_then(|text| STANDARD.decode(text).ok()) else { return link };
    // A registration of this account was answered with a salt of its own.
    let secret = Secret::Credential(leaf::credential());
    let answer = exchange
        .respond(&challenge, secret)
        .or_else(|_| exchange.respond(&challenge, Secret::Password(leaf::PASSWORD)));
    if let Ok((last, _)) = answer {
        world.frame(link, &sasl("response", &last));
        world.frame(link, OPEN);
    }
    link
}

pub(super) fn go_online(world: &mut World, slot: usize, device: &str) {
    let link = authenticate(world, slot);
    let bind = "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                <resource>{0}</resource></bind></iq>";
    world.frame(link, &bind.replace("{0}", &escaped(device)));
    world.frame(link, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    world.frame(link, "<presence xmlns='jabber:client'/>");
}

/// The client acks what it has.
fn acknowledge(world: &mut World, slot: usize) {
    let count = world.link(slot).and_then(|link| Some((link, world.ledger.devices.count(link)?)));
    if let Some((link, count)) = count {
        world.frame(link, &format!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>"));
    }
}

/// The client comes back over a connection that is authenticated, or over a new one.
fn resume(world: &mut World, slot: usize, device: &str) {
    let Some((id, count)) = world.ledger.devices.resumable(device) else { return };
    world.disconnect(slot);
    let link = authenticate(world, slot);
    world.frame(link, &format!("<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{count}'/>", escaped(&id)));
}

/// Another mailbox hands over a message with this text, or this stanza, or nothing that is one.
pub(super) fn handed_over(world: &mut World, raw: bool, fields: Fields<'_>) {
    let Ok(from) = BareJid::parse(fields.get(0, "bob@d")) else { return };
    if from == account() {
        return;
    }
    let place = fields.get(1, "1").parse().unwrap_or(1);
    let (text, to) = (fields.get(2, "x"), fields.get(3, "alice@d"));
    let stanza = |place: u64| match raw {
        true => text.to_owned(),
        false => format!(
            "<message xmlns='jabber:client' type='{}' from='{}/x' to='{}'><body>{} {place}</body></message>",
            escaped(fields.get(5, "chat")),
            escaped(from.as_str()),
            escaped(to),
            escaped(text)
        ),
    };
    let several = fields.get(4, "1").parse().unwrap_or(1).min(4);
    // Nobody's log has so many rows, and numbers that end are of no interest here.
    let place = std::cmp::min(place, 1 << 53);
    let places = (0..several).map(|n: u64| if place == 0 { 0 } else { place + n });
    let items =
        places.map(|place| TransferItem { seq: StanzaSeq(place), stanza: stanza(place), news: 0 }).collect();
    let to = BareJid::parse(fields.get(6, "alice@d")).unwrap_or_else(|_| account());
    world.transfer(&TransferRequest { from: from.clone(), to, items });
}

fn reply(letter: &str) -> Option<TransferReply> {
    match letter {
        "a" => Some(TransferReply::Accepted),
        "n" => Some(TransferReply::NoSuchUser),
        "f" => Some(TransferReply::Refused((1..20).map(StanzaSeq).collect())),
        _ => None,
    }
}

pub(super) fn answer(world: &mut World, slot: usize, letter: &str) {
    if world.calls.is_empty() {
        return;
    }
    let request = world.calls[slot % world.calls.len()].request.clone();
    world.transferred(request.to.clone(), request.called(), reply(letter));
}

pub(super) fn pass(world: &mut World, ms: Option<u64>) {
    match (ms, world.wake) {
        (Some(ms), _) => world.now = world.now.plus(ms.min(STEP_MS_MAX)),
        (None, Some(wake)) => world.now = world.now.max(wake),
        (None, None) => {}
    }
    world.input(Input::Wake);
}

/// The disk is fast and whole, other mailboxes answer, and every device that can be trusted comes
/// online and acks what it gets.
fn heal(world: &mut World) {
    world.slow = false;
    world.commit();
    if world.is_poisoned() {
        world.crash(false);
    }
    let known = |world: &World, id: &DeviceId| world.store.devices.contains_key(id);
    let honest: Vec<DeviceId> =
        world.ledger.devices.honest().into_iter().filter(|id| known(world, id)).take(SLOTS).collect();
    let slots = 0..honest.len();
    for (slot, device) in slots.clone().zip(&honest) {
        go_online(world, slot, device.as_str());
    }
    for _ in 0..ROUNDS_MAX {
        let read = honest.iter().all(|id| world.ledger.devices.missing(id, &world.store).is_empty());
        if read && world.ledger.unsettled(&world.store).is_empty() {
            return;
        }
        slots.clone().for_each(|slot| acknowledge(world, slot));
        while let Some(call) = world.calls.first() {
            let (to, called) = (call.request.to.clone(), call.request.called());
            world.transferred(to, called, Some(TransferReply::Accepted));
        }
        // Whoever still reads answers at once; it is not left to run into a time limit.
        pass(world, if read { None } else { Some(100) });
    }
    for id in honest {
        let missing = world.ledger.devices.missing(&id, &world.store);
        assert!(missing.is_empty(), "{id} was never sent {missing:?}");
    }
    let unsettled = world.ledger.unsettled(&world.store);
    assert!(unsettled.is_empty(), "{unsettled:?} were never handed over");
}
