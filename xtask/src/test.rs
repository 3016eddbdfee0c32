//! `cargo xtask test`: every suite, one count.
//!
//! A failing suite does not stop the others. A suite that ran nothing has failed: it would
//! otherwise pass for ever after its files moved.

use crate::build::{Profile, build};
use crate::paths::{root, target, under_root};
use crate::run::{Show, ask, observe};
use crate::tally::Tally;
use crate::tools::{self, Tools, npm_install, rust_target, setup};
use crate::{browser, contract, sim, tidy};
use anyhow::{Context, Result, bail};
use std::process::Command;
use std::time::Instant;

const SUITES: [&str; 11] =
    ["tidy", "unit", "wasm", "sim", "badengines", "contract", "wire", "conformance", "e2e", "chaos", "soak"];
/// What runs a test that was compiled for wasm32-wasip1.
pub const WASI_RUNNER: &str = "xtask/wasi/run.mjs";

/// What was chosen for suites that have a choice: a variable's name and its value.
#[derive(Default)]
pub struct Settings(pub Vec<(&'static str, String)>);

impl Settings {
    /// Whether something was chosen for this.
    pub fn names(&self, variable: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == variable)
    }

    /// Tells a command.
    pub fn give<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.envs(self.0.iter().cloned())
    }
}

/// Runs the named suites, or all; answers whether all tests passed.
pub fn test(names: &[String], profile: Profile, settings: Settings) -> Result<bool> {
    if let Some(unknown) = names.iter().find(|name| !SUITES.contains(&name.as_str())) {
        bail!("there is no suite {unknown:?}; there are {}", SUITES.join(", "));
    }
    let mut js = JsSuites { profile, settings, prepared: None };
    let mut report = Vec::new();
    for suite in SUITES {
        if !names.is_empty() && !names.iter().any(|name| name == suite) {
            continue;
        }
        eprintln!("\n== {suite}");
        let started = Instant::now();
        let outcome = match suite {
            "tidy" => tidy::tidy(),
            "unit" => unit(),
            "wasm" => wasm(),
            "contract" => contract::contract(),
            "sim" => sim::sim(&js.settings),
            "badengines" => sim::badengines(),
            _ => js.run(suite),
        };
        let tally = outcome.unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Tally::check(false)
        });
        report.push((suite, tally, started.elapsed().as_secs_f64()));
    }
    eprintln!();
    let mut sum = Tally::default();
    for (suite, tally, seconds) in report {
        eprintln!("{suite:11} {:5} passed {:4} failed {seconds:8.1} s", tally.passed, tally.failed);
        sum += tally;
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(sum.failed == 0)
}

/// Format, lints, and the tests of the code that runs natively.
fn unit() -> Result<Tally> {
    rust_target("wasm32-unknown-unknown")?;
    let mut sum = Tally::default();
    for (title, words) in [
        ("format", "fmt --all --check"),
        ("clippy, native", "clippy -p shared -p xtask --all-targets --all-features -- -D warnings"),
        (
            "clippy, wasm32",
            "clippy -p edge-relay -p web-client --target wasm32-unknown-unknown -- -D warnings",
        ),
    ] {
        sum += check(title, &mut cargo(words))?;
    }
    if ask(Command::new("cargo").args(["nextest", "--version"])).is_some() {
        let words = "nextest run -p shared -p xtask -p web-client --features shared/prep --no-fail-fast \
            --status-level slow --final-status-level fail";
        sum += suite("tests", &mut cargo(words))?;
        // nextest leaves these out; there may be none.
        let outcome =
            observe("documentation tests", &mut cargo("test -p shared --all-features --doc"), Show::Live)?;
        sum += Tally::read(&outcome.text, outcome.ok);
    } else {
        let words = "test -p shared -p xtask -p web-client --features shared/prep --no-fail-fast";
        sum += suite("tests", &mut cargo(words))?;
    }
    Ok(sum)
}

