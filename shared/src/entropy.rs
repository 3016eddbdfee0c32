//! Random bytes without a random source: SHA-256 over a seed from the driver's cryptographic
//! source and a counter. Unpredictable to whoever lacks the seed, and the same for the same
//! seed, which is what a simulation needs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;

/// A stream of bytes from one seed. The seed is nobody's business, also not a log's.
#[derive(Clone)]
pub struct Entropy {
    seed: [u8; 32],
    counter: u64,
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy").field("counter", &self.counter).finish_non_exhaustive()
    }
}

impl Entropy {
    /// From 32 bytes that nobody else knows.
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next `N` bytes; at most 32.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32) };
        self.counter += 1;
        let digest =
            Sha256::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize();
        let mut bytes = [0; N];
        bytes.iter_mut().zip(digest).for_each(|(byte, random)| *byte = random);
        bytes
    }

    /// 128 random bits as 22 characters that are safe in attributes and URLs.
    pub fn token(&mut self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<16>())
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_be_bytes(self.bytes()).checked_rem(bound).unwrap_or(0)
    }
}
