//! Sends one file to a receiver that discards it, with every contender in turn.

mod published;

use std::collections::BTreeMap;
use std::path::Path;

use crate::bench::{Bench, remove};
use crate::contender::{Contender, Places};
use crate::error::{Error, Result};
use crate::receipt::Receipt;
use crate::record::{Case, Metric, Sample, noise};
use crate::run::{Finished, run};
use crate::sink::{Received, Sink};
use crate::size;

const RATE: &str = "GB/s";
const CPU_PER_GB: &str = "CPU s/GB";
/// From the receiver's accept to the end of the stream: what the published comparison timed.
const TIME: &str = "ms";
const THREAD_CPU: &str = "its transferring thread's CPU s/GB";

/// All contenders at each size, then the published comparison.
pub(crate) fn run_all(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let mut cases = Vec::new();
    for size in &bench.scenario.sizes {
        cases.push(case(bench, &contenders, size.0, "")?);
    }
    if let Some(published) = &bench.scenario.published {
        cases.extend(published::compare(bench, &contenders, published)?);
    }
    Ok(cases)
}

fn case(bench: &Bench, contenders: &[Contender], bytes: u64, suffix: &str) -> Result<Case> {
    let file = bench.file("source", bytes)?;
    let name = format!("{}{suffix}", size::exact(bytes));
    let metrics = vec![
        Metric::more(RATE, 2),
        Metric::less(CPU_PER_GB, 3),
        Metric::told(TIME, 1),
        Metric::told(THREAD_CPU, 3),
    ];
    let mut case = bench.case(&name, metrics, contenders, |who, _| {
        measure(bench, who, &file, bytes)
    })?;
    remove(&file)?;
    case.remarks.extend(noise(&case.rows, RATE));
    Ok(case)
}

fn measure(bench: &Bench, who: &Contender, file: &Path, bytes: u64) -> Result<Sample> {
    let sink = Sink::start(bench.pinning)?;
    let places = Places::default()
        .with("FILE", &file.display())
        .with("PORT", &sink.port());
    let invocation = bench.invocation(who, places)?;
    let finished = run(&invocation);
    let received = sink.finish();
    // A failed sender explains more than the receiver that waits for it.
    let (finished, received) = (finished?, received?);
    if received.bytes != bytes {
        let got = received.bytes;
        return Err(Error::new(format!(
            "the sink received {got} of {bytes} bytes"
        )));
    }
    sample(who, &finished, received)
}

fn sample(who: &Contender, finished: &Finished, received: Received) -> Result<Sample> {
    let gb = received.bytes as f64 / 1e9;
    let cpu = finished.usage.user_s + finished.usage.system_s;
    let thread = who
        .row
        .thread_cpu
        .then(|| java_thread_cpu(&finished.stdout));
    let thread = thread.flatten();
    let receipt = match &who.row.route {
        Some(route) => Some((route, Receipt::parse(&finished.stdout)?)),
        None => None,
    };
    let syscalls = receipt.as_ref().and_then(|(_, receipt)| receipt.syscalls);
    let sample = Sample::of([
        (RATE, gb / received.first_byte_to_eof_s),
        (CPU_PER_GB, cpu / gb),
        (TIME, received.accept_to_eof_s * 1e3),
        (THREAD_CPU, thread.map_or(f64::NAN, |cpu| cpu / gb)),
        ("bytes", received.bytes as f64),
        ("first byte to end s", received.first_byte_to_eof_s),
        ("process s", finished.wall.as_secs_f64()),
        ("user s", finished.usage.user_s),
        ("system s", finished.usage.system_s),
        (
            "system calls",
            syscalls.map_or(f64::NAN, |calls| calls as f64),
        ),
    ]);
    let Some((route, receipt)) = receipt else {
        return Ok(sample);
    };
    receipt.check(received.bytes, Some(route))?;
    Ok(sample.with_routes(BTreeMap::from([(route.clone(), receipt.bytes)])))
}

fn java_thread_cpu(stdout: &str) -> Option<f64> {
    let nanos = stdout
        .lines()
        .find_map(|line| line.strip_prefix("thread_cpu_ns "))?;
    nanos.trim().parse::<f64>().ok().map(|nanos| nanos / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_says_of_its_thread() {
        assert_eq!(java_thread_cpu("thread_cpu_ns 250000000\n"), Some(0.25));
        assert_eq!(java_thread_cpu("nothing\n"), None);
        assert_eq!(java_thread_cpu("thread_cpu_ns x\n"), None);
    }
}
