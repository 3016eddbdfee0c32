//! The client engine. Being written.
pub mod api;
pub mod rows;

use crate::time::Millis;
pub use api::{Command, Config, Event, Input, LinkState, Output, SignInFault};
use rows::Rows;

/// One account on one device: decides what is sent, stored and shown. No I/O.
pub struct ClientEngine {
    config: Config,
}

impl ClientEngine {
    /// Takes up where the stores are. Crash recovery is the same call.
    pub fn load(rows: Rows, config: Config) -> Self {
        let _ = rows;
        Self { config }
    }

    /// Takes one input. Never fails; afterwards poll until [`Output::WakeAt`].
    pub fn handle(&mut self, now: Millis, input: Input<'_>) {
        let _ = (now, input, &self.config);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Output {
        Output::WakeAt(None)
    }
}
