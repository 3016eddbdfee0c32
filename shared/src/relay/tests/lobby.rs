//! A client without the account hint.

use super::world::jid;
use crate::relay::lobby::{Input, Lobby, Output};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='d' version='1.0'/>";
/// `n,,n=alice,r=x`
const AUTH: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj1hbGljZSxyPXg=</auth>";

fn greeted() -> Lobby {
    let mut lobby = Lobby::new("d", true, "token".to_owned());
    let greeting = lobby.handle(Input::FromClient(OPEN));
    assert!(matches!(&greeting[..], [Output::ToClient(open), Output::ToClient(features)]
        if open.contains("id='token'") && features.contains("SCRAM-SHA-256")));
    lobby
}

fn register(name: &str) -> String {
    format!(
        "<iq xmlns='jabber:client' type='set' id='1'><query xmlns='jabber:iq:register'>\
         <username>{name}</username><password>x</password></query></iq>"
    )
}

#[test]
fn the_account_is_known_from_the_first_authentication_and_then_frames_are_copied() {
    let mut lobby = greeted();
    assert_eq!(lobby.handle(Input::FromClient(AUTH)), [Output::Attach(jid("alice"))]);
    let attached = lobby.handle(Input::Attached);
    assert!(matches!(&attached[..], [Output::ToMailbox(open), Output::ToMailbox(auth)]
        if open.starts_with("<open") && auth == AUTH));
    assert_eq!(lobby.handle(Input::FromMailbox("<open/>")), []);
    assert_eq!(lobby.handle(Input::FromMailbox("<features/>")), []);
    for frame in ["<challenge/>", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", "anything"] {
        assert_eq!(lobby.handle(Input::FromMailbox(frame)), [Output::ToClient(frame.to_owned())]);
    }
    assert_eq!(lobby.handle(Input::FromClient("unread")), [Output::ToMailbox("unread".to_owned())]);
    assert_eq!(lobby.handle(Input::MailboxDown), [Output::Close(1001)]);
}

#[test]
fn another_name_means_another_mailbox_until_somebody_is_authenticated() {
    let mut lobby = greeted();
    assert_eq!(lobby.handle(Input::FromClient(&register("taken"))), [Output::Attach(jid("taken"))]);
    assert_eq!(lobby.handle(Input::Attached).len(), 2);
    assert_eq!(lobby.handle(Input::FromClient(&register("alice"))), [Output::Attach(jid("alice"))]);
    assert_eq!(lobby.handle(Input::FromClient(AUTH)), [], "waits with the registration");
    assert_eq!(lobby.handle(Input::Attached).len(), 3);
}

#[test]
fn the_registration_form_needs_no_mailbox() {
    let mut lobby = greeted();
    let form = "<iq xmlns='jabber:client' type='get' id='1'><query xmlns='jabber:iq:register'/></iq>";
    assert!(matches!(&lobby.handle(Input::FromClient(form))[..], [Output::ToClient(answer)]
        if answer.contains("type='result'") && answer.contains("<username/>")));
}

#[test]
fn wrong_frames_are_ended_as_in_a_mailbox() {
    for (frame, condition) in [
        ("<message xmlns='jabber:client'/>", "not-authorized"),
        ("<x xmlns='u'/>", "unsupported-stanza-type"),
        ("<a/><b/>", "not-well-formed"),
        ("<a><!-- --></a>", "restricted-xml"),
    ] {
        let outputs = greeted().handle(Input::FromClient(frame));
        assert!(
            matches!(&outputs[..], [Output::ToClient(error), Output::ToClient(_), Output::Close(1000)]
            if error.contains(condition)),
            "{frame}: {outputs:?}"
        );
    }
    let mut fresh = Lobby::new("d", true, "token".to_owned());
    let outputs = fresh.handle(Input::FromClient("<a/>"));
    assert!(matches!(&outputs[..], [Output::ToClient(open), Output::ToClient(error), ..]
        if open.starts_with("<open") && error.contains("bad-format")));
    assert_eq!(greeted().handle(Input::BinaryFromClient), [Output::Close(1003)]);
}

#[test]
fn who_names_no_account_is_not_waited_for() {
    let outputs = greeted().handle(Input::TooLate);
    assert!(matches!(&outputs[..], [Output::ToClient(error), Output::ToClient(_), Output::Close(1000)]
        if error.contains("connection-timeout")));
    let mut named = greeted();
    named.handle(Input::FromClient(AUTH));
    assert_eq!(named.handle(Input::TooLate), []);
}

