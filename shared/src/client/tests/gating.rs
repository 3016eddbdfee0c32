//! One test for each line of the gating table that binds the client.

use super::*;

#[test]
fn an_ack_waits_for_the_rows_and_the_counter_it_tells() {
    let mut world = World::online();
    world.stuck = true;
    world.deliver(&from_bob("b1", "hi"));
    world.frame("<r xmlns='urn:xmpp:sm:3'/>");
    assert!(world.sent_with("<a ").is_empty());
    world.stuck = false;
    world.settle();
    let handled = world.store.session.as_ref().unwrap().handled;
    assert_eq!(world.sent, [format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>")]);
    assert_eq!(world.relay.confirmed, [1]);
}

#[test]
fn the_h_of_a_resume_is_what_is_on_disk() {
    let mut world = World::online();
    world.deliver(&from_bob("b1", "hi"));
    let durable = world.store.session.clone().unwrap().handled;
    world.stuck = true;
    world.deliver(&from_bob("b2", "ho"));
    world.reload();
    assert!(world.sent_with("<resume ")[0].contains(&format!("h='{durable}'")));
    assert!(world.store.messages.len() == 2 && world.engine.is_online());
}

#[test]
fn a_message_leaves_after_its_outbox_row() {
    let mut world = World::online();
    world.stuck = true;
    world.command(send("o1", "hello"));
    assert!(world.sent.is_empty());
    world.stuck = false;
    world.settle();
    assert_eq!(world.sent_with("<body>hello</body>").len(), 1);
}

#[test]
fn a_receipt_leaves_after_the_message_it_confirms() {
    let mut world = World::online();
    world.command(Command::Accept(jid("bob@d")));
    world.stuck = true;
    world.deliver(&from_bob("b1", "hi"));
    assert!(world.sent_with("received").is_empty());
    world.stuck = false;
    world.settle();
    assert_eq!(world.sent_with("<received xmlns='urn:xmpp:receipts' id='b1'/>").len(), 1);
}

#[test]
fn a_displayed_marker_leaves_after_its_row() {
    let mut world = World::online();
    world.command(Command::Accept(jid("bob@d")));
    world.deliver(&from_bob("b1", "hi"));
    world.stuck = true;
    world.command(world.store.seen("bob@d"));
    assert!(world.sent_with("displayed").is_empty());
    world.stuck = false;
    world.settle();
    assert_eq!(world.sent_with("<displayed xmlns='urn:xmpp:chat-markers:0' id='b1'/>").len(), 1);
    assert_eq!(world.store.conversations[&jid("bob@d")].unread, 0);
}

#[test]
fn a_row_goes_in_the_batch_that_records_why() {
    let mut world = World::online();
    world.relay.accepts = false;
    world.command(send("o1", "hello"));
    world.stuck = true;
    world.relay.ack();
    world.settle();
    let (_, _, ops) = world.pending.front().unwrap();
    assert!(ops.iter().any(|op| matches!(op, Op::DeleteOutbox(_))));
    assert!(ops.iter().any(|op| matches!(op, Op::PutMessage(row) if row.status == Status::Sent)));
}

#[test]
fn sent_delivered_and_read_are_shown_after_the_status_row() {
    let mut world = World::online();
    world.command(send("o1", "hello"));
    for (status, stanza) in
        [(Status::Delivered, receipt_from("bob@d/x", "o1")), (Status::Read, displayed_from("bob@d/x", "o1"))]
    {
        world.stuck = true;
        world.deliver(&stanza);
        let shown = |event: &Event| matches!(event, Event::Message(row) if row.status == status);
        assert_eq!(world.told(shown), 0);
        world.stuck = false;
        world.settle();
        assert_eq!(world.told(shown), 1);
    }
}

#[test]
fn typing_waits_for_nothing_but_its_place() {
    let mut world = World::online();
    world.command(Command::Accept(jid("bob@d")));
    world.command(Command::Typing(jid("bob@d"), true));
    assert_eq!(world.sent_with("<composing").len(), 1);
    world.stuck = true;
    world.command(send("o1", "hello"));
    world.command(Command::Typing(jid("bob@d"), true));
    assert_eq!(world.sent.len(), 1, "what stands behind a gated message waits with it");
    world.stuck = false;
    world.settle();
    assert!(world.sent[1].contains("hello") && world.sent[2].contains("<composing"));
}

#[test]
fn a_failed_commit_ends_the_engine() {
    let mut world = World::online();
    world.stuck = true;
    world.command(send("o1", "hello"));
    let (_, no, _) = world.pending.pop_front().unwrap();
    let link = world.link.unwrap();
    world.handle(Input::CommitFailed(no));
    assert_eq!(world.engine.poll(), Output::Close(link));
    assert_eq!(world.engine.poll(), Output::WakeAt(None));
    world.handle(Input::Command(send("o2", "more")));
    world.handle(Input::Wake);
    assert_eq!(world.engine.poll(), Output::WakeAt(None));
    world.reload();
    assert!(world.engine.is_online() && world.store.messages.is_empty());
}

#[test]
fn a_failed_commit_closes_the_link_there_is_and_no_other() {
    let mut world = World::online();
    let link = world.link.unwrap();
    world.stuck = true;
    world.command(send("o1", "hello"));
    let (_, no, _) = world.pending.pop_front().unwrap();
    // The link is given up and another one dialled, but both wait for the disk.
    world.handle(Input::Frame(link, "no XML"));
    world.handle(Input::Command(Command::Reconnect));
    world.handle(Input::CommitFailed(no));
    assert_eq!(world.engine.poll(), Output::Close(link));
    assert_eq!(world.engine.poll(), Output::WakeAt(None));
}

#[test]
fn a_tab_that_cannot_write_takes_no_stream_from_the_one_that_can() {
    for bound_anew in [false, true] {
        let mut world = World::online();
        world.frame("<r xmlns='urn:xmpp:sm:3'/>");
        assert!(!world.engine.session_unwritten, "there is nothing new to write");
        world.cut();
        if bound_anew {
            world.engine.session.sm_id.clear();
        }
        world.stuck = true;
        world.advance(5000);
        assert_eq!(world.sent_with("<open ").len(), 2, "authenticated");
        let first = if bound_anew { "<bind " } else { "<resume " };
        assert!(world.sent_with(first).is_empty(), "it waits for the row of the session");
        let (_, no, ops) = world.pending.pop_front().unwrap();
        assert!(matches!(ops[..], [Op::PutSession(_)]), "{ops:?}");
        world.input(Input::CommitFailed(no));
        assert!(world.sent_with("<resume ").is_empty() && world.sent_with("<bind ").is_empty());
        assert_eq!(world.link, None);

        world.reload();
        world.advance(5000);
        assert!(world.engine.is_online() && !world.sent_with("<resume ").is_empty());
    }
}
