//! Client engines against relay engines, with nothing scripted between them: two accounts, one of
//! them with two devices. Links break and power fails at random, from a seed; then nothing fails
//! any more, and every promise must be kept.

use super::Store;
use crate::client::rows::{Direction, Op, Status};
use crate::client::{ClientEngine, Command, Config, Input, Output};
use crate::entropy::Entropy;
use crate::gate::BatchNo;
use crate::id::{DeviceId, LinkId, OriginId, StanzaSeq};
use crate::jid::BareJid;
use crate::log::{LogRow, LogStore, Source};
use crate::relay::{self, CallId, RelayEngine, TransferReply, TransferRequest};
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Default)]
struct Disk {
    rows: relay::rows::Rows,
    log: Vec<LogRow>,
}

impl LogStore for Disk {
    fn page(&self, after: StanzaSeq, limit: usize) -> Vec<LogRow> {
        self.log.iter().filter(|row| row.seq > after).take(limit).cloned().collect()
    }

    fn sources(&self, since: Millis, limit: usize) -> Vec<(StanzaSeq, Millis, Source)> {
        let newest = self.log.iter().rev().filter(|row| row.at >= since);
        newest.filter_map(|row| Some((row.seq, row.at, row.source.clone()?))).take(limit).collect()
    }
}

impl Disk {
    fn apply(&mut self, op: relay::rows::Op) {
        use relay::rows::Op::*;
        let rows = &mut self.rows;
        match op {
            Append(row) => {
                rows.last = row.seq;
                self.log.push(row);
            }
            PutDevice(row) => {
                rows.devices.retain(|other| other.device != row.device);
                rows.devices.push(row);
            }
            DeleteDevice(id) => rows.devices.retain(|row| row.device != id),
            PutAccount(row) => rows.account = Some(row),
            PutPeer(peer, seq) => {
                rows.peers.retain(|(other, _)| *other != peer);
                rows.peers.push((peer, seq));
            }
            PutMarks(marks) => rows.marks = marks,
        }
    }

    fn load(&self) -> relay::rows::Rows {
        let from = self.rows.marks.checkpoint.min(self.rows.marks.transferred);
        let tail = self.log.iter().filter(|row| row.seq > from).cloned().collect();
        relay::rows::Rows { tail, ..self.rows.clone() }
    }
}

struct Mailbox {
    engine: RelayEngine,
    disk: Disk,
    wake: Option<Millis>,
}

struct Client {
    account: BareJid,
    device: DeviceId,
    engine: ClientEngine,
    store: Store,
    pending: VecDeque<(BatchNo, Vec<Op>)>,
    /// The link as this side names it; the relay's name of it has the client's number in front.
    link: Option<LinkId>,
    up: VecDeque<String>,
    down: VecDeque<String>,
    wake: Option<Millis>,
    crashes: u8,
}

struct Town {
    now: Millis,
    entropy: Entropy,
    mailboxes: BTreeMap<BareJid, Mailbox>,
    clients: Vec<Client>,
    calls: VecDeque<(BareJid, TransferRequest)>,
    cut: usize,
    killed: usize,
}

fn jid(name: &str) -> BareJid {
    BareJid::new(name, "d").unwrap()
}

fn relay_config(account: &BareJid, seed: u8) -> relay::Config {
    let seed = [seed ^ account.as_str().len() as u8; 32];
    relay::Config { account: account.clone(), registration: relay::Registration::Open, seed }
}

impl Client {
    fn new(name: &str, device: &str) -> Self {
        Self {
            account: jid(name),
            device: DeviceId::from(device),
            engine: ClientEngine::load(super::Rows::default(), Self::config(&jid(name), device, 0)),
            store: Store::default(),
            pending: VecDeque::new(),
            link: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            wake: None,
            crashes: 0,
        }
    }

