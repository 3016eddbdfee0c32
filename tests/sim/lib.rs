//! The simulator: the real engines of clients and relay, and around them a world in which
//! everything fails that can.
//!
//! Nothing here is the system under test. Time is a number, chance is one seed, maps are ordered
//! and there are no threads: a seed is a run, bit for bit, on every machine (`trace` holds the
//! hash of it). A run has three phases: in the first everybody signs in, in the second faults
//! occur at the rates that the seed's [`plan`] has sampled, in the third nothing fails any more
//! and all must come to rest.
//!
//! - [`world`] the clock and what is due; [`net`] the connections; [`nodes`] the machines, driven
//!   by `device` and `relay` as the real drivers do it
//! - `people` and `faults`: what is done, and what goes wrong
//! - [`check`]: the twelve promises, one file each. They see [`fact`]s alone: the wire, the disks,
//!   the screens. [`ledger`] has one entry for each message
//! - [`sometimes`]: what must have been seen for a batch to count
//! - [`run`]: one seed; [`batch`]: many
//!
//! Deliberately absent: sockets, real disks, browsers. `tests/wire`, `tests/e2e`, `tests/chaos`
//! and `tests/soak` put the same questions to the real processes.

pub mod batch;
pub mod check;
mod device;
pub mod dice;
pub mod fact;
mod faults;
pub mod keys;
pub mod ledger;
pub mod net;
pub mod nodes;
mod people;
pub mod plan;
mod relay;
pub mod run;
pub mod said;
pub mod sometimes;
pub mod trace;
pub mod world;
