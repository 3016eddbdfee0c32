//! A node's configuration (XEP-0060 §8): what can be chosen, what cannot, and who asks for it.

use super::{Done, Node, Refusal, RelayEngine, named};
use crate::limits::{PEP_NODE_ITEMS_MAX, PEP_NODES_MAX};
use crate::relay::rows::{Access, NodeRow};
use crate::wire::error::StanzaError;
use crate::wire::form::{self, Form};
use crate::wire::{Element, ns};

/// Fields that every node has alike. Whoever asks for something else is refused.
const FIXED: [(&str, &str, &str); 9] = [
    ("boolean", "pubsub#deliver_notifications", "1"),
    ("boolean", "pubsub#deliver_payloads", "1"),
    ("boolean", "pubsub#notify_config", "0"),
    ("boolean", "pubsub#notify_delete", "1"),
    ("boolean", "pubsub#purge_offline", "0"),
    ("boolean", "pubsub#subscribe", "1"),
    ("list-single", "pubsub#notification_type", "headline"),
    ("list-single", "pubsub#node_type", "leaf"),
    ("list-single", "pubsub#publish_model", "publishers"),
];

/// Why a field cannot be set.
enum Unfit {
    Unknown,
    Unacceptable,
}

impl NodeRow {
    /// A node that nobody has configured: as XEP-0163 §5 has it, but for what is nobody else's
    /// business. Whoever forgets to say so must not publish it to all contacts.
    pub(super) fn by_default(node: &str) -> Self {
        let private = matches!(node, ns::DISPLAYED | ns::BOOKMARKS | ns::BOOKMARKS_OLD);
        Self {
            node: node.to_owned(),
            access: if private { Access::Whitelist } else { Access::Presence },
            persist: true,
            items_max: if private { None } else { Some(1) },
            send_last: !private,
            notify_retract: private,
        }
    }

