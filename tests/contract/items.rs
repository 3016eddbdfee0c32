//! What an account publishes: nodes and their items.

use crate::draw::{EXACT_MAX, ODD_TEXTS, long};
use crate::mailbox::{Ask, Mailbox};
use crate::mailbox_rows::{item, item_row, node_row};
use crate::script::Script;
use shared::limits::FRAME_BYTES_MAX;
use shared::relay::rows::{Access, ItemRow, NodeRow, Op};

pub fn published<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("items are read by name, and go with their node");
    let asked =
        |node: &str, ids: &[&str]| Ask::Items(node.into(), ids.iter().map(|id| (*id).into()).collect());
    let all = |script: &mut Script<S>| {
        for node in ["a", "b", "A", ""] {
            script
                .ask(asked(node, &["x", "y", "X", "", "gone"]))
                .ask(asked(node, &["y"]))
                .ask(asked(node, &[]));
        }
    };
    all(&mut script);
    script.commit(vec![
        Op::PutNode(node_row("b")),
        Op::PutNode(node_row("a")),
        item("b", "x", 1),
        item("a", "y", 2),
    ]);
    script.commit(vec![item("a", "x", 3), item("b", "y", 4), item("a", "X", 5), item("a", "", 6)]).reopen();
    all(&mut script);
    script.commit(vec![item("a", "x", 7), Op::DeleteItem("a".into(), "y".into())]);
    script.commit(vec![Op::DeleteItem("b".into(), "gone".into()), Op::DeleteNode("gone".into())]);
    all(&mut script);
    let other = NodeRow { items_max: None, access: Access::Whitelist, ..node_row("b") };
    script.commit(vec![Op::PutNode(other), Op::DeleteNode("a".into())]).reopen();
    all(&mut script);
    // A node that comes again has nothing of what was in it.
    script.commit(vec![Op::PutNode(node_row("a")), item("a", "new", 8), Op::DeleteNode("b".into())]).reopen();
    all(&mut script);
    script.refuse(vec![Op::DeleteNode("a".into()), item("a", "new", EXACT_MAX + 1)]).reopen();
    let names = ODD_TEXTS
        .iter()
        .zip(10..)
        .map(|(name, order)| Op::PutItem(ItemRow { payload: (*name).into(), ..item_row(name, name, order) }));
    script.commit(names.collect()).reopen();
    for name in ODD_TEXTS {
        script.ask(asked(name, &ODD_TEXTS));
    }
    script
}

pub fn many<S: Mailbox>() -> Script<S> {
    let mut script = Script::named("many items are all read, and large ones whole");
    let names: Vec<String> = (0..300).map(|number| format!("item {number:03}")).collect();
    let items = names.iter().zip(1..).map(|(name, order)| item("many", name, order));
    script.commit(items.chain([Op::PutNode(node_row("many"))]).collect()).reopen();
    script.ask(Ask::Items("many".into(), names.clone())).ask(Ask::Items("many".into(), names[..64].into()));
    script.ask(Ask::Items("many".into(), names[..65].into()));
    for (letter, order) in [('x', 400), ('语', 401)] {
        let payload = long(letter, FRAME_BYTES_MAX);
        script.commit(vec![Op::PutItem(ItemRow { payload, ..item_row("large", "item", order) })]).reopen();
        script.ask(Ask::Items("large".into(), vec!["item".into()]));
    }
    script
}
