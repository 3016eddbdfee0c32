//! `cargo xtask`: the only task runner of this repository.
//!
//! It owns every step between a clone and a running, tested or deployable Counterfoil: pinned
//! tools under `target/tools`, the app and the relay, a local server, the test suites. It knows
//! nothing of the protocol. Every task is idempotent: what is already there is not done again.
//!
//! | module | owns |
//! |---|---|
//! | `run` | running one command as one reported step |
//! | `tools` | which tools, which versions, where from |
//! | `build`, `app` | the two drivers; what the app needs after Trunk |
//! | `server`, `dev`, `workerd` | a child that serves until a signal; under wrangler; under plain workerd |
//! | `test`, `tally`, `browser`, `tidy`, `rules` | suites, counting, Chromium, the house rules as a test |
//! | `contract` | one contract for every store |
//! | `sim` | the simulator's seeds, the seeded bugs |
//! | `bench` | latency, throughput, rows written, a long queue |
//! | `size` | what a visitor downloads |

mod app;
mod browser;
mod build;
mod contract;
mod dev;
mod paths;
mod rules;
mod run;
mod server;
mod sim;
mod size;
mod tally;
mod test;
mod tidy;
mod tools;
mod workerd;

use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <task> [options]

  setup                       install the pinned tools under target/tools
  build   [--release]         app into target/app, relay into edge-relay/build
  dev     [--port 8787] [--state DIR] [--release]
                              build, then serve both with wrangler until Ctrl-C
  serve   [--port 8080] [--state DIR] [--ip 127.0.0.1] [--domain localhost]
          [--registration open|closed] [--print-config]
                              serve the last build with plain workerd (self-hosting)
  test    [--release] [--seed S] [--minutes N] [SUITE…]
                              tidy unit wasm sim badengines contract wire conformance e2e
                              chaos soak; all of them by default. `sim` and `soak` take a
                              seed, and their time
  bench                       latency, throughput, rows written, a long queue, on release builds
  size                        compressed size of the app; build --release first
";

fn main() -> ExitCode {
    match task(std::env::args().skip(1).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task(words: Vec<String>) -> Result<bool> {
    let mut args = Args { words };
    let task = if args.words.is_empty() { String::new() } else { args.words.remove(0) };
    match task.as_str() {
        "setup" => {
            args.finish()?;
            tools::setup()?;
        }
        "build" => {
            let profile = args.profile();
            args.finish()?;
            build::build(&tools::setup()?, profile)?;
        }
        "dev" => {
            let options =
                dev::Options { port: args.port(8787)?, state: args.state()?, profile: args.profile() };
            args.finish()?;
            dev::dev(&options)?;
        }
        "serve" => {
            let options = workerd::Options {
                ip: args.option("--ip")?.unwrap_or("127.0.0.1".into()),
                port: args.port(8080)?,
                state: args.state()?,
                domain: args.option("--domain")?.unwrap_or("localhost".into()),
                registration: args.option("--registration")?.unwrap_or("closed".into()),
            };
            let print_only = args.flag("--print-config");
            args.finish()?;
            if print_only {
                println!("{}", workerd::write_config(&options)?.display());
            } else {
                workerd::serve(&options)?;
            }
        }
        "test" => {
            let profile = args.profile();
            let settings = args.settings([("--seed", "SEED"), ("--minutes", "MINUTES")])?;
            return test::test(&args.positional()?, profile, settings);
        }
        "bench" => {
            args.finish()?;
            test::bench()?;
        }
        "size" => {
            args.finish()?;
            size::size(&tools::setup()?)?;
        }
        "" | "help" | "--help" | "-h" => print!("{HELP}"),
        other => bail!("there is no task {other:?}\n\n{HELP}"),
    }
    Ok(true)
}

/// The words after the task, taken out one by one so that a leftover is a mistake.
struct Args {
    words: Vec<String>,
}

impl Args {
    fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    fn option(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 >= self.words.len() {
            bail!("{name} needs a value");
        }
        let value = self.words.remove(at + 1);
        self.words.remove(at);
        Ok(Some(value))
    }

    fn profile(&mut self) -> build::Profile {
        if self.flag("--release") { build::Profile::Release } else { build::Profile::Dev }
    }

    fn port(&mut self, default: u16) -> Result<u16> {
        match self.option("--port")? {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(port) => Ok(port),
                Err(_) => bail!("--port {text:?} is not a port number"),
            },
        }
    }

    /// Options that are whole numbers and that suites read from their environment.
    fn settings<const N: usize>(&mut self, names: [(&str, &'static str); N]) -> Result<test::Settings> {
        let mut settings = test::Settings::default();
        for (name, variable) in names {
            let Some(text) = self.option(name)? else { continue };
            if text.parse::<u64>().is_err() {
                bail!("{name} {text:?} is not a whole number");
            }
            settings.0.push((variable, text));
        }
        Ok(settings)
    }

    fn state(&mut self) -> Result<PathBuf> {
        let dir = match self.option("--state")? {
            Some(dir) => PathBuf::from(dir),
            None => paths::target("state"),
        };
        Ok(std::path::absolute(dir)?)
    }

    fn positional(self) -> Result<Vec<String>> {
        match self.words.iter().find(|word| word.starts_with('-')) {
            Some(unknown) => bail!("there is no option {unknown}\n\n{HELP}"),
            None => Ok(self.words),
        }
    }

    fn finish(self) -> Result<()> {
        match self.words.first() {
            Some(unknown) => bail!("what is {unknown:?}?\n\n{HELP}"),
            None => Ok(()),
        }
    }
}
