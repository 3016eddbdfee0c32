//! What happened, one line per event, and a hash of it all.

use std::fmt;

/// The hash of a whole run (FNV-1a), and the lines if somebody wants to read them.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
    seq: u64,
}

impl Trace {
    /// A new trace; `keep` keeps the lines.
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: keep.then(Vec::new), seq: 0 }
    }

    /// Notes an event: what happened where and when, and the bytes that it is about.
    pub fn event(&mut self, now: u64, node: &str, what: &str, about: &str) {
        self.frame(now, node, what, 0, about);
    }

    /// Notes what is said on a link; 0 is none.
    pub fn frame(&mut self, now: u64, node: &str, what: &str, link: u64, about: &str) {
        self.seq += 1;
        self.mix(&now.to_le_bytes());
        self.mix(&link.to_le_bytes());
        for text in [node, what, about] {
            self.mix(text.as_bytes());
            self.mix(&[0xff]);
        }
        if let Some(lines) = &mut self.lines {
            let link = if link > 0 { format!("#{link}") } else { String::new() };
            let line = format!("{:>6} {:>9} {node:<10} {what:<8} {link:<4} {about}", self.seq, Clock(now));
            lines.push(line);
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Whether the lines are kept.
    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// Number of the newest event.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Equal for equal runs.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines that were kept.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// Minutes, seconds and milliseconds since the run began.
struct Clock(u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.saturating_sub(crate::world::START_MS);
        f.pad(&format!("{}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000))
    }
}
