//! The mailbox engine against devices and disks that can fail.

mod archive;
mod behind;
mod blobs;
mod blocking;
mod clock;
mod cold;
mod crash;
mod damaged;
mod delivery;
mod devices;
mod framing;
mod full;
mod gate;
mod lobby;
mod offline;
mod parked;
mod removal;
mod resumption;
mod transfer;
mod weather;
mod world;
