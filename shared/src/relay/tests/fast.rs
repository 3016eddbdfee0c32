//! Tokens in place of a password (`relay::fast`).

use super::modern::{BIND, FAST, LAPTOP, PHONE, REQUEST_TOKEN, agent, condition, identity, token};
use super::world::{Device, World, jid};
use crate::id::DeviceId;
use crate::limits::{AUTHENTICATION_FAILURES_MAX, TOKEN_MS_MAX, TOKEN_ROTATE_MS, TOKENS_MAX};
use crate::relay::rows::TokenRow;
use crate::sasl::ht;
use crate::time::Millis;
use crate::wire::{Element, ns};

const DAY: u64 = TOKEN_ROTATE_MS;

/// Bob has an account, and his phone a token.
fn bobs() -> (World, Device, String) {
    let mut world = World::new();
    drop(Device::online(&mut world, "b", "old"));
    let mut phone = Device::offline("b", "unused");
    let success = phone.scram2(&mut world, &format!("{}{BIND}{REQUEST_TOKEN}", agent(PHONE))).unwrap();
    (world, phone, token(&success).unwrap())
}

/// The phone, or a tab of it, signs in by a token.
fn sign_in(world: &mut World, token: &str) -> Element {
    Device::offline("b", "unused").fast(world, token, &wishes(FAST)).unwrap()
}

fn wishes(more: &str) -> String {
    format!("{}{BIND}{more}", agent(PHONE))
}

fn fast(attributes: &str) -> String {
    wishes(&format!("<fast xmlns='urn:xmpp:fast:0' {attributes}/>"))
}

fn tokens(world: &mut World) -> Vec<TokenRow> {
    let rows = &world.disk(&jid("b")).rows.devices;
    rows.values().find_map(|row| row.agent.clone()).map(|agent| agent.tokens).unwrap_or_default()
}

fn is_good(world: &mut World, token: &str) -> bool {
    let answer = sign_in(world, token);
    if answer.name == "success" {
        return true;
    }
    assert_eq!(condition(&answer), "credentials-expired");
    false
}

#[test]
fn one_is_given_to_who_asks_for_it_and_opens_the_account_in_one_round_trip() {
    let (mut world, phone, token) = bobs();
    assert_eq!(token.len(), 44);
    let given = phone.nonzas.iter().find_map(|e| e.child(ns::FAST, "token")).unwrap();
    let expiry = Millis::from_stamp(given.attr("expiry").unwrap()).unwrap();
    assert_eq!(expiry.since(world.now), TOKEN_MS_MAX);
    let mut again = Device::offline("b", "unused");
    let success = again.fast(&mut world, &token, &wishes(FAST)).unwrap();
    assert_eq!(success.name, "success", "{}", success.to_frame());
    assert!(identity(&success).starts_with("b@d/Tests/"));
    assert!(success.child(ns::BIND2, "bound").is_some());
    assert!(success.child(ns::FAST, "token").is_none(), "it is new enough");
    let said: Vec<&str> = again.nonzas.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(said, ["open", "features", "success", "features"]);
}

#[test]
fn a_stream_goes_on_with_a_token() {
    let (mut world, mut phone, token) = bobs();
    let mut alice = Device::online(&mut world, "a", "phone");
    phone.send(&mut world, "<presence xmlns='jabber:client'/>");
    phone.lose(&mut world);
    alice.message(&mut world, "b@d", "missed");
    let success =
        phone.fast(&mut world, &token, &wishes(&format!("{FAST}{}", phone.resume_frame()))).unwrap();
    assert!(success.child(ns::SM, "resumed").is_some(), "{}", success.to_frame());
    assert_eq!(phone.bodies, ["missed"]);
    assert_eq!(tokens(&mut world)[0].secret, None, "and its use is noted");
}

#[test]
fn none_is_given_to_who_does_not_ask_for_it_rightly() {
    let (mut world, ..) = bobs();
    let other = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>";
    for wishes in [BIND.to_owned(), format!("{BIND}{REQUEST_TOKEN}"), format!("{}{other}", agent(LAPTOP))] {
        let mut device = Device::offline("b", "unused");
        let success = device.scram2(&mut world, &wishes).unwrap();
        assert_eq!((success.name.as_str(), token(&success)), ("success", None), "{wishes}");
    }
}

