//! The client's engine under scripts: a user, a disk that is slow or fails, links that break, and a
//! relay that is good until the script makes it lie.
//!
//! `world` drives the engine as a tab would and keeps what it commits. `relay` is a relay small
//! enough to be seen to be right. `ledger` holds what must be true of everything that leaves and of
//! everything that is shown, judged by the committed rows.

mod ledger;
mod relay;
mod rows;
mod script;
mod world;

pub use rows::client_rows;
pub use script::client_script;
