//! The store contract: what the engines rely on in whatever keeps their rows, as scripts.
//!
//! A script is a list of batches, and after each the rows that must stand. What must stand is
//! computed with the stores in memory; the tests here compare those with a model that has nothing
//! in common with them (`history`). `cargo run -p tests --bin contract -- DIR [SEED]` writes the
//! scripts, and `*.test.mjs` play them to SQLite in workerd and to IndexedDB in Chromium.
//!
//! In words: a batch is all or none. Its operations apply in their order, batches in theirs. What
//! is loaded is what was committed. Opening anew changes nothing. A batch that cannot be written
//! leaves nothing, and the store goes on.
//!
//! Deliberately absent: what only one store can do (quota, fencing, a process that is killed); that
//! is in the `*.test.mjs`.

mod browser;
mod browser_rows;
mod draw;
#[cfg(test)]
mod history;
mod items;
mod mailbox;
mod mailbox_rows;
mod mailbox_segments;
mod script;

use shared::memory::{ClientStore, MailboxStore};
use std::process::ExitCode;

/// Repeatable unless somebody asks for another.
const SEED: u64 = 1;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let folder = words.next().unwrap_or_else(|| ".".to_owned());
    let seed = words.next().map_or(Some(SEED), |word| word.parse().ok());
    let Some(seed) = seed else {
        eprintln!("contract DIR [SEED]: the seed is a number");
        return ExitCode::FAILURE;
    };
    let mailbox = script::to_json(seed, &mailbox::scripts::<MailboxStore>(seed));
    let browser = script::to_json(seed, &browser::scripts::<ClientStore>(seed));
    for (name, text) in [("mailbox.json", mailbox), ("browser.json", browser)] {
        let file = std::path::Path::new(&folder).join(name);
        if let Err(error) = std::fs::write(&file, text) {
            eprintln!("cannot write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
