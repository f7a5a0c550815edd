//! Receipts as `--receipt json` prints them, read by the field names that users rely on.

use serde_json::Value;

/// A receipt: one JSON object.
#[derive(Debug)]
pub(crate) struct Receipt(Value);

impl Receipt {
    /// Parses the only line of `text`.
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        assert_eq!(text.lines().count(), 1, "one receipt, one line: {text:?}");
        Self(serde_json::from_str(text).unwrap())
    }

    /// Checks that all `bytes` were moved by `route` alone, and that the receipt adds up.
    #[track_caller]
    pub(crate) fn assert_route(&self, route: &str, bytes: usize) {
        let whole = self.0["complete"] == true && self.number("bytes") == bytes as u64;
        assert!(whole, "not {bytes} bytes, complete: {self:?}");
        assert_eq!(self.route(), route, "{self:?}");
        assert_eq!(self.0["fallbacks"], serde_json::json!([]), "{self:?}");
        assert_eq!(self.0["routes"].as_array().unwrap().len(), 1, "{self:?}");
        let moved = self.0["routes"][0]["bytes"].as_u64().unwrap();
        assert_eq!(moved + self.number("hole_bytes"), bytes as u64, "{self:?}");
        assert_eq!(self.number("mode_switches"), 2 * self.number("syscalls"));
    }

    pub(crate) fn route(&self) -> &str {
        self.0["route"].as_str().unwrap_or("none")
    }

    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    /// A number that is left out where it is 0.
    pub(crate) fn number_or_zero(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or(0)
    }

    /// A field as it is.
    pub(crate) fn field(&self, name: &str) -> &Value {
        &self.0[name]
    }

    /// How many bytes a route has moved.
    pub(crate) fn moved_by(&self, route: &str) -> u64 {
        let routes = self.0["routes"].as_array().unwrap().iter();
        let used = routes.filter(|used| used["route"] == route);
        used.map(|used| used["bytes"].as_u64().unwrap()).sum()
    }

    pub(crate) fn complete(&self) -> bool {
        self.0["complete"].as_bool().unwrap()
    }

    /// The copies by the CPU; `None` if the receipt says that they are unknown.
    pub(crate) fn cpu_bytes(&self) -> Option<u64> {
        self.0["copies"]["cpu_bytes"].as_u64()
    }

    pub(crate) fn evidence(&self) -> &str {
        self.0["copies"]["evidence"].as_str().unwrap()
    }

    pub(crate) fn why(&self) -> &str {
        self.0["copies"]["why"].as_str().unwrap()
    }

    /// The kind and name of `end`, which is `source` or `sink`.
    pub(crate) fn party(&self, end: &str) -> (&str, &str) {
        let party = &self.0[end];
        (
            party["kind"].as_str().unwrap(),
            party["name"].as_str().unwrap(),
        )
    }
}
