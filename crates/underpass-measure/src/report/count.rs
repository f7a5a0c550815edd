//! A number, with how it is known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number, with how it is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Count {
    /// `None` if it is not known. 0 means that it was counted and there were none.
    pub value: Option<f64>,
    /// How it is known.
    pub evidence: Evidence,
    /// The evidence in words.
    pub why: String,
}

/// How a number is known, from the weakest to the strongest. A sum is only as certain as its least
/// certain part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Evidence {
    /// It is not known.
    Unknown,
    /// It is documented for this way, and was not counted here.
    Expected,
    /// The kernel said so about this very transfer.
    Reported,
    /// A probe counted it.
    Measured,
}

impl Count {
    pub(crate) fn measured(value: f64, why: impl Into<String>) -> Self {
        Self::new(Some(value), Evidence::Measured, why)
    }

    pub(crate) fn expected(value: f64, why: impl Into<String>) -> Self {
        Self::new(Some(value), Evidence::Expected, why)
    }

    pub(crate) fn unknown(why: impl Into<String>) -> Self {
        Self::new(None, Evidence::Unknown, why)
    }

    pub(crate) fn new(value: Option<f64>, evidence: Evidence, why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            value,
            evidence,
            why,
        }
    }

    /// The sum of `parts`, which is only as certain as the least certain of them; `None` if there
    /// are none.
    pub(crate) fn sum<'a>(parts: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let parts: Vec<_> = parts.collect();
        let weakest = parts.iter().map(|part| part.evidence).min()?;
        let value = parts.iter().map(|part| part.value).sum();
        let mut whys: Vec<_> = parts.iter().map(|part| part.why.as_str()).collect();
        whys.dedup();
        Some(Self::new(value, weakest, whys.join("; ")))
    }

    /// The value, if a probe counted it.
    pub fn as_measured(&self) -> Option<f64> {
        self.value.filter(|_| self.evidence == Evidence::Measured)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Measured => "measured",
            Self::Reported => "reported",
            Self::Expected => "expected",
            Self::Unknown => "unknown",
        })
    }
}
