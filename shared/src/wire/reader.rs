//! One frame of text to one tree, with every limit applied before anything is built.

use super::element::{Element, Node, XML, XMLNS};
use crate::limits::{XML_ATTRIBUTES_MAX, XML_BYTES_FACTOR, XML_DEPTH_MAX, XML_ELEMENTS_MAX};
use rxml::error::EndOrError;
use rxml::{Event, Options, Parse, Parser, WithOptions};

/// Why a frame is not one element of restricted XML. Each is a stream error (RFC 6120 §4.9.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFault {
    /// Not one well-formed element: two of them, half of one, or none.
    NotWellFormed,
    /// A comment, a processing instruction, a DTD or an entity of its own (RFC 6120 §11.1).
    Restricted,
    /// Longer, deeper or richer than the limits allow (RFC 6120 §13.12).
    TooLarge,
}

/// Reads one frame (RFC 7395 §3.3.3) of at most `bytes_max` bytes.
pub fn read_frame(text: &str, bytes_max: usize) -> Result<Element, ReadFault> {
    if text.len() > bytes_max {
        return Err(ReadFault::TooLarge);
    }
    // RFC 7395 §3.3.3: the first character of each message is "<".
    if !text.starts_with('<') {
        return Err(ReadFault::NotWellFormed);
    }
    // No name or value is too long in a frame that is not. As much is set aside for it.
    let options = Options { max_token_length: text.len(), ..Options::default() };
    let mut parser = Parser::with_options(options);
    let mut rest = text.as_bytes();
    let mut tree = Tree { bytes_left: bytes_max.saturating_mul(XML_BYTES_FACTOR), ..Tree::default() };
    loop {
        match parser.parse(&mut rest, true) {
            Ok(Some(event)) => tree.take(event)?,
            Ok(None) => return tree.root.filter(|_| stands_alone(text)).ok_or(ReadFault::NotWellFormed),
            Err(EndOrError::Error(rxml::Error::RestrictedXml(_) | rxml::Error::UndeclaredEntity)) => {
                return Err(ReadFault::Restricted);
            }
            Err(_) => return Err(fault_at(text, text.len() - rest.len())),
        }
    }
}

/// What may stand before and after the root element is a declaration and white space (XML 1.0
/// §2.1, §2.8). rxml also passes references to white space and CDATA sections without text.
fn stands_alone(text: &str) -> bool {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let declared = text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>"));
    let root = declared.map_or(text, |(_, rest)| rest).trim_matches(is_space);
    !root.starts_with("<!") && root.ends_with('>') && !root.ends_with("]]>")
}

/// The parser stops inside a declaration it does not speak (`<!DOCTYPE`) as at any wrong
/// character; what was being opened there tells a prohibited construct from a broken one.
fn fault_at(text: &str, stopped_at: usize) -> ReadFault {
    let read = text.as_bytes().get(..stopped_at).unwrap_or_default();
    let opened =
        read.iter().rposition(|byte| *byte == b'<').and_then(|at| text.get(at..)).unwrap_or_default();
    let declaration = opened.starts_with("<!") && !opened.starts_with("<![CDATA[");
    if declaration || opened.starts_with("<?") { ReadFault::Restricted } else { ReadFault::NotWellFormed }
}

/// The open elements, outermost first, and what came of them.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    elements: usize,
    bytes_left: usize,
    root: Option<Element>,
}

