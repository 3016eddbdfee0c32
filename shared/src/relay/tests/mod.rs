//! The mailbox engine against devices and disks that can fail.

mod archive;
mod behind;
mod blocking;
mod clock;
mod crash;
mod damaged;
mod delivery;
mod devices;
mod fast;
mod framing;
mod full;
mod gate;
mod lobby;
mod modern;
mod offline;
mod resumption;
mod sasl2;
mod transfer;
mod world;
