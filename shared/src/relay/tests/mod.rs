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
mod fast;
mod flexible;
mod framing;
mod full;
mod gate;
mod lobby;
mod modern;
mod multicast;
mod offline;
mod passing;
mod people;
mod preferences;
mod rates;
mod resumption;
mod sasl2;
mod transfer;
mod world;