impl Tree {
    fn spend(&mut self, bytes: usize) -> Result<(), ReadFault> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(ReadFault::TooLarge)?;
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<(), ReadFault> {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (namespace, name), attributes) => {
                self.elements += 1;
                if self.open.len() >= XML_DEPTH_MAX
                    || self.elements > XML_ELEMENTS_MAX
                    || attributes.len() > XML_ATTRIBUTES_MAX
                {
                    return Err(ReadFault::TooLarge);
                }
                self.spend(namespace.as_str().len() + name.len())?;
                // rxml takes these; whoever is sent them afterwards, ourselves included, may not.
                if matches!(namespace.as_str(), XML | XMLNS) {
                    return Err(ReadFault::NotWellFormed);
                }
                let mut element = Element::new(namespace.as_str(), &name);
                for ((namespace, name), value) in attributes {
                    self.spend(namespace.as_str().len() + name.len() + value.len())?;
                    if namespace.as_str() == XMLNS {
                        return Err(ReadFault::NotWellFormed);
                    }
                    element.set_attr_ns(namespace.as_str(), &name, value);
                }
                self.open.push(element);
            }
            Event::Text(_, text) => {
                self.spend(text.len())?;
                if let Some(parent) = self.open.last_mut() {
                    match parent.nodes.last_mut() {
                        Some(Node::Text(before)) => before.push_str(&text),
                        _ => parent.nodes.push(Node::Text(text)),
                    }
                }
            }
            Event::EndElement(_) => {
                if let Some(done) = self.open.pop() {
                    match self.open.last_mut() {
                        Some(parent) => parent.push(done),
                        None => self.root = Some(done),
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Element, ReadFault> {
        read_frame(text, 10_000)
    }

    #[test]
    fn a_frame_is_read_with_its_namespaces() {
        let element = read(
            "<message xmlns='jabber:client' xml:lang='zh' id='1'><body>你好 &lt;&#x1F600;</body><x xmlns='u' xmlns:p='q' p:k='v'><p:y/></x></message>",
        )
        .unwrap();
        assert!(element.is("jabber:client", "message"));
        assert_eq!(element.child("jabber:client", "body").unwrap().text(), "你好 <😀");
        assert!(element.child("u", "x").unwrap().child("q", "y").is_some());
        assert_eq!(read(&element.to_frame()), Ok(element));
    }

    #[test]
    fn what_is_not_one_whole_element_is_not_well_formed() {
        for bad in [
            "",
            " ",
            "\n<a/>",
            "<a/><b/>",
            "<a>",
            "<a",
            "</a>",
            "<a></b>",
            "text",
            "<a/>x",
            "<a b='1' b='2'/>",
            "<p:a/>",
            "<a>\u{1}</a>",
        ] {
            assert_eq!(read(bad), Err(ReadFault::NotWellFormed), "{bad}");
        }
    }

    #[test]
    fn the_namespaces_of_xml_itself_name_no_element_and_declare_no_prefix() {
        for bad in [
            "<xml:a/>",
            "<a><xml:b/></a>",
            "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
            "<a xmlns:p='http://www.w3.org/2000/xmlns/'><p:b/></a>",
            "<a xmlns:p='http://www.w3.org/2000/xmlns/' p:b=''/>",
        ] {
            assert_eq!(read(bad), Err(ReadFault::NotWellFormed), "{bad}");
        }
    }

    #[test]
    fn nothing_but_white_space_stands_around_the_element() {
        for good in ["<a/> \r\n\t", "<?xml version='1.0'?>\n<a></a >"] {
            assert_eq!(read(good), Ok(Element::new("", "a")), "{good}");
        }
        for bad in [
            "<a/>&#x20;",
            "<a/>\n&#xD;\n",
            "<a/><![CDATA[ ]]>",
            "<a/><![CDATA[]]>\n",
            "<![CDATA[]]><a/>",
            "<?xml version='1.0'?>\n<![CDATA[]]><a/>",
        ] {
            assert_eq!(read(bad), Err(ReadFault::NotWellFormed), "{bad}");
        }
    }

    #[test]
    fn an_attribute_may_be_as_long_as_its_frame() {
        let id = "x".repeat(9_900);
        let element = read(&format!("<iq xmlns='jabber:client' id='{id}'/>")).unwrap();
        assert_eq!(element.attr("id"), Some(id.as_str()));
    }

    #[test]
    fn what_xmpp_prohibits_is_restricted() {
        for bad in
            ["<!-- c --><a/>", "<a><!-- c --></a>", "<!DOCTYPE a><a/>", "<a><?php ?></a>", "<a>&lol;</a>"]
        {
            assert_eq!(read(bad), Err(ReadFault::Restricted), "{bad}");
        }
    }

    #[test]
    fn depth_and_size_and_number_are_limited() {
        let deep = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
        assert!(read(&deep(XML_DEPTH_MAX)).is_ok());
        assert_eq!(read(&deep(XML_DEPTH_MAX + 1)), Err(ReadFault::TooLarge));
        assert_eq!(read_frame("<a/>", 3), Err(ReadFault::TooLarge));
        let wide = format!("<a>{}</a>", "<b/>".repeat(XML_ELEMENTS_MAX));
        assert_eq!(read_frame(&wide, 100_000), Err(ReadFault::TooLarge));
        let rich: String = (0..=XML_ATTRIBUTES_MAX).map(|i| format!(" k{i}=''")).collect();
        assert_eq!(read(&format!("<a{rich}/>")), Err(ReadFault::TooLarge));
    }

    #[test]
    fn a_namespace_that_is_stored_again_and_again_is_too_large() {
        let ns = "u".repeat(2000);
        let bomb = format!("<a xmlns:p='{ns}'>{}</a>", "<p:b/>".repeat(1000));
        assert!(bomb.len() < 10_000);
        assert_eq!(read(&bomb), Err(ReadFault::TooLarge));
    }

    #[test]
    fn stream_level_elements_keep_the_prefix_old_clients_look_for() {
        let features =
            Element::new("http://etherx.jabber.org/streams", "features").with(Element::new("urn:x", "y"));
        assert_eq!(
            features.to_frame(),
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><y xmlns='urn:x'/></stream:features>"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_writing_and_reading(text in "\\PC{0,40}", value in "[\\PC\\n\\r\\t]{0,20}") {
            let element = Element::new("u", "a").with_attr("k", value).with(Element::new("", "b").with_text(format!("x{text}")));
            proptest::prop_assert_eq!(read(&element.to_frame()), Ok(element));
        }

        #[test]
        fn no_input_panics_the_reader(text in "[<>/a=' !&;?\\-\\[\\]b:x]{0,60}") {
            let _ = read(&text);
        }
    }
}
