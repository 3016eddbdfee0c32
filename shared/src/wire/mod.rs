//! The wire: RFC 7395 frames to trees and back, and the few shapes the engines speak about.
//!
//! Deliberately absent: any decision. Nothing here knows a session, a log or a device.

mod element;
pub mod error;
pub mod ns;
mod reader;
pub mod stanza;

pub use element::{Element, Node};
pub use reader::{ReadFault, read_frame};
