//! One run of one contender: numbers by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What was measured or calculated, under the names that tables and goals use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    numbers: BTreeMap<String, f64>,
    /// Bytes by route, as underpass reports them; empty for all others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) routes: BTreeMap<String, u64>,
}

impl Sample {
    pub(crate) fn of<const N: usize>(numbers: [(&str, f64); N]) -> Self {
        numbers.into_iter().collect()
    }

    pub(crate) fn with_routes(mut self, routes: BTreeMap<String, u64>) -> Self {
        self.routes = routes;
        self
    }

    pub(crate) fn get(&self, metric: &str) -> Option<f64> {
        self.numbers.get(metric).copied()
    }
}

impl<'a> FromIterator<(&'a str, f64)> for Sample {
    /// JSON has no number for 0 ÷ 0. Such values are left out.
    fn from_iter<I: IntoIterator<Item = (&'a str, f64)>>(numbers: I) -> Self {
        let told = numbers.into_iter().filter(|(_, value)| value.is_finite());
        Self {
            numbers: told.map(|(name, value)| (name.to_owned(), value)).collect(),
            routes: BTreeMap::new(),
        }
    }
}
