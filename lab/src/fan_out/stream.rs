//! A stream to many: throughput, and CPU time per gigabyte delivered.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;

use super::running::{Running, What};
use super::{Delivered, metrics, readers, size_for_each, told};
use crate::bench::Bench;
use crate::clock::thread_cpu;
use crate::contender::{Contender, Source};
use crate::error::{Context, Error, Result};
use crate::record::{Case, Sample};

/// Where the stream comes from, and its name in tables.
const SOURCES: [(Source, &str); 3] = [
    (Source::Pipe, "a pipe"),
    (Source::Tcp, "TCP"),
    (Source::Unix, "a Unix socket"),
];

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let mut cases = Vec::new();
    for (from, from_name) in SOURCES {
        // Absent contenders are listed in every case.
        let can = |who: &&Contender| {
            let takes = who.row.takes.as_ref();
            who.program.is_err() || takes.is_none_or(|takes| takes.contains(&from))
        };
        let those: Vec<_> = contenders.iter().filter(can).cloned().collect();
        for &subscribers in &bench.scenario.connections {
            let name = format!("from {from_name}, to {subscribers}");
            let size = size_for_each(bench, subscribers);
            let case = bench.case(&name, metrics(), &those, |who, round| {
                let what = What::Stream(from);
                let running = Running::start(bench, who, what, subscribers)?;
                measure(bench, running, who, size, round == 0)
            })?;
            cases.push(told(case));
        }
    }
    Ok(cases)
}

/// Sends `size` bytes once to each subscriber.
fn measure(
    bench: &Bench,
    (mut running, producer, readers): (Running, super::producer::Producer, readers::Readers),
    who: &Contender,
    size: u64,
    compare: bool,
) -> Result<Sample> {
    let subscribers = readers.count() as u64;
    let pinning = bench.pinning;
    let began = Instant::now();
    let ends = std::thread::scope(|scope| {
        let producing = scope.spawn(move || {
            pinning.pin_sink()?;
            producer.produce(size)?;
            Ok::<_, Error>(thread_cpu())
        });
        let reading = scope.spawn(move || {
            pinning.pin_sink()?;
            readers.read(size, compare)
        });
        let died = |_| Error::new("a thread of the load died");
        let read = reading.join().map_err(died).and_then(|done| done);
        let seconds = began.elapsed().as_secs_f64();
        if read.is_err() {
            // Otherwise the producer may wait for ever for a reader.
            running.kill();
        }
        let wrote = producing.join().map_err(died).and_then(|done| done);
        Ok::<_, Error>((seconds, (read? + wrote?).as_secs_f64()))
    });
    let (seconds, ends_cpu_s) = running.explain(ends)?;
    let finished = running.finish()?;
    let delivered = Delivered {
        bytes: size * subscribers,
        seconds,
        cpu_s: finished.cpu_s,
        ends_cpu_s,
    };
    let route = who.row.route.as_deref();
    let routes = route.map(|route| check(&finished.stdout, size, subscribers, route));
    let routes = routes.transpose()?.unwrap_or_default();
    Ok(delivered.sample().with_routes(routes))
}

/// The parts of the last line of `underpass fan-out --receipt json` that the lab uses.
#[derive(Deserialize)]
struct OfSource {
    complete: bool,
    delivered: u64,
    delivered_copied: u64,
}

/// The beginning of a stream is copied, until a read fills 16 KiB.
const BEGINNING: u64 = 32 << 10;

/// The bytes by route. Fails unless everything was delivered, and everything except the beginning
/// by this route.
fn check(stdout: &str, size: u64, subscribers: u64, route: &str) -> Result<BTreeMap<String, u64>> {
    let bytes = size * subscribers;
    let last = stdout.lines().last().unwrap_or_default();
    let receipt: OfSource = serde_json::from_str(last)
        .context(|| "underpass printed no receipt of its source".into())?;
    let (delivered, copied) = (receipt.delivered, receipt.delivered_copied);
    if !receipt.complete || delivered != bytes {
        let wrong = format!("the receipt says that {delivered} of {bytes} bytes were delivered");
        return Err(Error::new(wrong));
    }
    let right = match route {
        "splice" => copied <= BEGINNING * subscribers + bytes / 100,
        _ => copied == bytes,
    };
    if !right {
        let wrong = format!("{copied} of {bytes} bytes were copied, not by {route}");
        return Err(Error::new(wrong));
    }
    let spliced = delivered - copied;
    Ok([
        ("splice".to_owned(), spliced),
        ("read-write".to_owned(), copied),
    ]
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(delivered: u64, copied: u64) -> String {
        format!(
            "{{\"bytes\":1}}\n{{\"complete\":true,\"delivered\":{delivered},\"delivered_copied\":{copied}}}\n"
        )
    }

    #[test]
    fn the_route_and_the_count_are_asserted() {
        const SIZE: u64 = 1 << 30;
        let of = |delivered, copied, route| check(&receipt(delivered, copied), SIZE / 2, 2, route);
        let most = 2 * BEGINNING + SIZE / 100;
        assert_eq!(of(SIZE, most, "splice").unwrap()["splice"], SIZE - most);
        assert!(of(SIZE, most + 1, "splice").is_err());
        assert!(of(SIZE - 1, 0, "splice").is_err());
        assert!(of(SIZE, SIZE, "read-write").is_ok());
        assert!(of(SIZE, SIZE - 1, "read-write").is_err());
        assert!(check("", 1000, 1, "splice").is_err());
    }
}
