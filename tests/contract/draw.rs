//! What rows are filled with: what a seed draws, and what is odd on purpose.

use fastrand::Rng;
use shared::id::StanzaSeq;
use shared::jid::BareJid;
use shared::sm::Handled;
use shared::time::Millis;

/// The highest number that a double still tells from its neighbours.
pub const EXACT_MAX: u64 = (1 << 53) - 1;

/// Texts that have hurt somebody's store.
pub const ODD_TEXTS: [&str; 26] = [
    "",
    " ",
    "\t\r\n",
    "\u{feff}after a byte order mark",
    "no end\u{0}of text",
    "a\u{1}\u{7f}\u{85}",
    "'); DROP TABLE log; --",
    "\"quoted\" \\ back\\u0041slash `tick` ${x} %s ?1 :a @b",
    "null",
    "true",
    "007",
    "1e999",
    "[object Object]",
    "__proto__",
    "<a xmlns='b'>&amp;]]></a>",
    "e\u{301} is not \u{e9}",
    "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{1f3fd} \u{1f1e9}\u{1f1ea}",
    "\u{10000}\u{10ffff}",
    "\u{d7ff}\u{e000}\u{f8ff}",
    "\u{fffd}\u{fffe}\u{ffff}",
    "\u{202e}drawkcab\u{202c}\u{2066}",
    "\u{2028}\u{2029}",
    "回执：每条消息都有回执。𠮷野家",
    "زۆر سوپاس",
    "İıſß",
    "\u{34f}\u{200b}\u{ad}\u{2060}",
];

/// Seeded dice.
pub struct Dice(Rng);

impl Dice {
    /// The same rows for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// Whether something happens that happens once in `times`.
    pub fn once_in(&mut self, times: u32) -> bool {
        self.0.u32(..times) == 0
    }

    /// From 0 to `most`.
    pub fn upto(&mut self, most: u64) -> u64 {
        self.0.u64(..=most)
    }

    /// A place in a list, or a count below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// One of them.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    /// There, or not.
    pub fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.once_in(3)).then(|| draw(self))
    }

    /// Up to `most` of them.
    pub fn some<T>(&mut self, most: usize, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| draw(self)).collect()
    }

    /// Odd, or a few words.
    pub fn text(&mut self) -> String {
        match self.below(3) {
            0 => self.pick(&ODD_TEXTS).to_owned(),
            1 => format!("{} {}", self.pick(&ODD_TEXTS), self.pick(&ODD_TEXTS)),
            _ => format!("text {}", self.upto(999)),
        }
    }

    /// Anywhere, and often at an end.
    pub fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => self.pick(&[0, 1, u64::from(u32::MAX), 1 << 32, 1 << 51, EXACT_MAX - 1, EXACT_MAX]),
            _ => self.upto(EXACT_MAX),
        }
    }

    /// A count modulo 2³².
    pub fn counter(&mut self) -> u32 {
        match self.below(3) {
            0 => self.pick(&[0, 1, 1 << 31, u32::MAX - 1, u32::MAX]),
            _ => self.0.u32(..),
        }
    }

    /// See [`Dice::counter`].
    pub fn handled(&mut self) -> Handled {
        Handled(self.counter())
    }

    /// See [`Dice::number`].
    pub fn seq(&mut self) -> StanzaSeq {
        StanzaSeq(self.number())
    }

    /// See [`Dice::number`].
    pub fn millis(&mut self) -> Millis {
        Millis(self.number())
    }

    /// True or false.
    pub fn flag(&mut self) -> bool {
        self.0.bool()
    }

    /// One of a few addresses.
    pub fn jid(&mut self) -> BareJid {
        jid(self.pick(&JIDS))
    }
}

/// Addresses, of which some begin like others.
pub const JIDS: [&str; 6] = [
    "ann@localhost",
    "ann@localhost.example",
    "anna@localhost",
    "用户@localhost",
    "éa.b-c_d+e@localhost",
    "localhost",
];

/// An address.
pub fn jid(text: &str) -> BareJid {
    BareJid::parse(text).expect("an address")
}

/// `bytes` of text in characters of one, two, three or four bytes.
pub fn long(character: char, bytes: usize) -> String {
    character.to_string().repeat(bytes / character.len_utf8())
}
