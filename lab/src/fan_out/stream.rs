//! A stream to many: throughput and CPU time for each gigabyte delivered.

use serde::Deserialize;
use serde_json::{Value, json};

use super::contenders::{self, BARE, CLASSIC, Start, UNDERPASS};
use super::producer::From;
use super::running::{Running, What};
use super::{BUSY, Bench, CPU_PER_GB, ENDS_BUSY, RATE, Sample, Section, readers};
use crate::error::{Context, Error, Result};
use crate::header::noisy;
use crate::http::goal::{self, Goal, Wanted};
use crate::http::series::{self, Series};
use crate::pin::Pinning;
use crate::table::Table;

const SUBSCRIBERS: &[u32] = &[1, 4, 16];

const NOTE: &str = "GB/s: 10^9 bytes that all subscribers got together, a second. CPU is user + system of the process and its children, for 10^9
bytes delivered. × is the median over rounds of the ratio to read + N writes with 64 KiB in the same round. busy: who hands
out / producer and subscribers, in % of their processors.
";

pub(super) fn run(bench: &Bench<'_>, from: From) -> Result<Section> {
    let contenders = contenders::of_stream(bench.underpass.as_deref(), from);
    let (mut tables, mut goals, mut void) = (Vec::new(), Vec::new(), Vec::new());
    let mut cases = Vec::new();
    for subscribers in bench.to(SUBSCRIBERS) {
        let name = format!("from {}, to {subscribers}", word(from));
        let rows = bench.interleave(&name, &contenders, |start, round| {
            let size = bench.options.size / u64::from(subscribers);
            measure(
                start,
                bench.pinning,
                from,
                subscribers as usize,
                size,
                round == 0,
            )
        })?;
        tables.push(table(&name, &rows, CLASSIC, BARE));
        if subscribers == 16 {
            let of_classic = series::ratio(&rows, UNDERPASS, CLASSIC, CPU_PER_GB);
            let what = format!("{name}: CPU/GB of underpass ÷ {CLASSIC}");
            goals.push(Goal::new(what, Wanted::AtMost(0.5), of_classic));
        }
        void.extend(series::void(&name, &rows));
        let all: Value = rows.iter().map(Series::to_json).collect();
        cases.push(json!({ "subscribers": subscribers, "who": all }));
    }
    let goals_table = match goals.as_slice() {
        [] => String::new(),
        goals => goal::table(goals).to_string(),
    };
    Ok(Section {
        text: format!("{}\n{goals_table}{NOTE}", tables.join("\n")),
        json: json!({ "cases": cases, "goals": goal::to_json(&goals) }),
        void,
    })
}

fn word(from: From) -> &'static str {
    match from {
        From::Pipe => "a pipe",
        From::Tcp => "TCP",
        From::Unix => "a Unix socket",
    }
}

/// Hands `size` bytes out to each of `subscribers` once.
pub(crate) fn measure(
    start: &Start,
    pinning: Pinning,
    from: From,
    subscribers: usize,
    size: u64,
    compare: bool,
) -> Result<Sample> {
    let (mut running, producer, readers) = Running::start(start, What::Stream(from), subscribers)?;
    let began = std::time::Instant::now();
    let ends = std::thread::scope(|scope| {
        let producing = scope.spawn(move || {
            pinning.pin_sink()?;
            producer.produce(size)?;
            Ok::<_, Error>(readers::clock())
        });
        let reading = scope.spawn(move || {
            pinning.pin_sink()?;
            readers.read(size, compare)
        });
        let died = |_| Error::new("a thread of the load died");
        let read = reading.join().map_err(died).and_then(|done| done);
        let seconds = began.elapsed().as_secs_f64();
        if read.is_err() {
            // The producer may wait for somebody to take what nobody reads.
            running.kill();
        }
        let produced = producing.join().map_err(died).and_then(|done| done);
        Ok::<_, Error>((seconds, (read? + produced?).as_secs_f64()))
    });
    let (seconds, ends_cpu_s) = running.explain(ends)?;
    let finished = running.finish()?;
    let bytes = size * subscribers as u64;
    let copied = start
        .route
        .map(|route| check(&finished.stdout, bytes, route));
    Ok(Sample {
        bytes,
        seconds,
        cpu_s: finished.cpu_s,
        ends_cpu_s,
        copied: copied.transpose()?,
    })
}

/// The last line of `underpass fan-out --receipt json`, as far as it is looked at.
#[derive(Deserialize)]
struct OfSource {
    complete: bool,
    delivered: u64,
    delivered_copied: u64,
}

/// Bytes that were copied. Errors unless all was delivered, and all but the beginning by this route.
fn check(stdout: &str, bytes: u64, route: &str) -> Result<u64> {
    let last = stdout.lines().last().unwrap_or_default();
    let receipt: OfSource = serde_json::from_str(last)
        .context(|| "underpass printed no receipt of its source".into())?;
    let (delivered, copied) = (receipt.delivered, receipt.delivered_copied);
    if !receipt.complete || delivered != bytes {
        let wrong = format!("the receipt says that {delivered} of {bytes} bytes were delivered");
        return Err(Error::new(wrong));
    }
    // What comes first is copied, until it has proved to be bulk.
    let right = match route {
        "splice" => copied < bytes / 100,
        _ => copied == bytes,
    };
    match right {
        true => Ok(copied),
        false => Err(Error::new(format!(
            "{copied} of {bytes} bytes were copied, not by {route}"
        ))),
    }
}

pub(super) fn table(name: &str, rows: &[Series<Sample>], base: &str, yardstick: &str) -> String {
    let mut table = Table::new(&[
        name,
        "GB/s",
        "min–max",
        "CPU s/GB",
        "min–max",
        "× GB/s",
        "× CPU/GB",
        "busy",
    ]);
    for row in rows {
        let ratio = |measure| {
            series::ratio(rows, row.name, base, measure)
                .map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median))
        };
        table.row(row.row(|| {
            Some(vec![
                row.median(RATE, 2),
                row.spread(RATE, 2),
                row.median(CPU_PER_GB, 3),
                row.spread(CPU_PER_GB, 3),
                ratio(RATE),
                ratio(CPU_PER_GB),
                format!("{} / {}", row.median(BUSY, 0), row.median(ENDS_BUSY, 0)),
            ])
        }));
    }
    let bare = series::find(rows, yardstick).and_then(|bare| bare.rounds.summary(CPU_PER_GB));
    let noise = bare.and_then(|cpu| noisy(&format!("CPU/GB of the {yardstick}"), &cpu));
    format!("{table}{}", noise.map_or(String::new(), |line| line + "\n"))
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
        assert_eq!(check(&receipt(1000, 9), 1000, "splice").unwrap(), 9);
        assert!(check(&receipt(1000, 10), 1000, "splice").is_err());
        assert!(check(&receipt(999, 0), 1000, "splice").is_err());
        assert_eq!(
            check(&receipt(1000, 1000), 1000, "read-write").unwrap(),
            1000
        );
        assert!(check(&receipt(1000, 999), 1000, "read-write").is_err());
        assert!(check("", 1000, "splice").is_err());
    }
}