#[test]
fn one_is_given_without_a_session_too_and_ends_with_the_device_it_made() {
    let (mut world, mut phone, _) = bobs();
    let mut laptop = Device::offline("b", "desk");
    let success = laptop.scram2(&mut world, &format!("{}{REQUEST_TOKEN}", agent(LAPTOP))).unwrap();
    let token = token(&success).unwrap();
    laptop.bind(&mut world);
    let answer = laptop.fast(&mut world, &token, &format!("{}{FAST}", agent(LAPTOP))).unwrap();
    assert_eq!((answer.name.as_str(), identity(&answer).as_str()), ("success", "b@d"));
    laptop.bind_unseen(&mut world);
    let bound = laptop.last_stanza();
    let id = bound.split("b@d/").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let remove = format!("<remove xmlns='urn:counterfoil:devices:0' id='{id}'/>");
    phone.send(&mut world, &format!("<iq xmlns='jabber:client' type='set' id='r'>{remove}</iq>"));
    assert!(!world.disk(&jid("b")).rows.devices.contains_key(&DeviceId(id)));
    let answer = laptop.fast(&mut world, &token, &format!("{}{FAST}", agent(LAPTOP))).unwrap();
    assert_eq!(condition(&answer), "credentials-expired");
}

#[test]
fn what_is_kept_of_a_used_token_opens_nothing() {
    let (mut world, _, token) = bobs();
    assert_eq!(tokens(&mut world)[0].secret.as_deref(), Some(token.as_str()), "it may have to be told again");
    assert!(is_good(&mut world, &token));
    let row = tokens(&mut world).remove(0);
    assert_eq!(row.secret, None);
    for kept in [row.keys.stored_key, row.keys.responder, row.salt] {
        assert!(!is_good(&mut world, &kept));
    }
}

#[test]
fn a_token_expires_and_the_password_is_asked_for_on_the_same_stream() {
    let (mut world, _, first) = bobs();
    world.pass(TOKEN_MS_MAX);
    let mut phone = Device::offline("b", "unused");
    let failure = phone.fast(&mut world, &first, &wishes(FAST)).unwrap();
    assert_eq!(
        failure.to_frame(),
        "<failure xmlns='urn:xmpp:sasl:2'>\
         <credentials-expired xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>"
    );
    let success = phone.scram2_here(&mut world, &wishes(REQUEST_TOKEN)).unwrap();
    assert_ne!(token(&success).unwrap(), first);
    assert_eq!(tokens(&mut world).len(), 1);
}

#[test]
fn one_that_is_a_day_old_is_replaced_and_stays_good_until_its_successor_is_used() {
    let (mut world, _, old) = bobs();
    world.pass(DAY);
    let new = token(&sign_in(&mut world, &old)).unwrap();
    assert_ne!(new, old);
    assert!(is_good(&mut world, &old), "the new one may have been lost on its way");
    assert!(is_good(&mut world, &new));
    assert!(!is_good(&mut world, &old));
    assert!(is_good(&mut world, &new));
}

#[test]
fn two_tabs_with_one_token_are_given_one_and_the_same_new_one() {
    let (mut world, _, old) = bobs();
    world.pass(DAY);
    let first = token(&sign_in(&mut world, &old)).unwrap();
    world.crash(&jid("b"));
    world.pass(3 * DAY);
    let second = token(&sign_in(&mut world, &old)).unwrap();
    assert_eq!(first, second);
    assert!(is_good(&mut world, &first) && is_good(&mut world, &second));

    // The same where both ask for one by password.
    let ask = |world: &mut World| {
        let mut tab = Device::offline("b", "unused");
        token(&tab.scram2(world, &wishes(REQUEST_TOKEN)).unwrap()).unwrap()
    };
    let (third, fourth) = (ask(&mut world), ask(&mut world));
    assert_eq!(third, fourth);
    assert_ne!(third, first, "one that was used is not told again");
    assert!(is_good(&mut world, &first), "and stays good");
}

