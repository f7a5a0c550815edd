//! The goals of underpass, as the data files give them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A limit for one number of ours, or for its ratio to another contender's in the same round.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    pub(crate) metric: String,
    /// The contender that is judged; by default underpass as it is meant to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<String>,
    /// The contender that it is compared with; by default the number itself is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) against: Option<Against>,
    pub(crate) wanted: Wanted,
    /// How the names of the cases begin that the goal is for; empty for all cases with the metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cases: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub(crate) enum Against {
    BestRival,
    Floor,
    Row(String),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

const BEST_RIVAL: &str = "the best rival";
const FLOOR: &str = "the floor";

impl Wanted {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
        }
    }
}

impl From<String> for Against {
    fn from(text: String) -> Self {
        match text.as_str() {
            BEST_RIVAL => Self::BestRival,
            FLOOR => Self::Floor,
            _ => Self::Row(text),
        }
    }
}

impl From<Against> for String {
    fn from(against: Against) -> Self {
        match against {
            Against::BestRival => BEST_RIVAL.to_owned(),
            Against::Floor => FLOOR.to_owned(),
            Against::Row(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_met() {
        assert!(Wanted::AtLeast(1.1).is_met(1.1) && !Wanted::AtLeast(1.1).is_met(1.09));
        assert!(Wanted::AtMost(2.0).is_met(2.0) && !Wanted::AtMost(2.0).is_met(2.1));
    }
}
