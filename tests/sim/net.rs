//! The network: WebSockets as two ordered pipes each, with everything that happens to them.
//!
//! A pipe never reorders and never doubles: TCP does not. What it does is take its time, stop,
//! lose its tail, and leave either end believing that the other is still there.

use shared::id::LinkId;
use std::collections::{BTreeMap, VecDeque};

/// What travels in a pipe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wire {
    /// A text message.
    Text(String),
    /// A binary message, which only a liar sends.
    Binary,
    /// The end of the connection.
    End,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// From the device to the relay.
    Up,
    /// From the relay to the device.
    Down,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default)]
struct Pipe {
    wires: VecDeque<Wire>,
    /// When the newest of them arrives.
    last_due: u64,
    /// Nothing more can be put in.
    closed: bool,
    /// Nothing comes out any more, and nobody is told.
    dead: bool,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which device.
    pub device: usize,
    /// Which of its tabs.
    pub tab: u32,
    /// Its name at the device.
    pub local: LinkId,
    /// Whose mailbox it leads to.
    pub account: usize,
    /// The device still has it.
    pub here: bool,
    /// The relay still has it.
    pub there: bool,
    /// Nothing passes until then.
    pub stalled_until: u64,
    /// It is one of the fast ones, where others are slow.
    pub fast: bool,
    /// After so many frames from the device nothing passes for a while.
    pub stalls_after: Option<u64>,
    up: Pipe,
    down: Pipe,
}

/// All connections that either side still has.
#[derive(Clone, Debug, Default)]
pub struct Net {
    links: BTreeMap<u64, Link>,
    last: u64,
}

impl Net {
    /// A connection that is being dialled.
    pub fn dial(&mut self, device: usize, tab: u32, local: LinkId, account: usize) -> u64 {
        self.last += 1;
        let (up, down) = Default::default();
        let link = Link {
            device,
            tab,
            local,
            account,
            here: true,
            there: false,
            stalled_until: 0,
            stalls_after: None,
            fast: false,
            up,
            down,
        };
        self.links.insert(self.last, link);
        self.last
    }

    /// A connection.
    pub fn get(&self, link: u64) -> Option<&Link> {
        self.links.get(&link)
    }

    /// A connection, to be changed.
    pub fn get_mut(&mut self, link: u64) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    /// All connections.
    pub fn links(&self) -> impl Iterator<Item = (u64, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// Puts something in. Returns when it arrives, if it does.
    pub fn put(&mut self, link: u64, way: Way, wire: Wire, due: u64) -> Option<u64> {
        let pipe = self.pipe(link, way)?;
        if pipe.closed {
            return None;
        }
        pipe.closed = wire == Wire::End;
        pipe.wires.push_back(wire);
        pipe.last_due = pipe.last_due.max(due);
        Some(pipe.last_due)
    }

    /// The oldest thing in a pipe arrives.
    pub fn take(&mut self, link: u64, way: Way) -> Option<Wire> {
        let pipe = self.pipe(link, way)?;
        if pipe.dead { None } else { pipe.wires.pop_front() }
    }

    /// The connection breaks: of what is on its way so many arrive, and then, if the side is to
    /// notice, the end.
    pub fn cut(&mut self, link: u64, way: Way, arrive: usize, notice: Option<u64>) -> Option<u64> {
        let pipe = self.pipe(link, way)?;
        if pipe.closed {
            return None;
        }
        pipe.wires.truncate(arrive);
        pipe.closed = true;
        let due = notice?;
        pipe.wires.push_back(Wire::End);
        pipe.last_due = pipe.last_due.max(due);
        Some(pipe.last_due)
    }

    /// The connection is dead, and neither side is told.
    pub fn kill(&mut self, link: u64) {
        if let Some(link) = self.links.get_mut(&link) {
            for pipe in [&mut link.up, &mut link.down] {
                pipe.dead = true;
                pipe.wires.clear();
            }
        }
    }

    /// How many things are on their way.
    pub fn waiting(&self, link: u64, way: Way) -> usize {
        self.links.get(&link).map_or(0, |link| match way {
            Way::Up => link.up.wires.len(),
            Way::Down => link.down.wires.len(),
        })
    }

    /// Forgets a connection that neither side has.
    pub fn forget(&mut self, link: u64) {
        if self.links.get(&link).is_some_and(|link| !link.here && !link.there) {
            self.links.remove(&link);
        }
    }

    fn pipe(&mut self, link: u64, way: Way) -> Option<&mut Pipe> {
        let link = self.links.get_mut(&link)?;
        Some(match way {
            Way::Up => &mut link.up,
            Way::Down => &mut link.down,
        })
    }
}
