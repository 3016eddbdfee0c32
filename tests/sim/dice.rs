//! Chance, from one seed. Nothing else in the simulator is random.

/// A stream of decisions. All numbers are 64 bits wide, so that a seed means the same on a
/// 32-bit machine.
#[derive(Clone, Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// The decisions that belong to this seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.u64(0..bound.max(1))
    }

    /// A number from `range.0` to `range.1`, both possible.
    pub fn between(&mut self, range: (u64, u64)) -> u64 {
        range.0 + self.below(range.1.saturating_sub(range.0) + 1)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u64) as usize)
    }

    /// A pause with this mean, mostly shorter and sometimes much longer: how independent
    /// disasters are spaced.
    pub fn pause(&mut self, mean: u64) -> u64 {
        // The sum of two geometric halvings; no floating point, so the same everywhere.
        let halvings = u64::from(self.0.u64(1..=u64::MAX).leading_zeros().min(4));
        (mean / 2 + self.below(mean.max(1))) * (halvings + 1) / 2
    }

    /// 32 bytes for an engine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.0.u64(..).to_le_bytes());
        }
        bytes
    }
}