#[test]
fn what_waits_for_a_mailbox_is_bounded() {
    let mut lobby = greeted();
    lobby.handle(Input::FromClient(AUTH));
    let outputs: Vec<Output> = (0..20).flat_map(|_| lobby.handle(Input::FromClient(AUTH))).collect();
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::ToClient(text) if text.contains("policy-violation")))
    );
    assert!(outputs.contains(&Output::Close(1000)));
}

const SASL2: &str = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'>\
    <initial-response>biwsbj1hbGljZSxyPXg=</initial-response></authenticate>";
/// `alice`, NUL and a proof.
const FAST: &str = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='HT-SHA-256-NONE'>\
    <initial-response>YWxpY2UAcHJvb2Y=</initial-response></authenticate>";

fn to_client(text: &str) -> [Output; 1] {
    [Output::ToClient(text.to_owned())]
}

#[test]
fn the_account_is_known_from_a_password_or_a_token_in_the_newer_way_too() {
    for authenticate in [SASL2, FAST] {
        let mut lobby = Lobby::new("d", true, "token".to_owned());
        lobby.handle(Input::FromClient(&OPEN.replace("to=", "from='alice@d' to=")));
        assert_eq!(lobby.handle(Input::FromClient(authenticate)), [Output::Attach(jid("alice"))]);
        let attached = lobby.handle(Input::Attached);
        assert!(
            matches!(&attached[..], [Output::ToMailbox(open), Output::ToMailbox(said)]
            if open.contains("from='alice@d'") && said == authenticate),
            "{attached:?}"
        );
        assert_eq!(lobby.handle(Input::FromMailbox("<open/>")), []);
        assert_eq!(lobby.handle(Input::FromMailbox("<features/>")), []);
        let success = "<success xmlns='urn:xmpp:sasl:2'/>";
        assert_eq!(lobby.handle(Input::FromMailbox(success)), to_client(success));
        assert_eq!(lobby.handle(Input::FromClient("unread")), [Output::ToMailbox("unread".to_owned())]);
    }
}

#[test]
fn an_exchange_with_one_mailbox_is_not_left_for_another() {
    let mut lobby = greeted();
    lobby.handle(Input::FromClient(SASL2));
    lobby.handle(Input::Attached);
    lobby.handle(Input::FromMailbox("<open/>"));
    lobby.handle(Input::FromMailbox("<features/>"));
    let other = register("bob");
    assert_eq!(lobby.handle(Input::FromClient(&other)), [Output::ToMailbox(other.clone())], "which ends it");
    let failure = "<failure xmlns='urn:xmpp:sasl:2'/>";
    assert_eq!(lobby.handle(Input::FromMailbox(failure)), to_client(failure));
    assert_eq!(lobby.handle(Input::FromClient(FAST)), [Output::ToMailbox(FAST.to_owned())]);
    assert_eq!(lobby.handle(Input::FromMailbox(failure)), to_client(failure));
    assert_eq!(lobby.handle(Input::FromClient(&other)), [Output::Attach(jid("bob"))], "after it, one may");
}

#[test]
fn who_names_nobody_in_the_newer_way_is_told_why() {
    for (mechanism, first, condition) in [
        ("SCRAM-SHA-256", "<initial-response>*</initial-response>", "incorrect-encoding"),
        ("SCRAM-SHA-256", "<initial-response>YWxpY2U=</initial-response>", "malformed-request"),
        ("HT-SHA-256-NONE", "<initial-response>YWxpY2U=</initial-response>", "malformed-request"),
        ("SCRAM-SHA-256", "", "malformed-request"),
        ("PLAIN", "<initial-response>AGFsaWNlAHg=</initial-response>", "invalid-mechanism"),
    ] {
        let frame =
            format!("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>{first}</authenticate>");
        let failure = format!(
            "<failure xmlns='urn:xmpp:sasl:2'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>"
        );
        assert_eq!(greeted().handle(Input::FromClient(&frame)), to_client(&failure), "{frame}");
    }
    let outputs = greeted().handle(Input::FromClient("<response xmlns='urn:xmpp:sasl:2'/>"));
    assert!(matches!(&outputs[..], [Output::ToClient(error), ..] if error.contains("bad-format")));
}
