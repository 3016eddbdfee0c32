//! Promise 5: `h` never lies (XEP-0198 §4): it never goes back, is never above what arrived, never above
//! what is on the disk; and whoever tells the truth is never told that it was too high. What a
//! client was told the relay has, it does not send again.

use super::{Checker, Findings};
use crate::fact::Fact;
use crate::ledger::{Ledger, number};
use crate::net::Way;
use crate::said::{Said, Stanza};
use crate::sometimes::Mark;
use std::collections::{BTreeMap, BTreeSet};

/// A message that was sent under stream management: its entry, and the origin-id it had.
type Item = Option<(u64, String)>;

/// What was counted on one connection, in one direction.
#[derive(Clone, Debug, Default)]
struct Counted {
    /// The count with which it began.
    base: u32,
    /// Stanzas that were sent since.
    sent: Vec<Item>,
    /// How many of them arrived.
    arrived: u32,
    /// The highest count that was told, from the base.
    told: u32,
}

#[derive(Clone, Debug, Default)]
struct Link {
    device: usize,
    tab: u32,
    /// A tab that another has taken the lead from knows only what it knew then. It may say so,
    /// be refused, and spoil the stream; it can store nothing.
    leads: bool,
    up: Counted,
    down: Counted,
    /// Each side counts from when it knows that stream management is on.
    here: bool,
    there: bool,
    /// What the device asked to resume: the stream, and its count.
    asked: Option<(String, u32)>,
    /// The same, once it has arrived.
    heard: Option<(String, u32)>,
}

/// The newest connection of a stream, as each side knows it.
#[derive(Clone, Copy, Debug)]
struct Stream {
    here: u64,
    there: u64,
}

pub struct Counts {
    wrap: Option<u32>,
    links: BTreeMap<u64, Link>,
    streams: BTreeMap<String, Stream>,
    /// What a tab was told that the relay has: device, tab, origin-id.
    settled: BTreeSet<(usize, u32, String)>,
    /// Streams that two tabs have asked for.
    contested: BTreeSet<String>,
}

impl Counts {
    pub fn new(wrap: Option<u32>) -> Self {
        Self {
            wrap,
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            settled: BTreeSet::new(),
            contested: BTreeSet::new(),
        }
    }

    /// A stream that stood before the run began, at counts that the plan chose.
    fn known(&mut self, id: &str) -> Option<Stream> {
        if !self.streams.contains_key(id) && id.starts_with(crate::keys::OLD_STREAM) {
            let base = self.wrap?.wrapping_neg();
            let counted = || Counted { base, ..Counted::default() };
            let link = Link { up: counted(), down: counted(), ..Link::default() };
            let name = u64::MAX - self.streams.len() as u64;
            self.links.insert(name, link);
            self.streams.insert(id.to_owned(), Stream { here: name, there: name });
        }
        self.streams.get(id).copied()
    }
}

impl Checker for Counts {
    fn name(&self) -> &'static str {
        "5 counts"
    }

    fn see(&mut self, fact: &Fact<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let Fact::Frame { link, device, tab, leads, way, arrived, said } = fact else { return };
        if ledger.cast.devices.get(*device).is_none_or(|(_, _, liar)| *liar) {
            return;
        }
        let known = self.links.entry(*link).or_default();
        (known.device, known.tab, known.leads) = (*device, *tab, *leads);
        match (way, arrived) {
            (Way::Up, false) => self.device_says(*link, said, ledger, findings),
            (Way::Up, true) => self.relay_hears(*link, said),
            (Way::Down, false) => self.relay_says(*link, said, ledger, findings),
            (Way::Down, true) => self.device_hears(*link, said, findings),
        }
    }
}

impl Counts {
    fn device_says(&mut self, id: u64, said: &Said<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match said {
            Said::Stanza(stanza) if link.here => {
                let item = item(stanza);
                if let Some((number, origin)) = &item {
                    let again = self.settled.contains(&(link.device, link.tab, origin.clone()));
                    findings.check(!again, || format!("m{number} is sent again, and the relay has it"));
                }
                link.up.sent.push(item);
            }
            Said::Ack(h) if link.here => {
                told(id, &mut link.down, *h, |item| on_device(item, link.device, ledger), findings)
            }
            Said::Resume(h, stream) => {
                link.asked = Some(((*stream).to_owned(), *h));
                if !link.leads {
                    self.contested.insert((*stream).to_owned());
                    return;
                }
                let device = link.device;
                let before = self.known(stream).and_then(|stream| self.links.get_mut(&stream.here));
                if let Some(before) = before {
                    told(id, &mut before.down, *h, |item| on_device(item, device, ledger), findings);
                }
            }
            Said::TooHigh if link.leads => findings.add(format!("link {id}: the relay is told that it lies")),
            _ => {}
        }
    }

    fn relay_hears(&mut self, id: u64, said: &Said<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match said {
            Said::Stanza(_) if link.there => link.up.arrived += 1,
            Said::Resume(h, stream) => link.heard = Some(((*stream).to_owned(), *h)),
            _ => {}
        }
    }

