//! Scripts for the client's engine: see [`client_script`] for the letters.

use super::ledger::account;
use super::world::World;
use crate::script::{Fields, Step, escaped, filled, flags, steps};
use shared::client::rows::{MessageKey, MessageRow};
use shared::client::{Command, Input};
use shared::id::OriginId;
use shared::jid::BareJid;

/// Two days: what one step of the clock is at most.
const STEP_MS_MAX: u64 = 2 * 86_400_000;
/// Rounds after which everything must have left.
const ROUNDS_MAX: usize = 200;

/// What somebody may say in the relay's place, by its letter. `{0|x}` is the first field, or `x`.
const TEMPLATES: [(char, &str); 24] = [
    ('o', "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='d' id='{0|x}' version='1.0'/>"),
    ('q', "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"),
    (
        'f',
        "<s:features xmlns:s='http://etherx.jabber.org/streams'><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
         <mechanism>{0|SCRAM-SHA-1}</mechanism></mechanisms></s:features>",
    ),
    (
        'g',
        "<s:features xmlns:s='http://etherx.jabber.org/streams'>\
         <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><{0|sm} xmlns='urn:xmpp:sm:3'/></s:features>",
    ),
    ('c', "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{0|=}</challenge>"),
    ('s', "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{0|=}</success>"),
    ('x', "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{0|not-authorized}/></failure>"),
    (
        'E',
        "<s:error xmlns:s='http://etherx.jabber.org/streams'>\
         <{0|conflict} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><{1|x} xmlns='urn:xmpp:sm:3'/></s:error>",
    ),
    ('e', "<enabled xmlns='urn:xmpp:sm:3' id='{0|sm}' resume='{1|true}'/>"),
    ('z', "<resumed xmlns='urn:xmpp:sm:3' previd='{0|sm1}' h='{1|0}'/>"),
    ('Z', "<failed xmlns='urn:xmpp:sm:3' h='{0|}'/>"),
    ('?', "<r xmlns='urn:xmpp:sm:3'/>"),
    ('!', "<a xmlns='urn:xmpp:sm:3' h='{0|0}'/>"),
    (
        'm',
        "<message xmlns='jabber:client' type='{3|chat}' from='{0|bob@d/x}' id='{1|m}'><body>{2|x}</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='{1|m}'/><stanza-id xmlns='urn:xmpp:sid:0' by='alice@d' id='{4|}'/>\
         <request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/></message>",
    ),
    ('n', "<message xmlns='jabber:client' from='{0|bob@d}' type='{1|normal}'><body>{2|x}</body></message>"),
    (
        'r',
        "<message xmlns='jabber:client' from='{0|bob@d}'><received xmlns='urn:xmpp:receipts' id='{1|m}'/></message>",
    ),
    (
        'R',
        "<message xmlns='jabber:client' from='{0|bob@d}'><displayed xmlns='urn:xmpp:chat-markers:0' id='{1|m}'/></message>",
    ),
    (
        'b',
        "<message xmlns='jabber:client' type='error' from='{0|bob@d}' id='{1|m}'><error type='cancel'>\
         <{2|item-not-found} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    ),
    (
        'a',
        "<message xmlns='jabber:client' from='{2|alice@d}'>\
         <accepted xmlns='urn:counterfoil:accepted:0' origin-id='{0|m}' stanza-id='{1|1}'/></message>",
    ),
    (
        'C',
        "<message xmlns='jabber:client' from='alice@d'><{3|sent} xmlns='urn:xmpp:carbons:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{0|alice@d/y}' to='{1|bob@d}' \
         id='{2|k}'><body>{4|x}</body><origin-id xmlns='urn:xmpp:sid:0' id='{2|k}'/>\
         <displayed xmlns='urn:xmpp:chat-markers:0' id='{5|}'/></message></forwarded></{3|sent}></message>",
    ),
    (
        't',
        "<message xmlns='jabber:client' from='{0|bob@d}'><{1|composing} \
         xmlns='http://jabber.org/protocol/chatstates'/><delay xmlns='{2|u}' stamp='{3|}'/></message>",
    ),
    (
        'i',
        "<iq xmlns='jabber:client' type='{0|get}' id='{1|i}' from='{2|d}'><ping xmlns='urn:xmpp:ping'/></iq>",
    ),
    ('p', "<presence xmlns='jabber:client' from='{0|bob@d}' type='{1|subscribe}'/>"),
    (
        'k',
        "<iq xmlns='jabber:client' type='{0|result}' id='{1|i}'><error><{2|x} xmlns='{3|u}'/></error></iq>",
    ),
];

/// Steps, one per line.
///
/// The link: `u` it opens · `d` it breaks · `U` `D` news of another one · `g` the relay says as much as
/// the digit, `G` all it has to say · `o` a connection up to the end of its talk · `e` nothing that the
/// client says arrives any more · `Q` the relay forgets the session · `i` a message for the user is
/// `from|id|text` · `f` `t` somebody says the rest of the line, a template, in the relay's name.
///
/// The user: `S` sends `to|text|origin` · `R` tries again, `X` discards the message of that place ·
/// `A` accepts · `V` has seen the newest, `v` another · `T` types · `F` leaves a draft · `N` is
/// impatient · `I` signs in, with `password|r` · `O` signs out.
///
/// The rest as for the relay: `w` `W` `s` `c` `x` `y` `Y` `K` `k`.
///
/// At the end everything heals: if nobody lied, whatever was written is at the relay.
pub fn client_script(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut world = World::new(flags(&text));
    for step in steps(&text) {
        perform(&mut world, step);
    }
    heal(&mut world);
}

pub(super) fn perform(world: &mut World, step: Step<'_>) {
    let Step { letter, slot, rest } = step;
    match letter {
        'u' => world.link_up(),
        'd' => world.link_down(),
        'U' | 'D' => world.stale_link(slot, letter == 'U'),
        'g' => (0..slot.max(1)).for_each(|_| _ = world.next_frame()),
        'G' => talk(world),
        'o' => {
            world.link_up();
            talk(world);
        }
        'e' => world.relay.deaf = true,
        'Q' => world.relay.forget_session(),
        'i' => message_for_the_user(world, step.fields()),
        'f' => world.frame(&rest.replace("\\n", "\n")),
        't' => template(world, rest),
        'w' => pass(world, step.number()),
        'W' => {
            world.now.0 = world.now.0.saturating_sub(step.number().unwrap_or(0).min(STEP_MS_MAX));
            world.input(Input::Wake);
        }
        's' => world.slow = !world.slow,
        'c' => world.commit(),
        'x' => world.fail(),
        'y' => world.stale_commit(step.number().unwrap_or(slot as u64)),
        'Y' => world.input(Input::CommitFailed(shared::gate::BatchNo(slot as u64))),
        'K' => world.crash(false),
        'k' => world.crash(true),
        _ => user(world, step),
    }
}

fn user(world: &mut World, step: Step<'_>) {
    let fields = step.fields();
    let peer = BareJid::parse(fields.get(0, "bob@d")).unwrap_or_else(|_| account());
    let place = world.store.messages.keys().nth(step.slot).cloned();
    let nth = || place.clone().unwrap_or_else(|| MessageKey(step.rest.to_owned()));
    let command = match step.letter {
        'S' => {
            let (body, origin) = (fields.get(1, "x"), fields.get(2, "m"));
            let send = Command::Send { origin: OriginId::from(origin), to: peer, body: body.to_owned() };
            // An app mints names that every protocol can carry.
            if !origin.chars().all(|c| c.is_ascii_alphanumeric()) || !world.is_fresh(origin, &send) {
                return;
            }
            send
        }
        'R' => Command::Retry(nth()),
        'X' => Command::Discard(nth()),
        'A' => Command::Accept(peer),
        'V' => {
            let newest = world.store.conversations.get(&peer).and_then(|row| row.newest.clone());
            Command::Displayed(peer, newest.unwrap_or_else(nth))
        }
        'v' => Command::Displayed(peer, nth()),
        'T' => Command::Typing(peer, fields.get(1, "").is_empty()),
        'F' => Command::Draft(peer, fields.get(1, "x").to_owned()),
        'N' => Command::Reconnect,
        'I' => {
            let password = fields.get(0, "pencil").to_owned();
            Command::SignIn { password, register: fields.get(1, "") == "r" }
        }
        'O' => Command::SignOut,
        _ => return,
    };
    world.command(command);
}

fn template(world: &mut World, rest: &str) {
    let mut chars = rest.chars();
    let letter = chars.next().unwrap_or('m');
    if let Some((_, template)) = TEMPLATES.iter().find(|(name, _)| *name == letter) {
        world.frame(&filled(template, Fields::of(chars.as_str())));
    }
}

/// Bob, or somebody else, has written.
fn message_for_the_user(world: &mut World, fields: Fields<'_>) {
    let Ok(from) = BareJid::parse(fields.get(0, "bob@d")) else { return };
    if from == account() {
        return;
    }
    let id = escaped(fields.get(1, "i"));
    world.relay.deliver(&format!(
        "<message xmlns='jabber:client' type='chat' from='{}/x' to='alice@d' id='{id}'><body>{}</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='{id}'/><request xmlns='urn:xmpp:receipts'/>\
         <markable xmlns='urn:xmpp:chat-markers:0'/>{{SEQ}}</message>",
        escaped(from.as_str()),
        escaped(fields.get(2, "x")),
    ));
}

/// The relay says all it has to say, and what that leads to.
fn talk(world: &mut World) {
    // A client that answers every answer would never be done.
    for _ in 0..ROUNDS_MAX {
        if !world.next_frame() {
            return;
        }
    }
}

fn pass(world: &mut World, ms: Option<u64>) {
    match (ms, world.wake) {
        (Some(ms), _) => world.now = world.now.plus(ms.min(STEP_MS_MAX)),
        (None, Some(wake)) => world.now = world.now.max(wake),
        (None, None) => {}
    }
    world.input(Input::Wake);
}

/// The disk is fast and whole, the link holds and the relay is good.
fn heal(world: &mut World) {
    world.slow = false;
    world.commit();
    if world.is_finished() {
        world.crash(false);
    }
    if world.ledger.lied_to {
        return;
    }
    world.link_down();
    for _ in 0..ROUNDS_MAX {
        if world.store.account.is_none() || (world.store.outbox.is_empty() && !world.relay.deaf) {
            break;
        }
        pass(world, None);
        world.link_up();
        talk(world);
    }
    let own = |row: &MessageRow| row.key.0.starts_with("o:alice@d:");
    if world.store.account.is_some() && world.store.messages.values().any(own) {
        world.ledger.healed(&world.store, &world.relay);
    }
}
