//! The reader and the writer of frames: what they let through, and that nothing changes on the
//! way through them.

use shared::limits::{FRAME_BYTES_MAX, FRAME_BYTES_MAX_UNAUTHENTICATED};
use shared::limits::{XML_BYTES_FACTOR, XML_DEPTH_MAX, XML_ELEMENTS_MAX};
use shared::wire::{Element, Node, ReadFault, read_frame};

/// Splits that are tried of one document; a long one is split at its angle brackets only.
const SPLITS_EVERYWHERE_BYTES_MAX: usize = 300;

/// Any text under several limits: no panic, and whatever comes out keeps to the limits.
pub fn frame_reader(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let limits =
        [3, text.len().saturating_sub(1), text.len(), FRAME_BYTES_MAX_UNAUTHENTICATED, FRAME_BYTES_MAX];
    let mut limits = limits.to_vec();
    limits.sort_unstable();
    let mut settled: Option<Result<Element, ReadFault>> = None;
    for limit in limits {
        let result = read_frame(&text, limit);
        if let Ok(element) = &result {
            assert!(text.len() <= limit, "{} bytes pass a limit of {limit}", text.len());
            assert_bounded(element, limit);
        }
        if let Some(before) = &settled {
            assert_eq!(before, &result, "a higher limit changes what is read");
        }
        if result != Err(ReadFault::TooLarge) {
            settled = Some(result);
        }
    }
}

fn assert_bounded(root: &Element, limit: usize) {
    let (mut elements, mut bytes) = (0, 0);
    let mut open = vec![(root, 1)];
    while let Some((element, depth)) = open.pop() {
        assert!(depth <= XML_DEPTH_MAX, "{depth} levels deep");
        elements += 1;
        bytes += element.ns.len() + element.name.len();
        for node in &element.nodes {
            match node {
                Node::Element(child) => open.push((child, depth + 1)),
                Node::Text(text) => bytes += text.len(),
            }
        }
    }
    assert!(elements <= XML_ELEMENTS_MAX, "{elements} elements");
    assert!(bytes <= limit * XML_BYTES_FACTOR, "{bytes} bytes out of a limit of {limit}");
}

/// What is read is written so that it reads the same: by us and by everybody else. What is
/// written is written the same again, however often it is passed on.
pub fn roundtrip(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(element) = read_frame(&text, FRAME_BYTES_MAX) else { return };
    let written = element.to_frame();
    let again = read_frame(&written, usize::MAX);
    assert_eq!(again.as_ref(), Ok(&element), "written as {written:?}");
    assert_eq!(element.to_frame(), again.map(|element| element.to_frame()).unwrap_or_default());
    if let Err(error) = crate::differential::opinion(&written) {
        panic!("nobody else can read what we write: {error}: {written:?}");
    }
}

/// One message is one element (RFC 7395 §3.3.3), so a document has one reading and no part of it
/// has another: neither half of an accepted frame is a frame, nor are two frames in one.
pub fn chunking(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match read_frame(&text, FRAME_BYTES_MAX) {
        Ok(element) => no_part_is_a_frame(&text, &element),
        Err(_) => no_halves_make_it_up(&text),
    }
}

fn no_part_is_a_frame(text: &str, whole: &Element) {
    for doubled in [format!("{text}{text}"), format!("{text}<a/>"), format!("<a/>{text}"), format!("{text}x")]
    {
        assert!(read_frame(&doubled, usize::MAX).is_err(), "two frames in one: {doubled:?}");
    }
    for at in splits(text) {
        let (head, tail) = text.split_at(at);
        if let Ok(element) = read_frame(head, FRAME_BYTES_MAX) {
            // XML 1.0 §2.8: white space may follow the element.
            assert!(tail.chars().all(|c| " \t\r\n".contains(c)), "{head:?} is a frame without {tail:?}");
            assert_eq!(element, *whole);
        }
        if let Ok(element) = read_frame(tail, FRAME_BYTES_MAX) {
            // XML 1.0 §2.8: the declaration, and white space, may come before it.
            assert!(is_prolog(head), "{tail:?} is a frame without {head:?}");
            assert_eq!(element, *whole);
        }
    }
}

fn no_halves_make_it_up(text: &str) {
    // Two frames that stand next to each other are none: that is why `text` was refused.
    for at in splits(text) {
        let (head, tail) = text.split_at(at);
        if let (Ok(first), Ok(_)) = (read_frame(head, FRAME_BYTES_MAX), read_frame(tail, FRAME_BYTES_MAX)) {
            let joined = format!("{head}{tail}");
            assert!(read_frame(&joined, usize::MAX).is_err(), "{joined:?} is read as {first:?}");
        }
    }
}

fn splits(text: &str) -> Vec<usize> {
    let near_bracket = |at: usize| {
        let bytes = text.as_bytes();
        matches!(bytes.get(at), Some(b'<' | b'>')) || at > 0 && matches!(bytes.get(at - 1), Some(b'<' | b'>'))
    };
    (1..text.len())
        .filter(|at| text.is_char_boundary(*at))
        .filter(|at| text.len() <= SPLITS_EVERYWHERE_BYTES_MAX || near_bracket(*at))
        .take(SPLITS_EVERYWHERE_BYTES_MAX)
        .collect()
}

fn is_prolog(head: &str) -> bool {
    let Some(rest) = head.strip_prefix("<?xml") else { return false };
    rest.split_once("?>").is_some_and(|(_, rest)| rest.chars().all(|c| " \t\r\n".contains(c)))
}
