//! A part of a town's state: shared by the states that have it in common, and known by a digest
//! of everything in it.
//!
//! **Invariant:** the digest covers the whole `Debug` rendering. What a type leaves out of that
//! must not matter to what happens next, or must follow from what it shows:
//!
//! - a gate shows how far its batches are from the last one on disk, not their numbers. A number
//!   is only ever compared with another, and the commit it names is the one that is out;
//! - a source of random bytes shows how often it was used and not its seed, which is a constant of
//!   the account and of how often the engine was loaded. That is shown next to the engine.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// Never the digest of anything.
const STALE: u64 = 0;

/// See the module.
#[derive(Clone)]
pub struct Part<T> {
    inner: Arc<T>,
    digest: u64,
}

impl<T: Clone + Debug> Part<T> {
    pub fn new(inner: T) -> Self {
        Self { inner: Arc::new(inner), digest: STALE }
    }

    /// For a change. The digest is wrong until [`Part::seal`].
    pub fn change(&mut self) -> &mut T {
        self.digest = STALE;
        Arc::make_mut(&mut self.inner)
    }

    /// Brings the digest up to date.
    pub fn seal(&mut self) {
        if self.digest == STALE {
            self.digest = digest(&*self.inner);
        }
    }

    pub fn digest(&self) -> u64 {
        assert_ne!(self.digest, STALE, "a change was not sealed");
        self.digest
    }
}

impl<T> std::ops::Deref for Part<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: Debug> Debug for Part<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Of everything that the value shows.
pub fn digest(value: &impl Debug) -> u64 {
    let mut sink = Sink(DefaultHasher::new());
    write!(sink, "{value:?}").expect("hashing does not fail");
    sink.0.finish().max(STALE + 1)
}

struct Sink(DefaultHasher);

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
