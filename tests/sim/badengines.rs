//! `cargo xtask test badengines`: every seeded design bug must be found by a checker within
//! [`SEEDS_MAX`] seeds, or the simulator's silence means nothing.
//!
//! The seeds are those that every batch begins with. `BUG=…` tries one bug alone.

use shared::bad::{Bug, switch};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::run::{Outcome, PANIC, run};

/// Seeds within which each bug must be found. A batch of `sim` has ten times as many.
const SEEDS_MAX: u64 = 2_000;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("BUG").ok();
    let bugs: Vec<Bug> = Bug::ALL
        .iter()
        .copied()
        .filter(|bug| only.as_ref().is_none_or(|only| format!("{bug:?}") == *only))
        .collect();
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = first_found(*bug);
            if let Ok(mut table) = table.lock() {
                table.push((*bug, found));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    let mut table = table.into_inner().unwrap_or_default();
    table.sort_by_key(|(bug, _)| *bug);
    println!("{:<22} {:>5}  checker", "bug", "seeds");
    for (bug, found) in &table {
        match found {
            Some((seeds, checker)) => println!("{:<22} {seeds:>5}  {checker}", format!("{bug:?}")),
            None => println!("{:<22}  NOT FOUND in {SEEDS_MAX} seeds", format!("{bug:?}")),
        }
    }
    let missed = table.iter().filter(|(_, found)| found.is_none()).count();
    println!("{} of {} bugs found", table.len() - missed, bugs.len());
    if missed == 0 && table.len() == bugs.len() && !bugs.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// How many seeds it takes to find this bug, and which checker finds it.
fn first_found(bug: Bug) -> Option<(u64, &'static str)> {
    switch(Some(bug));
    let found = (1..=SEEDS_MAX).find_map(|seed| {
        let Outcome { violations, .. } = run(seed);
        // A panic is a find of nobody's.
        let first = violations.first().filter(|violation| violation.checker != PANIC);
        first.map(|violation| (seed, violation.checker))
    });
    switch(None);
    found
}
