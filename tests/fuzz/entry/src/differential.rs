//! A second opinion. What our reader takes for one element, a parser by other people takes for
//! the same element: the same names, namespaces, attributes and texts. Where two parsers on the
//! road of a message read different things, one of them can be lied to.

use roxmltree::{Document, ParsingOptions};
use shared::limits::{FRAME_BYTES_MAX, XML_ATTRIBUTES_MAX, XML_BYTES_FACTOR};
use shared::wire::{Element, Node, read_frame};

/// What a document says, in a form in which two parsers can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    ns: String,
    name: String,
    /// Namespace, name, value; sorted.
    attributes: Vec<(String, String, String)>,
    nodes: Vec<Result<Reading, String>>,
}

/// What roxmltree takes a text for.
pub fn opinion(text: &str) -> Result<Reading, roxmltree::Error> {
    let options = ParsingOptions { allow_dtd: false, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)?;
    Ok(reading(document.root_element()))
}

fn reading(node: roxmltree::Node<'_, '_>) -> Reading {
    let name = node.tag_name();
    let mut attributes: Vec<_> = node
        .attributes()
        .map(|a| (a.namespace().unwrap_or_default().to_owned(), a.name().to_owned(), a.value().to_owned()))
        .collect();
    attributes.sort();
    let mut nodes = Vec::new();
    for child in node.children() {
        match (child.is_element(), child.text(), nodes.last_mut()) {
            (true, ..) => nodes.push(Ok(reading(child))),
            // An empty CDATA section is nothing to us.
            (false, Some(""), _) | (false, None, _) => {}
            (false, Some(text), Some(Err(before))) => *before = format!("{before}{text}"),
            (false, Some(text), _) => nodes.push(Err(text.to_owned())),
        }
    }
    Reading {
        ns: name.namespace().unwrap_or_default().to_owned(),
        name: name.name().to_owned(),
        attributes,
        nodes,
    }
}

/// Compares names, namespaces, texts, and the attributes that [`Element::attr`] gives.
fn assert_same(ours: &Element, theirs: &Reading) {
    assert_eq!((&ours.ns, &ours.name), (&theirs.ns, &theirs.name));
    for (ns, name, value) in &theirs.attributes {
        if ns.is_empty() {
            assert_eq!(ours.attr(name), Some(value.as_str()), "{name} of {ours:?}");
        }
    }
    assert_eq!(ours.nodes.len(), theirs.nodes.len(), "{ours:?} {theirs:?}");
    for pair in ours.nodes.iter().zip(&theirs.nodes) {
        match pair {
            (Node::Element(ours), Ok(theirs)) => assert_same(ours, theirs),
            (Node::Text(ours), Err(theirs)) => assert_eq!(ours, theirs),
            _ => panic!("{ours:?} is not {theirs:?}"),
        }
    }
}

fn assert_attributes_bounded(reading: &Reading, bytes_left: &mut usize) {
    assert!(reading.attributes.len() <= XML_ATTRIBUTES_MAX, "{} attributes", reading.attributes.len());
    for (ns, name, value) in &reading.attributes {
        let spent = ns.len() + name.len() + value.len();
        *bytes_left = bytes_left.checked_sub(spent).expect("attributes outgrow the limit");
    }
    reading.nodes.iter().flatten().for_each(|child| assert_attributes_bounded(child, bytes_left));
}

/// Where the two are known to differ, and why that does no harm: what is passed on is written anew
/// from what we read, so nobody after us reads anything else.
///
/// - What a carriage return becomes (XML 1.0 §2.11: with the line feed after it or alone a line feed,
///   and that a space in an attribute). roxmltree keeps one that stands alone at the end of a text.
///   rxml drops one at the end of an attribute's value, refuses it elsewhere in one, and keeps it
///   after a `]` in a CDATA section.
/// - An attribute `p:xmlns`: roxmltree takes it for `xmlns`, which no rule of XML does.
/// - Two `xmlns` in one tag, which are not well-formed: rxml takes the last, roxmltree the first.
fn differs(text: &str) -> bool {
    let carriage_return = text.contains("]\r") || text.replace("\r\n", "\n").contains('\r');
    carriage_return || text.contains(":xmlns") || text.split('<').any(declares_twice)
}

/// Whether a tag, which no `<` can stand in, has two attributes `xmlns`.
fn declares_twice(tag: &str) -> bool {
    let mut quote = None;
    let outside_quotes: String = tag
        .chars()
        .map_while(|c| match (quote, c) {
            (None, '>') => None,
            (None, '\'' | '"') => {
                quote = Some(c);
                Some(' ')
            }
            (Some(opened), _) => {
                quote = quote.filter(|_| c != opened);
                Some(' ')
            }
            (None, '=') => Some(' '),
            (None, _) => Some(c),
        })
        .collect();
    outside_quotes.split_whitespace().filter(|name| *name == "xmlns").count() > 1
}

/// Whatever our reader accepts, the other one accepts too, and reads the same in it.
pub fn differential(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(ours) = read_frame(&text, FRAME_BYTES_MAX) else { return };
    let theirs = match opinion(&text) {
        Ok(theirs) => theirs,
        Err(error) => panic!("only our reader accepts it: {error}: {text:?} as {ours:?}"),
    };
    if differs(&text) {
        return;
    }
    assert_same(&ours, &theirs);
    assert_attributes_bounded(&theirs, &mut (FRAME_BYTES_MAX * XML_BYTES_FACTOR));
    // Attributes with a namespace cannot be asked for, but they are written.
    let written = opinion(&ours.to_frame());
    assert_eq!(written.as_ref().ok(), Some(&theirs), "written as {:?}", ours.to_frame());
}
