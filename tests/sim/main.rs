//! `cargo xtask test sim`: a batch of seeds, or one of them with its trace.
//!
//! `SEED=7` replays one; `SEEDS=…` and `FIRST=…` choose a batch, `MINUTES=…` runs until the time
//! is over. `HASHES=…` prints the hashes of the first seeds.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests::batch::{Batch, run_seeds};
use tests::plan::Plan;
use tests::run::{Outcome, run_plan, shrink};

/// Seeds of a batch that nobody has chosen a number for.
const SEEDS: u64 = 20_000;
/// Lines of a trace before what broke.
const LINES_MAX: usize = 400;
/// Of one run; the first tells most.
const VIOLATIONS_MAX: usize = 5;

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    std::panic::set_hook(Box::new(|_| {}));
    match (number("HASHES"), number("SEED")) {
        (Some(count), _) => hashes(count),
        (_, Some(seed)) => replay(seed),
        _ => {
            let first = number("FIRST").unwrap_or(1);
            batch(first, number("SEEDS"), number("MINUTES"))
        }
    }
}

/// The hashes of the first seeds, each run twice: the same seed is the same run, here and on
/// every other machine.
fn hashes(count: u64) -> ExitCode {
    let mut differ = 0;
    for seed in 1..=count {
        let hash = || run_plan(Plan::of(seed), true).hash;
        let (one, two) = (hash(), hash());
        println!("{seed} {one:016x}");
        differ += u64::from(one != two);
    }
    if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn batch(first: u64, seeds: Option<u64>, minutes: Option<u64>) -> ExitCode {
    let started = Instant::now();
    let until = minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let count = seeds.unwrap_or(if until.is_some() { u64::MAX / 2 } else { SEEDS });
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let go_on = || until.is_none_or(|until| started.elapsed() < until);
    let batch = run_seeds(first, count, threads, 3, go_on);
    println!("{batch}");
    println!("in {:.1} s on {threads} threads", started.elapsed().as_secs_f64());
    for outcome in &batch.broken {
        tell(outcome);
    }
    let never = batch.marks.never();
    let whole = batch.seeds >= 2_000;
    for mark in tests::sometimes::Mark::ALL {
        println!("  {:>10} {mark:?}", batch.marks.times(*mark));
    }
    if whole && !never.is_empty() {
        println!("never seen: {never:?}");
    }
    if let Some(first) = batch.broken.first() {
        explain(first);
    }
    verdict(&batch, whole && !never.is_empty())
}

fn verdict(batch: &Batch, incomplete: bool) -> ExitCode {
    let failed = batch.broken.len() + usize::from(incomplete);
    println!("{} of {} seeds kept every promise", batch.seeds as usize - batch.broken.len(), batch.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(outcome: &Outcome) {
    for violation in outcome.violations.iter().take(VIOLATIONS_MAX) {
        println!("SEED={} {}: {}", outcome.seed, violation.checker, violation.what);
    }
}

/// Shows the smallest plan that breaks the same promise, and its trace.
fn explain(outcome: &Outcome) {
    let Some(violation) = outcome.violations.first() else { return };
    let plan = shrink(outcome.seed, violation.checker);
    println!("\nsmallest: {plan:?}");
    show(&run_plan(plan, true));
}

fn replay(seed: u64) -> ExitCode {
    let plan = Plan::of(seed);
    println!("{plan:?}");
    let outcome = run_plan(plan, true);
    show(&outcome);
    println!("SEED={seed} hash {:016x} {:?}", outcome.hash, outcome.account);
    let failed = usize::from(!outcome.violations.is_empty());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(outcome: &Outcome) {
    let lines = &outcome.lines;
    let whole = std::env::var("SEED").is_ok();
    let from = if whole { 0 } else { lines.len().saturating_sub(LINES_MAX) };
    for line in lines.iter().skip(from) {
        println!("{line}");
    }
    tell(outcome);
}
