//! `cargo xtask test badengines`: every seeded design bug must be found within [`SEEDS_MAX`] seeds,
//! and by the checker whose promise it breaks, or the simulator's silence means nothing.
//!
//! The seeds are those that every batch begins with. `BUG=…` tries one bug alone.

use shared::bad::{Bug, switch};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::run::run;

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

/// How many seeds it takes until the checker that should find this bug does.
fn first_found(bug: Bug) -> Option<(u64, &'static str)> {
    let checker = breaks(bug);
    switch(Some(bug));
    let found = (1..=SEEDS_MAX)
        .find(|seed| run(*seed).violations.iter().any(|violation| violation.checker == checker));
    switch(None);
    found.map(|seeds| (seeds, checker))
}

/// The checker of the promise that a bug breaks.
fn breaks(bug: Bug) -> &'static str {
    match bug {
        Bug::OutboxDroppedOnSend | Bug::LookedAtIsLost | Bug::LateCommitDropped | Bug::TransferDoneOnCall => {
            "1 lost"
        }
        Bug::KeysForgotten => "2 twice",
        Bug::NewIdOnRetry | Bug::OrderByClock => "4 order",
        Bug::ClientAcksOnParse
        | Bug::RelayAcksOnParse
        | Bug::FailedCountIgnored
        | Bug::NoWrap
        | Bug::NumbersReused
        | Bug::NonzasCounted
        | Bug::AnyStreamResumed
        | Bug::LeaseIgnored => "5 counts",
        Bug::GateOpen
        | Bug::DeliveredWhenSent
        | Bug::ReadWhenDelivered
        | Bug::ScreenNotTold
        | Bug::CommitFailureIgnored
        | Bug::RefusalOvertaken
        | Bug::FullForgets => "6 truth",
        Bug::StatusGoesBack => "7 status",
        Bug::ReceiptForReceipt
        | Bug::ReorderedOnResume
        | Bug::CursorMovedOnSend
        | Bug::WakesForNothing
        | Bug::TimeStandsStill => "8 drained",
        Bug::WindowIgnored | Bug::AnswersPileUp => "9 bounded",
        Bug::TransferMisdirected | Bug::StatesMisdirected => "10 isolation",
        Bug::TransferTakenTwice => "11 log",
        Bug::DedupSkipped | Bug::DedupForgets => "12 horizon",
    }
}
