//! Ids, secrets, tokens and chances, all from one seed.

use fastrand::Rng;

/// The random numbers of one sandbox.
pub(crate) struct Random(Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    /// Returns `digits` random hex digits in lower case.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        std::iter::repeat_with(|| self.0.digit(16).to_ascii_lowercase())
            .take(digits)
            .collect()
    }

    /// Returns an id in the form of a UUID of version 4.
    pub(crate) fn uuid(&mut self) -> String {
        format!(
            "{}-{}-4{}-8{}-{}",
            self.hex(8),
            self.hex(4),
            self.hex(3),
            self.hex(3),
            self.hex(12)
        )
    }

    pub(crate) fn secret(&mut self) -> String {
        format!("whsec_{}", self.hex(32))
    }

    pub(crate) fn token(&mut self) -> String {
        format!("ptk_live_{}", self.hex(64))
    }

    /// Returns true with the given probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }
}