    /// How many items it keeps.
    pub(super) fn room(&self) -> usize {
        let max = self.items_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PEP_NODE_ITEMS_MAX);
        max.min(PEP_NODE_ITEMS_MAX)
    }

    fn fields(&self) -> Vec<(&'static str, &'static str, String)> {
        let access = match self.access {
            Access::Presence => "presence",
            Access::Open => "open",
            Access::Whitelist => "whitelist",
        };
        let flag = |on: bool| if on { "1" } else { "0" }.to_owned();
        let items_max = self.items_max.map_or("max".to_owned(), |max| max.to_string());
        let send_last = if self.send_last { "on_sub_and_presence" } else { "never" };
        let mut fields = vec![
            ("list-single", "pubsub#access_model", access.to_owned()),
            ("boolean", "pubsub#persist_items", flag(self.persist)),
            ("text-single", "pubsub#max_items", items_max),
            ("list-single", "pubsub#send_last_published_item", send_last.to_owned()),
            ("boolean", "pubsub#notify_retract", flag(self.notify_retract)),
        ];
        fields.extend(FIXED.iter().map(|(kind, name, value)| (*kind, *name, (*value).to_owned())));
        fields
    }

    /// The form that shows it (`kind`: one to be filled in, or a `result`).
    pub(super) fn form(&self, kind: &str, form_type: &str) -> Element {
        let fields = self.fields();
        form::form(
            kind,
            form_type,
            fields.iter().map(|(kind, name, value)| form::field(kind, name, &[value])),
        )
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Unfit> {
        if let Some((kind, _, fixed)) = FIXED.iter().find(|(_, known, _)| *known == name) {
            let same = if *kind == "boolean" { flag(value) == flag(fixed) } else { value == *fixed };
            return if same { Ok(()) } else { Err(Unfit::Unacceptable) };
        }
        match name {
            "pubsub#access_model" => {
                self.access = match value {
                    "presence" => Access::Presence,
                    "open" => Access::Open,
                    "whitelist" => Access::Whitelist,
                    _ => return Err(Unfit::Unacceptable),
                }
            }
            "pubsub#persist_items" => self.persist = flag(value).ok_or(Unfit::Unacceptable)?,
            "pubsub#notify_retract" => self.notify_retract = flag(value).ok_or(Unfit::Unacceptable)?,
            "pubsub#max_items" => {
                let number = value.parse().ok().filter(|max| (1..=PEP_NODE_ITEMS_MAX as u64).contains(max));
                self.items_max = if value == "max" { None } else { Some(number.ok_or(Unfit::Unacceptable)?) };
            }
            "pubsub#send_last_published_item" => {
                self.send_last = match value {
                    "never" => false,
                    // A subscription here is the presence.
                    "on_sub" | "on_sub_and_presence" => true,
                    _ => return Err(Unfit::Unacceptable),
                }
            }
            _ => return Err(Unfit::Unknown),
        }
        Ok(())
    }

    /// Takes over what a form chooses. What it does not know it leaves (XEP-0004 §3.1).
    fn choose(&mut self, x: Option<&Element>) -> Result<(), Refusal> {
        let Some(form) = x.map(Form::read) else { return Ok(()) };
        if form.form_type().is_some_and(|form_type| form_type != ns::PUBSUB_CONFIG) {
            return Err(StanzaError::BAD_REQUEST.into());
        }
        for name in form.names() {
            if let Err(Unfit::Unacceptable) = self.set(name, form.value(name).unwrap_or_default()) {
                // XEP-0060 §8.2.5.2
                return Err(StanzaError::NOT_ACCEPTABLE.into());
            }
        }
        Ok(())
    }

    /// XEP-0060 §7.1.5: each option is a precondition for a node that is there (`false`), and the
    /// configuration of one that is not. An option that we do not know cannot be met.
    pub(super) fn meet(&mut self, x: &Element, exists: bool) -> Result<(), Refusal> {
        let form = Form::read(x);
        if form.form_type() != Some(ns::PUBSUB_OPTIONS) {
            return Err(StanzaError::BAD_REQUEST.into());
        }
        let before = self.clone();
        let set = |name: &str| self.set(name, form.value(name).unwrap_or_default()).is_ok();
        let all = form.names().all(set);
        if !all || exists && *self != before {
            return Err(Refusal::because(StanzaError::CONFLICT, "precondition-not-met"));
        }
        Ok(())
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// XEP-0060 §8.3
pub(super) fn defaults() -> Element {
    let form = NodeRow::by_default("").form("form", ns::PUBSUB_CONFIG);
    Element::new(ns::PUBSUB_OWNER, "pubsub").with(Element::new(ns::PUBSUB_OWNER, "default").with(form))
}

impl RelayEngine {
    /// There is room for one more node.
    pub(super) fn room_for_node(&self) -> Result<(), Refusal> {
        if self.pep.nodes.len() >= PEP_NODES_MAX {
            return Err(Refusal::because(StanzaError::RESOURCE_CONSTRAINT, "max-nodes-exceeded"));
        }
        Ok(())
    }

    /// XEP-0060 §8.1
    pub(super) fn create(&mut self, request: &Element) -> Result<Done, Refusal> {
        let create = request.child(ns::PUBSUB, "create").ok_or(StanzaError::BAD_REQUEST)?;
        let instant = create.attr("node").is_none().then(|| self.entropy.token());
        let name = match &instant {
            Some(name) => name.as_str(),
            None => named(create)?,
        };
        if self.pep.nodes.contains_key(name) {
            return Err(StanzaError::CONFLICT.into());
        }
        self.room_for_node()?;
        let mut row = NodeRow::by_default(name);
        let configure = request.child(ns::PUBSUB, "configure");
        row.choose(configure.and_then(|configure| configure.child(ns::DATA_FORMS, "x")))?;
        let op = self.pep.put_node(row);
        self.gate.write(op);
        let created = Element::new(ns::PUBSUB, "create").with_attr("node", name);
        Ok(Element::new(ns::PUBSUB, "pubsub").with(created).into())
    }

    /// XEP-0060 §8.2
    pub(super) fn configuration(&self, configure: &Element) -> Result<Element, Refusal> {
        let Node { row, .. } = self.pep.node(named(configure)?)?;
        let form = row.form("form", ns::PUBSUB_CONFIG);
        let configure = Element::new(ns::PUBSUB_OWNER, "configure").with_attr("node", row.node.as_str());
        Ok(Element::new(ns::PUBSUB_OWNER, "pubsub").with(configure.with(form)))
    }

    /// XEP-0060 §8.2.4
    pub(super) fn configure(&mut self, configure: &Element) -> Result<Done, Refusal> {
        let mut row = self.pep.node(named(configure)?)?.row.clone();
        let x = configure.child(ns::DATA_FORMS, "x").ok_or(StanzaError::BAD_REQUEST)?;
        if x.attr("type") == Some("cancel") {
            return Ok(Done::SILENT);
        }
        row.choose(Some(x))?;
        let name = row.node.clone();
        let op = self.pep.put_node(row);
        self.gate.write(op);
        self.trim(&name);
        Ok(Done::SILENT)
    }

    /// XEP-0060 §8.4
    pub(super) fn delete(&mut self, delete: &Element) -> Result<Done, Refusal> {
        let name = named(delete)?;
        let access = self.pep.node(name)?.row.access;
        let op = self.pep.delete_node(name);
        self.gate.write(op);
        Ok(Done::told(access, Element::new(ns::PUBSUB_EVENT, "delete").with_attr("node", name)))
    }

    /// XEP-0060 §8.5
    pub(super) fn purge(&mut self, purge: &Element) -> Result<Done, Refusal> {
        let name = named(purge)?;
        let row = self.pep.node(name)?.row.clone();
        let access = row.access;
        let ops = [self.pep.delete_node(name), self.pep.put_node(row)];
        ops.into_iter().for_each(|op| self.gate.write(op));
        Ok(Done::told(access, Element::new(ns::PUBSUB_EVENT, "purge").with_attr("node", name)))
    }

    /// Lets go of the oldest items that a node has no room for.
    pub(super) fn trim(&mut self, name: &str) {
        let Some(node) = self.pep.nodes.get(name) else { return };
        let excess = node.items.len().saturating_sub(node.row.room());
        let oldest: Vec<String> = match excess {
            0 => Vec::new(),
            _ => node.in_order().into_iter().take(excess).map(str::to_owned).collect(),
        };
        for id in oldest {
            let op = self.pep.delete_item(name, &id);
            self.gate.write(op);
        }
    }
}