    fn config(account: &BareJid, device: &str, crashes: u8) -> Config {
        let mut seed = [crashes; 32];
        seed.iter_mut().zip(device.bytes()).for_each(|(byte, letter)| *byte ^= letter);
        Config { account: account.clone(), device: DeviceId::from(device), url: "wss://d/x".into(), seed }
    }
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let clients =
            vec![Client::new("alice", "laptop"), Client::new("alice", "phone"), Client::new("bob", "desk")];
        let mut town = Self {
            now: Millis(1_700_000_000_000),
            entropy: Entropy::new(bytes),
            mailboxes: BTreeMap::new(),
            clients,
            calls: VecDeque::new(),
            cut: 0,
            killed: 0,
        };
        for index in 0..3 {
            let sign_in = Command::SignIn { password: "pencil".into(), register: true };
            town.client(index, Input::Command(sign_in));
            town.heal();
            assert!(town.clients[index].engine.is_online());
        }
        town
    }

    fn mailbox(&mut self, account: &BareJid) -> &mut Mailbox {
        let now = self.now;
        self.mailboxes.entry(account.clone()).or_insert_with(|| Mailbox {
            engine: RelayEngine::load(now, Default::default(), Vec::new(), relay_config(account, 1)),
            disk: Disk::default(),
            wake: None,
        })
    }

    fn relay(&mut self, account: &BareJid, input: relay::Input<'_>) {
        let now = self.now;
        let mailbox = self.mailbox(account);
        mailbox.engine.handle(now, input, &mailbox.disk);
        loop {
            let mailbox = self.mailbox(account);
            match mailbox.engine.poll() {
                relay::Output::Commit(no, ops) => {
                    ops.into_iter().for_each(|op| mailbox.disk.apply(op));
                    mailbox.engine.handle(now, relay::Input::Committed(no), &mailbox.disk);
                }
                relay::Output::Send(link, text) => {
                    if let Some(client) = self.clients.iter_mut().find(|client| client.link == Some(link)) {
                        client.down.push_back(text);
                    }
                }
                relay::Output::Close(link, _) => {
                    // What was sent before arrives before the end does; the end is a frame here.
                    if let Some(client) = self.clients.iter_mut().find(|client| client.link == Some(link)) {
                        client.down.push_back(String::new());
                    }
                }
                relay::Output::Remember(..) | relay::Output::Reply(..) => {}
                relay::Output::Transfer(request) => self.calls.push_back((account.clone(), request)),
                relay::Output::WakeAt(at) => {
                    mailbox.wake = at;
                    return;
                }
            }
        }
    }

    fn transfer(&mut self, lose: bool) {
        let Some((from, request)) = self.calls.pop_front() else { return };
        let to = request.to.clone();
        self.relay(&to, relay::Input::Transfer(CallId(0), &request));
        let reply = (!lose).then_some(TransferReply::Accepted);
        self.relay(&from, relay::Input::Transferred(to, request.upto(), reply));
    }

    fn client(&mut self, index: usize, input: Input<'_>) {
        let now = self.now;
        self.clients[index].engine.handle(now, input);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        loop {
            let client = &mut self.clients[index];
            match client.engine.poll() {
                Output::Commit(no, ops) => client.pending.push_back((no, ops)),
                Output::Connect(link, _) => {
                    // Every engine counts its links from one; on the relay each has its own number.
                    client.up.clear();
                    client.down.clear();
                    let account = client.account.clone();
                    let relay_link =
                        LinkId(link.0 + 1_000 * (index as u64 + 1) + 10_000 * u64::from(client.crashes));
                    client.link = Some(relay_link);
                    client.engine.handle(self.now, Input::LinkUp(link));
                    self.relay(&account, relay::Input::LinkUp(relay_link));
                }
                Output::Send(link, frame) => {
                    if client.link.is_some_and(|relay_link| relay_link.0 % 1_000 == link.0) {
                        client.up.push_back(frame);
                    }
                }
                Output::Close(link) => {
                    if client.link.is_some_and(|relay_link| relay_link.0 % 1_000 == link.0) {
                        while !self.clients[index].up.is_empty() {
                            self.carry_up(index);
                        }
                        self.hang_up(index, false);
                    }
                }
                Output::Notify(_) => {}
                Output::WakeAt(at) => {
                    client.wake = at;
                    return;
                }
            }
        }
    }

    fn hang_up(&mut self, index: usize, tell: bool) {
        let client = &mut self.clients[index];
        let Some(relay_link) = client.link.take() else { return };
        client.up.clear();
        client.down.clear();
        let account = client.account.clone();
        self.relay(&account, relay::Input::LinkDown(relay_link));
        if tell {
            self.client(index, Input::LinkDown(LinkId(relay_link.0 % 1_000)));
        }
    }

    fn carry_up(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let (Some(link), Some(frame)) = (client.link, client.up.pop_front()) {
            let account = client.account.clone();
            self.relay(&account, relay::Input::Frame(link, &frame));
        }
    }

    fn carry_down(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match (client.link, client.down.pop_front()) {
            (Some(_), Some(frame)) if frame.is_empty() => self.hang_up(index, true),
            (Some(link), Some(frame)) => self.client(index, Input::Frame(LinkId(link.0 % 1_000), &frame)),
            _ => {}
        }
    }

    fn commit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some((no, ops)) = client.pending.pop_front() {
            ops.iter().for_each(|op| client.store.apply(op));
            self.client(index, Input::Committed(no));
        }
    }

    fn kill_client(&mut self, index: usize) {
        self.killed += 1;
        self.hang_up(index, false);
        let client = &mut self.clients[index];
        client.pending.clear();
        client.crashes += 1;
        let config = Client::config(&client.account, client.device.as_str(), client.crashes);
        client.engine = ClientEngine::load(client.store.rows(), config);
        self.drain(index);
    }

    fn kill_relay(&mut self, account: &BareJid) {
        self.killed += 1;
        let (now, seed) = (self.now, self.killed as u8);
        let mailbox = self.mailbox(account);
        mailbox.engine = RelayEngine::load(now, mailbox.disk.load(), Vec::new(), relay_config(account, seed));
        self.calls.retain(|(from, _)| from != account);
        self.relay(account, relay::Input::Wake);
        for index in 0..self.clients.len() {
            if self.clients[index].account == *account && self.clients[index].link.take().is_some() {
                self.clients[index].up.clear();
                self.clients[index].down.clear();
                // It notices by silence or by the end of the connection; here by the end.
                let last = self.clients[index].engine.last_link;
                self.client(index, Input::LinkDown(last));
            }
        }
    }

    /// Time goes to the next thing that anybody waits for, at most this far.
    fn pass(&mut self, ms: u64) {
        let until = self.now.plus(ms);
        let wakes = self.clients.iter().map(|client| client.wake);
        let wakes = wakes.chain(self.mailboxes.values().map(|mailbox| mailbox.wake));
        self.now = wakes.flatten().min().map_or(until, |at| at.clamp(self.now, until));
        for index in 0..self.clients.len() {
            if self.clients[index].wake.is_some_and(|at| at <= self.now) {
                self.client(index, Input::Wake);
            }
        }
        for account in self.mailboxes.keys().cloned().collect::<Vec<_>>() {
            if self.mailboxes[&account].wake.is_some_and(|at| at <= self.now) {
                self.mailbox(&account).wake = None;
                self.relay(&account, relay::Input::Wake);
            }
        }
    }

    fn busy(&self) -> bool {
        let busy =
            |client: &Client| !client.pending.is_empty() || !client.up.is_empty() || !client.down.is_empty();
        self.clients.iter().any(busy) || !self.calls.is_empty()
    }

    /// Nothing fails for a minute.
    fn heal(&mut self) {
        let end = self.now.plus(90_000);
        while self.now < end {
            while self.busy() {
                for index in 0..self.clients.len() {
                    self.commit(index);
                    self.carry_up(index);
                    self.carry_down(index);
                }
                self.transfer(false);
            }
            self.pass(10_000);
        }
    }

    /// One thing happens, of those that can.
    fn step(&mut self, sent: &mut u32) {
        let index = self.entropy.below(self.clients.len() as u64) as usize;
        let peer = if index == 2 { jid("alice") } else { jid("bob") };
        match self.entropy.below(200) {
            0..50 => self.carry_up(index),
            50..100 => self.carry_down(index),
            100..150 => self.commit(index),
            150..165 => self.transfer(false),
            165..167 => self.transfer(true),
            167..178 => {
                *sent += 1;
                let origin = OriginId(format!("{:04}-{}", sent, self.clients[index].device));
                let body = format!("body of {origin}");
                self.client(index, Input::Command(Command::Send { origin, to: peer, body }));
            }
            178..182 => {
                let seen = self.clients[index].store.seen(peer.as_str());
                self.client(index, Input::Command(seen));
            }
            182..190 => self.pass(2_000),
            190..193 => self.client(index, Input::Command(Command::Typing(peer, sent.is_multiple_of(2)))),
            193..196 => {
                self.cut += 1;
                self.hang_up(index, true);
            }
            196..198 => self.kill_client(index),
            198 => self.kill_relay(&jid("alice")),
            _ => self.kill_relay(&jid("bob")),
        }
    }

    fn check(&self) {
        let mut promised: Vec<(&BareJid, &OriginId)> = Vec::new();
        for client in &self.clients {
            assert!(client.engine.is_online(), "{} is back", client.device);
            assert!(client.store.outbox.is_empty(), "{}: {:?}", client.device, client.store.outbox);
            assert!(client.store.owed.is_empty(), "{}: {:?}", client.device, client.store.owed);
            promised.extend(client.store.promised.iter().map(|origin| (&client.account, origin)));
        }
        for client in &self.clients {
            let bodies: Vec<&str> = client.store.messages.values().map(|row| row.body.as_str()).collect();
            let unique: BTreeSet<&str> = bodies.iter().copied().collect();
            assert_eq!(bodies.len(), unique.len(), "shown twice on {}", client.device);
            for (sender, origin) in &promised {
                let row = client.store.messages.values().find(|row| row.body == format!("body of {origin}"));
                let row = row.unwrap_or_else(|| panic!("{origin} is not on {}", client.device));
                let own = **sender == client.account;
                assert_eq!(row.direction == Direction::Outgoing, own);
                assert!(!own || row.status >= Status::Delivered, "{origin} on {}: {row:?}", client.device);
            }
            assert_eq!(bodies.len(), promised.len(), "nothing invented on {}", client.device);
        }
        let timeline = |client: &Client| {
            let mut rows: Vec<_> =
                client.store.messages.values().map(|row| (row.order, row.body.clone())).collect();
            rows.sort();
            rows
        };
        assert_eq!(timeline(&self.clients[0]), timeline(&self.clients[1]), "one order on all devices");
        for client in &self.clients {
            for device in self.clients.iter().map(|client| client.device.as_str()) {
                let rows = timeline(client);
                let of_device: Vec<_> = rows.iter().filter(|(_, body)| body.ends_with(device)).collect();
                assert!(of_device.is_sorted_by_key(|(_, body)| body), "the sender's order: {of_device:?}");
            }
        }
    }
}

#[test]
fn real_engines_keep_the_promise_over_broken_links_and_power() {
    let seeds = std::env::var("PAIR_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let first = std::env::var("PAIR_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut totals = (0, 0, 0);
    for seed in first..first + seeds {
        println!("seed {seed}");
        let mut town = Town::new(seed);
        for index in 0..3 {
            let peer = if index == 2 { jid("alice") } else { jid("bob") };
            town.client(index, Input::Command(Command::Accept(peer)));
        }
        town.heal();
        let mut sent = 0;
        for _ in 0..3_000 {
            town.step(&mut sent);
        }
        town.heal();
        town.check();
        totals = (totals.0 + town.cut, totals.1 + town.killed, totals.2 + sent);
    }
    println!("{seeds} seeds: {} links cut, {} power cuts, {} messages", totals.0, totals.1, totals.2);
}