#[test]
fn one_that_was_long_not_used_is_not_told_again_but_stays_good() {
    let (mut world, _, old) = bobs();
    world.pass(DAY);
    let first = token(&sign_in(&mut world, &old)).unwrap();
    world.pass(TOKEN_MS_MAX / 2);
    let second = token(&sign_in(&mut world, &old)).unwrap();
    assert_ne!(first, second);
    assert_eq!(tokens(&mut world).len(), TOKENS_MAX);
    assert!(is_good(&mut world, &first));
    assert!(!is_good(&mut world, &old));
    assert!(is_good(&mut world, &second));
    assert!(!is_good(&mut world, &first));
    assert_eq!(tokens(&mut world).len(), 1);
}

#[test]
fn there_are_never_more_than_a_few() {
    let (mut world, _, mut newest) = bobs();
    for _ in 0..40 {
        let mut phone = Device::offline("b", "unused");
        newest = token(&phone.scram2(&mut world, &wishes(REQUEST_TOKEN)).unwrap()).unwrap();
        world.pass(TOKEN_MS_MAX / 3);
        assert!((1..=TOKENS_MAX).contains(&tokens(&mut world).len()));
    }
    assert!(is_good(&mut world, &newest));
}

#[test]
fn a_token_is_for_one_user_agent_one_mechanism_and_one_account() {
    let (mut world, mut phone, token) = bobs();
    drop(Device::online(&mut world, "a", "phone"));
    let mut laptop = Device::offline("b", "unused");
    for (who, condition_expected) in
        [(agent(LAPTOP), "credentials-expired"), (String::new(), "not-authorized")]
    {
        let failure = laptop.fast(&mut world, &token, &format!("{who}{BIND}{FAST}")).unwrap();
        assert_eq!(condition(&failure), condition_expected, "{who}");
    }
    let without = laptop.fast(&mut world, &token, &wishes("")).unwrap();
    assert_eq!(condition(&without), "malformed-request", "nobody said that it is a token");
    let first = ht::initial_response("b", &token);
    phone.open(&mut world, "");
    for mechanism in ["HT-SHA-256-EXPR", "HT-SHA-512-NONE"] {
        let failure = phone.authenticate_with(&mut world, mechanism, &first, &wishes(FAST)).unwrap();
        assert_eq!(condition(&failure), "invalid-mechanism");
    }
    let other = ht::initial_response("a", &token);
    let failure = phone.authenticate_with(&mut world, ht::MECHANISM, &other, &wishes(FAST)).unwrap();
    assert_eq!(condition(&failure), "not-authorized");
    let elsewhere = Device::offline("a", "unused").fast(&mut world, &token, &wishes(FAST)).unwrap();
    assert_eq!(condition(&elsewhere), "credentials-expired");
    let nobody = Device::offline("nobody", "unused").fast(&mut world, &token, &wishes(FAST)).unwrap();
    assert_eq!(condition(&nobody), "credentials-expired", "nor is it said who has an account");
    assert!(is_good(&mut world, &token));
}

#[test]
fn wrong_tokens_are_counted_like_wrong_passwords() {
    let (mut world, ..) = bobs();
    let mut thief = Device::offline("b", "unused");
    thief.open(&mut world, "");
    let wrong = ht::initial_response("b", "guess");
    for n in 1..=AUTHENTICATION_FAILURES_MAX {
        let failure = thief.authenticate_with(&mut world, ht::MECHANISM, &wrong, &wishes(FAST)).unwrap();
        assert_eq!(condition(&failure), "credentials-expired");
        assert_eq!(thief.connected(&world), n < AUTHENTICATION_FAILURES_MAX);
    }
}

#[test]
fn a_request_that_was_counted_cannot_be_sent_again() {
    let (mut world, _, token) = bobs();
    let attempt = |world: &mut World, count: &str| {
        let mut phone = Device::offline("b", "unused");
        phone.fast(world, &token, &fast(count)).unwrap()
    };
    assert_eq!(attempt(&mut world, "count='0'").name, "success");
    assert_eq!(attempt(&mut world, "count='7'").name, "success");
    world.crash(&jid("b"));
    for count in ["count='7'", "count='3'", "count='0'"] {
        assert_eq!(condition(&attempt(&mut world, count)), "not-authorized", "{count}");
    }
    assert_eq!(condition(&attempt(&mut world, "count='many'")), "malformed-request");
    assert_eq!(attempt(&mut world, "count='8'").name, "success");
    assert_eq!(attempt(&mut world, "").name, "success", "counting is for those who need it");
    assert_eq!(condition(&attempt(&mut world, "count='8'")), "not-authorized");
}

