//! What is compared, how and for how long: one data file per scenario, in `lab/scenarios`.

mod goal;

use serde::{Deserialize, Serialize};

pub(crate) use self::goal::{Against, Goal};
use crate::error::{Context, Error, Result};
use crate::size;

/// Every scenario, in the order in which they run.
const FILES: &[&str] = &[
    include_str!("../../scenarios/http-small.toml"),
    include_str!("../../scenarios/http-medium.toml"),
    include_str!("../../scenarios/http-large.toml"),
    include_str!("../../scenarios/http-turns.toml"),
    include_str!("../../scenarios/http-rules.toml"),
    include_str!("../../scenarios/http-bucket.toml"),
    include_str!("../../scenarios/http-bucket-large.toml"),
    include_str!("../../scenarios/http-embedded.toml"),
    include_str!("../../scenarios/http-idle.toml"),
    include_str!("../../scenarios/http-cold.toml"),
    include_str!("../../scenarios/http-fair.toml"),
    include_str!("../../scenarios/https-small.toml"),
    include_str!("../../scenarios/https-medium.toml"),
    include_str!("../../scenarios/https-large.toml"),
    include_str!("../../scenarios/https-idle.toml"),
    include_str!("../../scenarios/https-handshakes.toml"),
    include_str!("../../scenarios/h2-small.toml"),
    include_str!("../../scenarios/h2c-small.toml"),
    include_str!("../../scenarios/h2-large.toml"),
    include_str!("../../scenarios/relay-bulk.toml"),
    include_str!("../../scenarios/relay-ping.toml"),
    include_str!("../../scenarios/relay-idle.toml"),
    include_str!("../../scenarios/relay-crossover.toml"),
    include_str!("../../scenarios/relay-mixed.toml"),
    include_str!("../../scenarios/fan-out.toml"),
    include_str!("../../scenarios/fan-out-file.toml"),
    include_str!("../../scenarios/send.toml"),
    include_str!("../../scenarios/copy.toml"),
    include_str!("../../scenarios/tree.toml"),
];

/// One data file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// What it measures, in a sentence.
    pub(crate) what: String,
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) sizes: Vec<Bytes>,
    /// Messages of different sizes, one after the other, which make one trip.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) mixes: Vec<Vec<Bytes>>,
    #[serde(default)]
    pub(crate) connections: Vec<usize>,
    /// Requests at a time on each connection, where the protocol has streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) streams: Option<usize>,
    /// How many files a directory has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<usize>,
    /// How often each contender runs. One more run comes first; it is not counted, and its bytes
    /// are compared.
    pub(crate) rounds: u32,
    /// The most rounds, if the deciding comparisons are not settled earlier [default: three times
    /// the rounds].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) most_rounds: Option<u32>,
    /// Length of each measurement, if it does not end with its work.
    #[serde(default)]
    pub(crate) seconds: f64,
    /// Who runs, in the order of the tables.
    pub(crate) contenders: Vec<String>,
    /// How many contenders a run left out because of `--only`.
    #[serde(default)]
    pub(crate) left_out: usize,
    /// The routes that ours must have taken, one for each size, if there is more than one.
    #[serde(default)]
    pub(crate) routes: Vec<String>,
    #[serde(default)]
    pub(crate) goals: Vec<Goal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<Published>,
    /// How to read the numbers.
    pub(crate) note: String,
}

/// The largest size in a quick run, and the most connections.
const QUICK_SIZE: u64 = 64 << 20;
const QUICK_CONNECTIONS: usize = 500;
const QUICK_FILES: usize = 500;

/// How a scenario is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Responses per second to keep-alive connections in a closed loop.
    HttpRequests,
    /// The same load with bodies so large that bytes are counted.
    HttpBulk,
    /// Memory of idle connections.
    HttpIdle,
    /// The latency of a small file in the page cache beside clients that download cold files from a
    /// slow disk.
    HttpCold,
    /// The latency of a small file in the page cache beside clients that download a large one.
    HttpFair,
    /// As http-requests, over TLS.
    HttpsRequests,
    /// As http-bulk, over TLS.
    HttpsBulk,
    /// As http-idle, over TLS.
    HttpsIdle,
    /// TLS handshakes a second, each with one response: full ones, and ones that resume.
    HttpsHandshakes,
    /// Responses per second by HTTP/2 over TLS, with h2load.
    H2Requests,
    /// The same with bodies so large that bytes are counted.
    H2Bulk,
    /// As h2-requests, without TLS.
    H2cRequests,
    /// Bytes through relays, by connections that are always full.
    RelayBulk,
    /// Messages through relays, one at a time.
    RelayMessages,
    /// Memory of idle relayed connections.
    RelayIdle,
    /// A stream to many: from a pipe, from TCP and from a Unix socket.
    FanOut,
    /// A file to many.
    FanOutFile,
    /// One file to a receiver that discards it, sent by whole processes.
    Send,
    /// One file to a new one, copied by whole processes.
    Copy,
    /// A directory to another one, from process to process.
    Tree,
}

/// Contenders that are measured in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Race {
    Http,
    Https,
    H2,
    H2c,
    Relay,
    FanOut,
    FanOutFile,
    Send,
    Copy,
    Tree,
}

