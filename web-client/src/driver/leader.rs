//! Taking the lead, and keeping an engine going for as long as it lasts.
//!
//! There is one way for an engine to begin: claim the epoch, read the stores, take the tab's
//! pending commands. Start-up, hand-over from another tab and a failed commit all come here.

use super::browser;
use super::commit::{self, CommitFault, Epoch};
use super::engine_loop::{Ended, EngineLoop};
use super::history;
use super::tab::Tab;
use super::tabs::Lock;
use crate::port::StoreFault;
use futures::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use shared::client::{ClientEngine, Config};
use shared::limits::Limits;
use std::pin::pin;
use std::rc::Rc;

/// First and longest pause before a failed engine is followed by the next; each failure in a
/// row doubles it.
const RESTART_MS_MIN: u32 = 250;
const RESTART_MS_MAX: u32 = 30_000;
/// So many failures in a row are told to the user: the first may be a lost handle.
const FAILURES_UNTOLD: u32 = 1;

/// Waits for the lead, leads, and waits again, until the tab needs no engine any more.
pub(super) async fn campaign(tab: Rc<Tab>) {
    while !tab.is_finished() {
        let mut lock = Lock::acquire(tab.database.name(), tab.patience.lost()).await;
        if tab.is_finished() {
            return;
        }
        tab.set_leading(true);
        let lost = pin!(lock.lost());
        let ended = match select(pin!(lead(&tab)), lost).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => Ended::Fenced,
        };
        tab.stop_engine(ended);
        tab.set_leading(false);
        // Still under the lock: nobody opens what is about to go.
        tab.delete_if_abandoned().await;
        if ended == Ended::Fenced && !lock.is_real() {
            return;
        }
    }
}

async fn lead(tab: &Rc<Tab>) -> Ended {
    let mut failures = 0;
    loop {
        let ended = run(tab).await;
        let Ended::Failed(fault) = ended else { return ended };
        tab.stop_engine(ended);
        if tab.is_finished() {
            return Ended::Finished;
        }
        failures = if tab.has_committed() { 1 } else { failures + 1 };
        let pause_ms = RESTART_MS_MIN.saturating_mul(1 << (failures - 1).min(10)).min(RESTART_MS_MAX);
        tab.show_offline(browser::now().plus(pause_ms.into()));
        if failures > FAILURES_UNTOLD {
            tab.show_fault(Some(fault));
        }
        TimeoutFuture::new(pause_ms).await;
    }
}

/// One engine, from the stores to its end.
async fn run(tab: &Rc<Tab>) -> Ended {
    let (engine, epoch) = match start(tab).await {
        Ok(started) => started,
        Err(CommitFault::Fenced) => return Ended::Fenced,
        Err(CommitFault::Store(fault)) => return Ended::Failed(fault),
    };
    if tab.is_finished() {
        return Ended::Finished;
    }
    let (engine, end) = EngineLoop::new(engine, tab.database.clone(), epoch, tab.clone());
    tab.set_engine(engine, epoch);
    end.await.unwrap_or(Ended::Failed(StoreFault::Broken))
}

async fn start(tab: &Tab) -> Result<(ClientEngine, Epoch), CommitFault> {
    let epoch = commit::claim(&tab.database).await?;
    let rows = history::load(&tab.database).await.map_err(CommitFault::Store)?;
    let device = rows.account.as_ref().map_or_else(|| tab.device.clone(), |account| account.device.clone());
    let config = Config {
        account: tab.account.clone(),
        device,
        url: tab.url.clone(),
        seed: browser::random(),
        limits: Limits::DEFAULT,
    };
    Ok((ClientEngine::load(rows, config), epoch))
}
