//! The mailbox engine against devices and disks that can fail.

mod archive;
mod behind;
mod blocking;
mod clock;
mod crash;
mod csi;
mod damaged;
mod delivery;
mod devices;
mod flexible;
mod framing;
mod full;
mod gate;
mod lobby;
mod multicast;
mod offline;
mod passing;
mod people;
mod preferences;
mod rates;
mod resumption;
mod transfer;
mod world;