#[test]
fn a_user_agent_can_have_its_tokens_forgotten() {
    let (mut world, _, old) = bobs();
    world.pass(DAY);
    let new = token(&sign_in(&mut world, &old)).unwrap();
    let mut phone = Device::offline("b", "unused");
    let success = phone.fast(&mut world, &old, &fast("invalidate='true'")).unwrap();
    assert_eq!((success.name.as_str(), token(&success)), ("success", None), "none is due then");
    assert!(phone.connected(&world), "and it may go on");
    assert_eq!(tokens(&mut world), []);
    assert!(!is_good(&mut world, &old) && !is_good(&mut world, &new));

    let asked = format!("{}{REQUEST_TOKEN}", wishes(""));
    let another = token(&phone.scram2(&mut world, &asked).unwrap()).unwrap();
    let both = format!("{}{REQUEST_TOKEN}", fast("invalidate='1'"));
    let success = phone.fast(&mut world, &another, &both).unwrap();
    let last = token(&success).expect("it was asked for");
    assert!(!is_good(&mut world, &another) && is_good(&mut world, &last));
}

#[test]
fn tokens_end_with_the_password_they_were_got_with() {
    let (mut world, _, token) = bobs();
    let changed = &mut world.disk(&jid("b")).rows.account.as_mut().unwrap().sha256;
    *changed =
        crate::sasl::ServerKeys::derive(crate::sasl::Mechanism::ScramSha256, "new", b"other salt", 4096);
    world.crash(&jid("b"));
    assert!(!is_good(&mut world, &token));
}

#[test]
fn a_token_leaves_when_it_is_on_disk_and_not_before() {
    let (mut world, mut phone, old) = bobs();
    world.pass(DAY);
    phone.open(&mut world, "");
    world.slow_disk = true;
    let first = ht::initial_response("b", &old);
    let answer = phone.authenticate_with(&mut world, ht::MECHANISM, &first, &wishes(FAST));
    assert_eq!(answer, None);
    world.settle(false);
    phone.drain(&mut world);
    assert!(
        phone.nonzas.iter().all(|e| e.child(ns::FAST, "token").is_none() || token(e) == Some(old.clone()))
    );
    world.crash(&jid("b"));
    assert!(is_good(&mut world, &old));
}

/// A token is replaced, and its successor used, with the power cut at a step. Whoever did not hear
/// tries again with what he has.
fn rotation(crash_at: Option<usize>) -> (usize, usize) {
    let (mut world, _, old) = bobs();
    world.pass(DAY);
    let begun = world.steps;
    world.crash_at = crash_at.map(|step| begun + step);
    let mut held = old;
    for round in 0..4 {
        let mut phone = Device::offline("b", "unused");
        let answer = match phone.fast(&mut world, &held, &wishes(FAST)) {
            Some(answer) => answer,
            None => phone.fast(&mut world, &held, &wishes(FAST)).expect("the power is back"),
        };
        assert_eq!(answer.name, "success", "crash at {crash_at:?}, round {round}: {}", answer.to_frame());
        held = token(&answer).unwrap_or(held);
    }
    let steps = world.steps - begun;
    assert_eq!(tokens(&mut world).len(), 1, "crash at {crash_at:?}");
    assert_eq!(world.disk(&jid("b")).rows.devices.len(), 2, "crash at {crash_at:?}");
    (steps, world.crashes)
}

#[test]
fn a_crash_at_any_step_of_a_replacement_locks_nobody_out() {
    let (steps, _) = rotation(None);
    assert!(steps > 10, "{steps}");
    let crashes: usize = (1..=steps).map(|step| rotation(Some(step)).1).sum();
    assert_eq!(crashes, steps);
}
