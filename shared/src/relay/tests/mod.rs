//! The mailbox engine against devices and disks that can fail.

mod archive;
mod behind;
mod blocking;
mod clock;
mod crash;
mod damaged;
mod delivery;
mod devices;
mod flush;
mod framing;
mod full;
mod gate;
mod lobby;
mod offline;
mod resumption;
mod transfer;
mod world;
