//! A small tree of XML: what one frame holds. Prefixes are gone; names carry their namespace.

use super::ns;
use std::fmt::Write as _;

/// An element with its namespace, attributes and children.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// Local name.
    pub name: String,
    /// Namespace, never absent on the wire: an undeclared one is the empty text.
    pub ns: String,
    attributes: Vec<Attribute>,
    /// What it holds, in order.
    pub nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Attribute {
    ns: String,
    name: String,
    value: String,
}

/// What stands inside an element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Character data, unescaped.
    Text(String),
}

/// Of `xml:lang` and its like (Namespaces in XML 1.0 §3).
pub(super) const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Of `xmlns:` itself, which nothing may be bound to (there).
pub(super) const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

impl Element {
    /// An empty element.
    pub fn new(ns: &str, name: &str) -> Self {
        Self { name: name.to_owned(), ns: ns.to_owned(), attributes: Vec::new(), nodes: Vec::new() }
    }

    /// Whether it is the element of this namespace and name.
    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// The value of an attribute without namespace.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name == name && a.ns.is_empty()).map(|a| a.value.as_str())
    }

    /// Sets or replaces an attribute without namespace.
    pub fn set_attr(&mut self, name: &str, value: impl Into<String>) {
        self.set_attr_ns("", name, value.into());
    }

    pub(super) fn set_attr_ns(&mut self, ns: &str, name: &str, value: String) {
        match self.attributes.iter_mut().find(|a| a.name == name && a.ns == ns) {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(Attribute { ns: ns.to_owned(), name: name.to_owned(), value }),
        }
    }

    /// Sets `xml:lang`.
    pub fn set_lang(&mut self, lang: &str) {
        self.set_attr_ns(XML, "lang", lang.to_owned());
    }

    /// The value of `xml:lang`.
    pub fn lang(&self) -> Option<&str> {
        self.attributes.iter().find(|a| a.name == "lang" && a.ns == XML).map(|a| a.value.as_str())
    }

    /// Takes an attribute without namespace away.
    pub fn remove_attr(&mut self, name: &str) {
        self.attributes.retain(|a| a.name != name || !a.ns.is_empty());
    }

    /// Builder form of [`Element::set_attr`].
    #[must_use]
    pub fn with_attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// Adds a child at the end.
    pub fn push(&mut self, child: Element) {
        self.nodes.push(Node::Element(child));
    }

    /// Builder form of [`Element::push`].
    #[must_use]
    pub fn with(mut self, child: Element) -> Self {
        self.push(child);
        self
    }

    /// Builder form for character data.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.nodes.push(Node::Text(text.into()));
        self
    }

    /// Child elements, in order.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(child) => Some(child),
            Node::Text(_) => None,
        })
    }

    /// The first child of this namespace and name.
    pub fn child(&self, ns: &str, name: &str) -> Option<&Element> {
        self.children().find(|child| child.is(ns, name))
    }

    /// Takes away every child element for which the test holds.
    pub fn remove_children(&mut self, mut test: impl FnMut(&Element) -> bool) {
        self.nodes.retain(|node| !matches!(node, Node::Element(child) if test(child)));
    }

    /// The character data directly inside, joined.
    pub fn text(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// The element as one frame: every namespace declared in it (RFC 7395 §3.3.3).
    pub fn to_frame(&self) -> String {
        let mut out = String::with_capacity(256);
        // Old clients look for the prefix that RFC 6120 uses in its examples.
        if self.ns == ns::STREAMS {
            self.write(&mut out, "", "stream:");
        } else {
            self.write(&mut out, "", "");
        }
        out
    }

    fn write(&self, out: &mut String, inherited: &str, prefix: &str) {
        let _ = write!(out, "<{prefix}{}", self.name);
        let default = if prefix.is_empty() {
            if self.ns != inherited {
                push_attribute(out, "xmlns", &self.ns);
            }
            self.ns.as_str()
        } else {
            push_attribute(out, "xmlns:stream", &self.ns);
            inherited
        };
        for (index, attribute) in self.attributes.iter().enumerate() {
            match attribute.ns.as_str() {
                "" => push_attribute(out, &attribute.name, &attribute.value),
                XML => push_attribute(out, &format!("xml:{}", attribute.name), &attribute.value),
                foreign => {
                    push_attribute(out, &format!("xmlns:a{index}"), foreign);
                    push_attribute(out, &format!("a{index}:{}", attribute.name), &attribute.value);
                }
            }
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        for node in &self.nodes {
            match node {
                Node::Element(child) => child.write(out, default, ""),
                Node::Text(text) => push_escaped(out, text),
            }
        }
        let _ = write!(out, "</{prefix}{}>", self.name);
    }
}

fn push_attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    push_escaped(out, value);
    out.push('\'');
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            // A bare one would be read back as a space (attribute) or a line feed (text).
            '\r' => out.push_str("&#xd;"),
            '\n' => out.push_str("&#xa;"),
            '\t' => out.push_str("&#x9;"),
            // What XML 1.0 cannot hold (§2.2) is shown as missing, never sent as is.
            c if !xml_char(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

fn xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
