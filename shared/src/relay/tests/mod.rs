//! The mailbox engine against devices and disks that can fail.

mod crash;
mod delivery;
mod framing;
mod gate;
mod lobby;
mod transfer;
mod world;
