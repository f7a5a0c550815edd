//! How often the bytes are encrypted.

use serde::{Deserialize, Serialize};

use super::{Count, CryptoPlace, CryptoWork};

/// The passes of encryption over one byte at the sender. A pass reads each byte and writes it
/// elsewhere, as a copy does, but it is no copy: both are counted, apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Crypto {
    /// Passes by the CPU, per byte sent.
    pub by_cpu: Count,
    /// The passes, in each place where there may be one.
    pub passes: Vec<CryptoPass>,
}

/// The passes of one kind in one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CryptoPass {
    /// What is done.
    pub work: CryptoWork,
    /// Where it is done.
    pub place: CryptoPlace,
    /// Passes per byte sent.
    pub count: Count,
}

impl Crypto {
    /// Sums up passes.
    pub(crate) fn from_passes(passes: Vec<CryptoPass>) -> Self {
        let by_cpu = Count::sum(passes.iter().map(|pass| &pass.count));
        Self {
            by_cpu: by_cpu.unwrap_or_else(|| Count::unknown("no pass of this kind")),
            passes,
        }
    }

    /// The passes in one place.
    pub fn place(&self, place: CryptoPlace) -> Option<&Count> {
        let pass = self.passes.iter().find(|pass| pass.place == place)?;
        Some(&pass.count)
    }
}
