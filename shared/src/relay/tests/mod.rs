#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
//! The mailbox engine against devices and disks that can fail.

mod crash;
mod delivery;
mod framing;
mod world;