impl Kind {
    /// The contenders that can take part.
    pub(crate) fn race(self) -> Race {
        match self {
            Self::HttpRequests | Self::HttpBulk | Self::HttpIdle => Race::Http,
            Self::HttpCold | Self::HttpFair => Race::Http,
            Self::HttpsRequests | Self::HttpsBulk => Race::Https,
            Self::HttpsIdle | Self::HttpsHandshakes => Race::Https,
            Self::H2Requests | Self::H2Bulk => Race::H2,
            Self::H2cRequests => Race::H2c,
            Self::RelayBulk | Self::RelayMessages | Self::RelayIdle => Race::Relay,
            Self::FanOut => Race::FanOut,
            Self::FanOutFile => Race::FanOutFile,
            Self::Send => Race::Send,
            Self::Copy => Race::Copy,
            Self::Tree => Race::Tree,
        }
    }
}

/// A comparison that others have published: how many times as long reading and writing took as the
/// system call.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) sizes: Vec<Bytes>,
    pub(crate) ratios: Vec<f64>,
    /// The pairs whose ratios are put beside the published ones.
    pub(crate) pairs: Vec<Pair>,
}

/// Two contenders, of which the first one reads and writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) read_write: String,
    pub(crate) zero_copy: String,
}

/// A size, as it is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Bytes(pub(crate) u64);

/// Every scenario.
pub(crate) fn all() -> Result<Vec<Scenario>> {
    FILES.iter().map(|text| Scenario::parse(text)).collect()
}

/// The scenarios of these names, in the order in which they run; all, when none is named.
///
/// # Errors
/// A name that is not known, with those that are.
pub(crate) fn named(names: &[String]) -> Result<Vec<Scenario>> {
    let mut scenarios = all()?;
    let known: Vec<_> = scenarios.iter().map(|known| known.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(Error::new(format!(
            "there is no scenario '{name}'; there are {known}"
        )));
    }
    scenarios.retain(|scenario| names.is_empty() || names.contains(&scenario.name));
    Ok(scenarios)
}

impl Scenario {
    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context(|| "a scenario's file cannot be read".into())
    }

    pub(crate) fn most_rounds(&self) -> u32 {
        self.most_rounds.unwrap_or(3 * self.rounds)
    }

    /// A quick run: it shows whether everything works, and its numbers must not be quoted.
    pub(crate) fn quick(mut self) -> Self {
        self.rounds = 1;
        self.most_rounds = Some(1);
        self.seconds = self.seconds.min(0.3);
        for size in self.sizes.iter_mut().chain(self.mixes.iter_mut().flatten()) {
            size.0 = size.0.min(QUICK_SIZE);
        }
        for count in &mut self.connections {
            *count = (*count).min(QUICK_CONNECTIONS);
        }
        self.files = self.files.map(|files| files.min(QUICK_FILES));
        if let Some(published) = &mut self.published {
            let small = published.sizes.iter().filter(|size| size.0 <= QUICK_SIZE);
            let small = small.count();
            published.sizes.truncate(small);
            published.ratios.truncate(small);
        }
        self
    }

    /// Leaves out the contenders whose names contain none of `parts`, unless there are no parts.
    ///
    /// # Errors
    ///
    /// No contender is left.
    pub(crate) fn only(mut self, parts: &[String]) -> Result<Self> {
        if parts.is_empty() {
            return Ok(self);
        }
        let all = self.contenders.len();
        self.contenders
            .retain(|name| parts.iter().any(|part| name.contains(part.as_str())));
        self.left_out = all - self.contenders.len();
        if self.contenders.is_empty() {
            let name = self.name;
            return Err(Error::new(format!(
                "{name}: no contender is called like that"
            )));
        }
        Ok(self)
    }
}

impl TryFrom<String> for Bytes {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        size::parse(&text).map(Self)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        size::exact(bytes.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_data_file_is_known_and_can_be_read() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files = std::fs::read_dir(dir).unwrap();
        let files: BTreeSet<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let known = all().unwrap();
        let names: BTreeSet<_> = known
            .iter()
            .map(|known| format!("{}.toml", known.name))
            .collect();
        assert_eq!(files, names);
        for scenario in known {
            let name = &scenario.name;
            assert!(!scenario.contenders.is_empty(), "{name}");
            assert!(scenario.rounds >= 3, "{name}");
            if let Some(published) = scenario.published {
                assert_eq!(published.sizes.len(), published.ratios.len(), "{name}");
            }
            let routes = scenario.routes.len();
            assert!(routes == 0 || routes == scenario.sizes.len(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_known_ones() {
        let message = named(&["nonsense".to_owned()]).unwrap_err().to_string();
        assert!(message.starts_with("there is no scenario 'nonsense'; there are http-small, "));
        assert!(!message.contains('\n'));
        let one = named(&["send".to_owned()]).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(named(&[]).unwrap().len(), FILES.len());
    }

    #[test]
    fn what_is_misspelt_in_a_file_is_an_error() {
        let text = FILES[0].replace("rounds =", "rouns =");
        assert!(Scenario::parse(&text).is_err());
    }

    #[test]
    fn a_record_keeps_the_scenario_as_it_was() {
        for scenario in all().unwrap() {
            let kept = serde_json::to_string(&scenario).unwrap();
            let read: Scenario = serde_json::from_str(&kept).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), kept);
        }
    }
}
