//! How much memory idle relayed connections hold.

use super::measure;
use super::pair::{MESSAGE, Target};
use crate::bench::Bench;
use crate::error::Result;
use crate::process::allow_files;
use crate::record::{Case, Metric, Sample};
use crate::server::running::Running;

/// Descriptors that either side needs besides the connections.
const OTHER_FILES: u64 = 500;
const WITH_ALL: &str = "MiB with all";
const WITH_ONE: &str = "MiB with one";
const EACH: &str = "KiB a connection";

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let mut cases = Vec::new();
    for &connections in &bench.scenario.connections {
        allow_files(2 * connections as u64 + OTHER_FILES)?;
        let name = format!("{connections} idle connections");
        let metrics = vec![
            Metric::less(WITH_ALL, 1),
            Metric::told(WITH_ONE, 1),
            Metric::less(EACH, 2),
        ];
        let case = bench.case(&name, metrics, &contenders, |who, _| {
            measure(bench, who, None, |target, relay| {
                fill(target, relay, connections)
            })
        })?;
        cases.push(case);
    }
    Ok(cases)
}

/// Opens all connections one after the other, with one message there and back on each, and keeps
/// them open.
fn fill(target: &Target, relay: &Running, connections: usize) -> Result<Sample> {
    let mut pairs = vec![target.connect(relay.addr)?];
    let one_kib = relay.resident_kib()?;
    while pairs.len() < connections {
        pairs.push(target.connect(relay.addr)?);
    }
    let all_kib = relay.resident_kib()?;
    // A relay that closed idle connections to save memory is not compared.
    for pair in &pairs {
        pair.there_and_back(&[b'i'; MESSAGE], &mut [0; MESSAGE])?;
    }
    let grown = all_kib.saturating_sub(one_kib) as f64;
    Ok(Sample::of([
        (WITH_ALL, all_kib as f64 / 1024.0),
        (WITH_ONE, one_kib as f64 / 1024.0),
        (EACH, grown / connections as f64),
    ]))
}
