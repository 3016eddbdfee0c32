//! The suites around the simulator: a batch of seeds, the seeded bugs, and the proof that a seed
//! is the same run everywhere.

use crate::paths::under_root;
use crate::run::{Show, observe};
use crate::tally::Tally;
use crate::test::{Settings, WASI_RUNNER, cargo, check, suite};
use crate::tools::{rust_target, setup};
use anyhow::Result;
use std::process::Command;

const SIM: &str = "run --quiet -p tests --profile sim --bin sim";
/// Seeds whose hashes are compared between machines.
const HASHES: &str = "150";

/// Crash points and models, then the batch; or one seed, if `SEED` names it.
pub fn sim(settings: &Settings) -> Result<Tally> {
    let chosen = settings.names("SEED") || settings.names("MINUTES");
    if chosen || std::env::var_os("SEED").is_some() {
        return seeds(settings);
    }
    let mut sum = check("clippy", &mut cargo("clippy -p tests --all-targets --all-features -- -D warnings"))?;
    let tests = "test -p tests --profile sim --no-fail-fast";
    sum += suite("crash points, models, corpora", &mut cargo(tests))?;
    sum += same_everywhere()?;
    sum += seeds(settings)?;
    Ok(sum)
}

fn seeds(settings: &Settings) -> Result<Tally> {
    shown("seeds", settings.give(&mut cargo(SIM)))
}

/// Every seeded bug is found.
pub fn badengines() -> Result<Tally> {
    let words = "run --quiet -p tests --profile sim --features known-bad --bin badengines";
    shown("seeded bugs", &mut cargo(words))
}

/// The same seed is the same run: twice here, and on wasm32.
fn same_everywhere() -> Result<Tally> {
    rust_target("wasm32-wasip1")?;
    let tools = setup()?;
    let runner = format!("{} --no-warnings {}", tools.node.display(), under_root(WASI_RUNNER).display());
    let here = observe("hashes here", cargo(SIM).env("HASHES", HASHES), Show::Failure)?;
    let mut there = cargo(&format!("{SIM} --target wasm32-wasip1"));
    there.env("HASHES", HASHES).env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner);
    let there = observe("hashes on wasm32", &mut there, Show::Failure)?;
    let same = here.ok && there.ok && here.text == there.text && here.text.lines().count() > 100;
    if !same {
        eprintln!("here:\n{}\nthere:\n{}", here.text, there.text);
    }
    Ok(Tally::check(same))
}

/// A command whose output everybody wants to see.
fn shown(title: &str, command: &mut Command) -> Result<Tally> {
    Ok(Tally::check(observe(title, command, Show::Live)?.ok))
}
