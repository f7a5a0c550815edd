//! The part of `underpass --receipt json` that the lab checks and reports.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Context, Error, Result};

/// The receipt of one transfer. Unknown fields are ignored, because receipts may get new ones.
#[derive(Debug, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) bytes: u64,
    pub(crate) complete: bool,
    /// `None` if no route moved a byte: for an empty file, or one that is a single hole.
    pub(crate) route: Option<String>,
    pub(crate) syscalls: Option<u64>,
    /// What each route moved.
    #[serde(default)]
    routes: Vec<RouteUse>,
}

#[derive(Debug, Deserialize)]
struct RouteUse {
    route: String,
    bytes: u64,
}

impl Receipt {
    /// Parses the last line of `stdout` that is a JSON object.
    pub(crate) fn parse(stdout: &str) -> Result<Self> {
        let line = stdout
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with('{'));
        let line = line.ok_or_else(|| Error::new("underpass printed no receipt"))?;
        serde_json::from_str(line)
            .context(|| "underpass printed a receipt that cannot be read".into())
    }

    /// The bytes that each route moved.
    pub(crate) fn by_route(&self) -> BTreeMap<String, u64> {
        let routes = self.routes.iter();
        routes
            .map(|used| (used.route.clone(), used.bytes))
            .collect()
    }

    /// The bytes that one route moved.
    pub(crate) fn by(&self, route: &str) -> u64 {
        let moved = self.routes.iter().filter(|used| used.route == route);
        moved.map(|used| used.bytes).sum()
    }

    /// Fails unless everything was moved, by the route that this row of the table is about.
    pub(crate) fn check(&self, bytes: u64, route: Option<&str>) -> Result<()> {
        if !self.complete || self.bytes != bytes {
            let (moved, complete) = (self.bytes, self.complete);
            return Err(Error::new(format!(
                "the receipt says {moved} of {bytes} bytes, complete: {complete}"
            )));
        }
        match route {
            Some(expected) if self.route.as_deref() != Some(expected) => {
                let taken = self.route.as_deref().unwrap_or("none");
                Err(Error::new(format!("the route was {taken}, not {expected}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"source":{"kind":"file"},"bytes":8,"complete":true,"route":"sendfile",
        "syscalls":3,"cpu":{"user_s":0.1,"system_s":0.2},"wall_s":0.3}"#;

    fn receipt() -> Receipt {
        Receipt::parse(&LINE.replace('\n', "")).unwrap()
    }

    #[test]
    fn reads_the_last_object_line() {
        let stdout = format!("{{\"other\":1}}\n{}\n\n", LINE.replace('\n', ""));
        let receipt = Receipt::parse(&stdout).unwrap();
        assert_eq!(
            (receipt.bytes, receipt.route.as_deref(), receipt.syscalls),
            (8, Some("sendfile"), Some(3))
        );
    }

    #[test]
    fn no_receipt_and_a_broken_one_are_errors() {
        assert!(Receipt::parse("").is_err());
        assert!(Receipt::parse("{\"bytes\":1}").is_err());
    }

    #[test]
    fn checks_count_completeness_and_route() {
        assert!(receipt().check(8, Some("sendfile")).is_ok());
        assert!(receipt().check(8, None).is_ok());
        assert!(receipt().check(9, None).is_err());
        assert!(receipt().check(8, Some("read-write")).is_err());
        let partial = Receipt {
            complete: false,
            ..receipt()
        };
        assert!(partial.check(8, None).is_err());
    }
}