    fn relay_says(&mut self, id: u64, said: &Said<'_>, ledger: &Ledger, findings: &mut Findings<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let accepted = |item: &Item| is_accepted(item, ledger);
        match said {
            Said::Stanza(stanza) if link.there => link.down.sent.push(item(stanza)),
            Said::Ack(h) if link.there => told(id, &mut link.up, *h, accepted, findings),
            Said::Enabled(stream) => {
                link.there = true;
                self.streams.insert((*stream).to_owned(), Stream { here: id, there: id });
            }
            Said::Resumed(h, stream) => {
                let heard = link.heard.as_ref().map_or(0, |(_, h)| *h);
                let before = self.known(stream).and_then(|stream| self.links.get_mut(&stream.there));
                if let Some(before) = before {
                    told(id, &mut before.up, *h, accepted, findings);
                }
                if let Some(link) = self.links.get_mut(&id) {
                    link.there = true;
                    (link.up.base, link.down.base) = (*h, heard);
                }
                if let Some(stream) = self.streams.get_mut(*stream) {
                    stream.there = id;
                }
            }
            Said::Failed(Some(h)) => {
                let stream = link.heard.clone().and_then(|(stream, _)| self.known(&stream));
                if let Some(before) = stream.and_then(|stream| self.links.get_mut(&stream.there)) {
                    told(id, &mut before.up, *h, accepted, findings);
                }
            }
            Said::TooHigh => {
                let asked = link.heard.as_ref().map(|(stream, _)| stream);
                let contested = asked.is_some_and(|stream| self.contested.contains(stream));
                findings
                    .check(contested || !link.leads, || format!("link {id}: a device is told that it lies"));
            }
            _ => {}
        }
    }

    fn device_hears(&mut self, id: u64, said: &Said<'_>, findings: &mut Findings<'_>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (device, tab, asked) = (link.device, link.tab, link.asked.clone());
        match said {
            Said::Stanza(_) if link.here => link.down.arrived += 1,
            Said::Enabled(_) => link.here = true,
            Said::Ack(h) if link.here => {
                let settled = confirmed(&link.up, *h);
                self.settled.extend(settled.into_iter().map(|origin| (device, tab, origin)));
            }
            Said::Resumed(h, stream) => {
                link.here = true;
                (link.up.base, link.down.base) = (*h, asked.map_or(0, |(_, h)| h));
                let leads = link.leads;
                self.resolved(device, tab, stream, *h, findings);
                if let Some(stream) = self.streams.get_mut(*stream).filter(|_| leads) {
                    stream.here = id;
                }
            }
            Said::Failed(Some(h)) => {
                findings.mark(Mark::FailedWithCount);
                if let Some((stream, _)) = asked {
                    self.resolved(device, tab, &stream, *h, findings);
                }
            }
            _ => {}
        }
    }

    /// What a device learns of its last connection when it comes back.
    fn resolved(&mut self, device: usize, tab: u32, stream: &str, h: u32, findings: &mut Findings<'_>) {
        let Some(before) = self.known(stream).and_then(|stream| self.links.get(&stream.here)) else { return };
        let settled = confirmed(&before.up, h);
        let messages = before.up.sent.iter().flatten().count();
        findings.mark(match settled.len() {
            _ if messages == 0 => Mark::ResumedWithNothing,
            0 => Mark::ResumedWithNoneAcked,
            some if some < messages => Mark::ResumedWithSomeAcked,
            _ => Mark::ResumedWithAllAcked,
        });
        if before.tab == tab {
            self.settled.extend(settled.into_iter().map(|origin| (device, tab, origin)));
        }
    }
}

/// A count is told: everything it covers must have arrived and be on the disk.
fn told(
    link: u64,
    counted: &mut Counted,
    h: u32,
    is_on_disk: impl Fn(&Item) -> bool,
    findings: &mut Findings<'_>,
) {
    let from_base = h.wrapping_sub(counted.base);
    if h < counted.base && from_base < 1 << 20 {
        findings.mark(Mark::CountWrapped);
    }
    findings.check(from_base <= counted.arrived, || {
        format!("link {link}: h={h}, and {} arrived after {}", counted.arrived, counted.base)
    });
    findings.check(from_base >= counted.told, || {
        format!("link {link}: h={h} after {}", counted.base.wrapping_add(counted.told))
    });
    let covered = counted.sent.get(counted.told as usize..from_base as usize).unwrap_or_default();
    if let Some(missing) = covered.iter().find(|item| !is_on_disk(item)) {
        findings.add(format!("link {link}: h={h} covers {missing:?}, which is on no disk"));
    }
    counted.told = from_base;
}

/// The messages that a count confirms.
fn confirmed(counted: &Counted, h: u32) -> Vec<String> {
    let upto = h.wrapping_sub(counted.base) as usize;
    let covered = counted.sent.get(..upto.min(counted.sent.len())).unwrap_or_default();
    covered.iter().flatten().map(|(_, origin)| origin.clone()).collect()
}

fn item(stanza: &Stanza<'_>) -> Item {
    if stanza.is_error {
        return None;
    }
    number(stanza.body?).zip(stanza.origin.map(str::to_owned))
}

fn is_accepted(item: &Item, ledger: &Ledger) -> bool {
    let Some((number, origin)) = item else { return true };
    ledger.entries.get(*number as usize).is_none_or(|entry| entry.accepted.contains(origin))
}

fn on_device(item: &Item, device: usize, ledger: &Ledger) -> bool {
    let Some((number, _)) = item else { return true };
    ledger.entries.get(*number as usize).is_none_or(|entry| entry.on.contains(&device))
}
