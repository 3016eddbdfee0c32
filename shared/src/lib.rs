//! The protocol of Counterfoil: pure, synchronous, the same code in the browser, the relay and
//! the simulator.
//!
//! Deliberately absent: any clock, any randomness, any socket, any store. Time, random bytes,
//! frames and committed rows come in; frames, rows to commit and deadlines go out.
//!
//! # The floors, from the ground up
//!
//! - [`id`], [`jid`], [`time`], [`limits`], [`entropy`]: leaf types; every limit in one table.
//! - [`wire`]: one WebSocket message is one element (RFC 7395) of restricted XML.
//! - [`sasl`]: SCRAM, both roles. [`sm`]: the arithmetic of stream management (XEP-0198).
//! - [`log`]: a message is appended once; whoever must still receive it holds a cursor.
//!   [`repeats`]: what its sender sends again. [`delivery`]: what a row of it looks like to each
//!   device. [`archive`]: reading it by question. [`offline`]: what waits for a device, in pages.
//!   [`cold`]: the part of it that everybody has, in segments elsewhere.
//! - [`gate`]: nothing leaves before the rows it depends on are on disk.
//! - [`relay`] and [`client`]: the two engines. Both are driven alike: `handle` one input, then
//!   `poll` until `WakeAt`.
//!
//! # The invariant
//!
//! A count of handled stanzas, a receipt, or a state shown to a person is never ahead of the
//! disk that makes it true. Crash recovery is start-up: there is no second path.

pub mod archive;
pub mod bad;
pub mod client;
pub mod cold;
pub mod delivery;
pub mod entropy;
pub mod gate;
pub mod id;
pub mod jid;
pub mod limits;
pub mod log;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod offline;
pub mod relay;
pub mod repeats;
pub mod sasl;
pub mod sm;
pub mod time;
pub mod wire;
