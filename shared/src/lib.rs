//! placeholder
pub mod client;
pub mod entropy;
pub mod gate;
pub mod id;
pub mod jid;
pub mod limits;
pub mod sasl;
pub mod sm;
pub mod time;
pub mod wire;
