//! Sends a directory from one process to another, with every contender in turn.

mod check;
mod plant;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use self::check::Receipts;
use self::plant::Planted;
use crate::bench::Bench;
use crate::contender::{Contender, Places};
use crate::error::{Context, Error, Result};
use crate::process;
use crate::record::{Case, Metric, Sample};
use crate::run::run;
use crate::server::running::free_addresses;
use crate::size;
use crate::spawned::Spawned;
use crate::sys::Usage;

const TIME: &str = "s";
const CPU: &str = "CPU s";
const SENDER_CPU: &str = "sender's CPU s";
const RECEIVER_CPU: &str = "receiver's CPU s";

pub(crate) fn run_all(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let planted = Planted::below(bench.root, bench.scenario)?;
    let name = format!(
        "{} files and one of {}",
        planted.files,
        size::exact(planted.sparse)
    );
    let metrics = vec![
        Metric::less(TIME, 2),
        Metric::less(CPU, 2),
        Metric::told(SENDER_CPU, 2),
        Metric::told(RECEIVER_CPU, 2),
    ];
    let case = bench.case(&name, metrics, &contenders, |who, round| {
        let out = bench.root.join("out");
        fs::create_dir(&out).context(|| format!("cannot make {}", out.display()))?;
        let sample = measure(bench, who, &planted, &out, round == 0);
        let removed = fs::remove_dir_all(&out);
        removed.context(|| format!("cannot remove {}", out.display()))?;
        sample
    })?;
    Ok(vec![case])
}

fn measure(
    bench: &Bench,
    who: &Contender,
    planted: &Planted,
    out: &Path,
    compare: bool,
) -> Result<Sample> {
    let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
    let [address] = free_addresses()?;
    let root = rustix::process::geteuid().is_root();
    let places = Places::default()
        .with("TREE", &planted.tree.display())
        .with("ROOT", &bench.root.display())
        .with("OUT", &out.display())
        .with("PORT", &address.port())
        .with("WORK", &work.path().display())
        .with("USER", if root { "root" } else { "nobody" });
    let listening = bench.invocation(&receiver(who), places.clone())?;
    let sending = bench.invocation(who, places)?;
    // It inherits the processor of this thread, and is killed with it: no other thread starts it.
    bench.pinning.pin_sink()?;
    let receiving = Spawned::start(&listening, work, Stdio::null());
    bench.pinning.pin_sender()?;
    let mut receiving = receiving?;
    receiving.patiently(|| listens(address.port()).then_some(()))?;
    let began = Instant::now();
    let sent = run(&sending);
    let sent = receiving.explain(sent)?;
    let (usage, said) = end(who, &mut receiving)?;
    let wall = began.elapsed();
    planted.arrived(&out.join(plant::NAME), compare)?;
    let sample = sample(wall, sent.usage, usage);
    if !who.row.receipt {
        return Ok(sample);
    }
    let routes = Receipts::of(&sent.stdout, &said)?.check(planted.large_bytes)?;
    Ok(sample.with_routes(routes))
}

/// The receiving side of a contender: what is noted and started first.
fn receiver(who: &Contender) -> Contender {
    let mut receiver = who.clone();
    receiver.row.name = format!("{}, receiver", who.name());
    receiver.row.words = who.row.receiver.clone().unwrap_or_default();
    receiver.row.more = crate::contender::Words::default();
    receiver
}

/// Waits for the end of the receiving side. A daemon is ended when it has no children left: the one
/// that has received is waited for, so that what it used is counted.
fn end(who: &Contender, receiving: &mut Spawned) -> Result<(Usage, String)> {
    if !who.row.ends.0 {
        let pid = receiving.pid();
        let alone = || process::family(pid).is_ok_and(|all| all.len() == 1);
        receiving.patiently(|| alone().then_some(()))?;
        receiving.terminate();
    }
    let (status, usage, said) = receiving.finish()?;
    if who.row.ends.0 && !status.success() {
        return receiving.explain(Err(Error::new(format!("the receiver failed ({status})"))));
    }
    Ok((usage, said))
}

fn sample(wall: Duration, sender: Usage, receiver: Usage) -> Sample {
    let used = |usage: Usage| usage.user_s + usage.system_s;
    Sample::of([
        (TIME, wall.as_secs_f64()),
        (CPU, used(sender) + used(receiver)),
        (SENDER_CPU, used(sender)),
        (RECEIVER_CPU, used(receiver)),
        ("sender's user s", sender.user_s),
        ("receiver's user s", receiver.user_s),
    ])
}

/// Whether something listens on this port of 127.0.0.1. To connect would take the only connection
/// that nc and socat accept.
fn listens(port: u16) -> bool {
    let Ok(table) = fs::read_to_string("/proc/net/tcp") else {
        return false;
    };
    let local = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_local = fields.next().is_some_and(|it| it.ends_with(&local));
        // TCP_LISTEN
        is_local && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_listens_is_found_without_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(port));
        drop(listener);
        assert!(!listens(port));
    }
}
