//! The wire: RFC 7395 frames to trees and back, and the few shapes the engines speak about.
//!
//! Deliberately absent: any decision. Nothing here knows a session, a log or a device.

mod element;
pub mod error;
pub mod form;
pub mod ns;
mod reader;
pub mod rsm;
pub mod stanza;

pub use element::{Element, Node};
pub use reader::{ReadFault, read_frame};

/// The end of a stream (RFC 7395 §3.6), letter for letter as strophe.js looks for it.
pub const CLOSE: &str = "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" />";