/// The same protocol tests where the protocol will run.
fn wasm() -> Result<Tally> {
    rust_target("wasm32-unknown-unknown")?;
    rust_target("wasm32-wasip1")?;
    let tools = setup()?;
    let mut sum = Tally::default();
    for (title, words) in [
        ("shared for the browser", "check -p shared --target wasm32-unknown-unknown"),
        ("shared for the relay", "check -p shared --features prep --target wasm32-unknown-unknown"),
    ] {
        sum += check(title, &mut cargo(words))?;
    }
    let runner = format!("{} --no-warnings {}", tools.node.display(), under_root(WASI_RUNNER).display());
    let mut tests =
        cargo("test -p shared --all-features --target wasm32-wasip1 --no-fail-fast --tests --lib");
    tests.env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner);
    sum += suite("tests on wasm32", &mut tests)?;
    Ok(sum)
}

/// The suites that need the built relay, app and a browser; prepared once for all of them.
struct JsSuites {
    profile: Profile,
    settings: Settings,
    prepared: Option<Result<Prepared, String>>,
}

struct Prepared {
    tools: Tools,
    chromium: std::path::PathBuf,
}

impl JsSuites {
    fn run(&mut self, suite_name: &str) -> Result<Tally> {
        let folder = under_root("tests").join(suite_name);
        let files = test_files(&folder)?;
        if files.is_empty() {
            bail!("{} holds no *.test.mjs", folder.display());
        }
        let profile = self.profile;
        let prepared =
            self.prepared.get_or_insert_with(|| prepare(profile).map_err(|error| format!("{error:#}")));
        let Prepared { tools, chromium } = match prepared {
            Ok(prepared) => prepared,
            Err(error) => bail!("{suite_name} could not start: {error}"),
        };
        let mut node = node_with_builds(tools)?;
        // What a failed test leaves running must not keep the others from being counted.
        node.args(["--test", "--test-force-exit", "--test-concurrency=1", "--test-reporter=spec"])
            .args(files)
            .env("COUNTERFOIL_CHROMIUM", chromium);
        suite(suite_name, self.settings.give(&mut node))
    }
}

/// `cargo xtask bench`: latency, throughput, rows written and a long queue, on release builds.
pub fn bench() -> Result<()> {
    let tools = setup()?;
    build(&tools, Profile::Release)?;
    let tests = under_root("tests");
    npm_install("npm packages of the tests", &tests, &tests)?;
    for name in ["latency", "offline"] {
        let mut node = node_with_builds(&tools)?;
        let file = under_root(&format!("tests/bench/{name}.mjs"));
        if !observe(&format!("bench: {name}"), node.arg(file), Show::Live)?.ok {
            bail!("the benchmark {name} failed");
        }
    }
    Ok(())
}

/// Node, told where everything is that was built.
pub fn node_with_builds(tools: &Tools) -> Result<Command> {
    let mut node = tools.command(&tools.node);
    node.current_dir(root())
        .env("COUNTERFOIL_ROOT", root())
        .env("COUNTERFOIL_WORKERD", tools::workerd()?)
        .env("COUNTERFOIL_RELAY", under_root("edge-relay/build"))
        .env("COUNTERFOIL_APP", target("app"))
        .env("COUNTERFOIL_NODE", &tools.node);
    Ok(node)
}

fn prepare(profile: Profile) -> Result<Prepared> {
    let tools = setup()?;
    build(&tools, profile)?;
    let tests = under_root("tests");
    npm_install("npm packages of the tests", &tests, &tests)?;
    let chromium = browser::chromium()?;
    Ok(Prepared { tools, chromium })
}

pub fn test_files(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("the suite's folder {} is missing", folder.display()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    files.sort();
    Ok(files)
}

pub fn cargo(words: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(words.split_whitespace()).current_dir(root());
    command
}

/// A command that as a whole holds or does not.
pub fn check(title: &str, command: &mut Command) -> Result<Tally> {
    let outcome = observe(title, command, Show::Failure)?;
    if !outcome.ok {
        eprintln!("{}", outcome.text);
    }
    Ok(Tally::check(outcome.ok))
}

/// A command that runs tests and sums them up. None at all is a failure.
pub fn suite(title: &str, command: &mut Command) -> Result<Tally> {
    let outcome = observe(title, command, Show::Live)?;
    let tally = Tally::read(&outcome.text, outcome.ok);
    if tally == Tally::default() {
        bail!("{title}: no test ran");
    }
    Ok(tally)
}
