//! All that was counted of each process, in lines.

use underpass::{Printable, units};
use underpass_measure::report::Evidence;
use underpass_measure::top::{HopCopies, ProcessReport, TopReport};

use super::{marked, moves, name, summary, switches};
use crate::args::SortBy;

/// Each process with its calls, its copies and the verdict.
pub(in super::super) fn whole(report: &TopReport) -> Vec<String> {
    let mut lines = vec![summary(report, SortBy::Copies)];
    let moving: Vec<_> = report.processes.iter().filter(|it| moves(it)).collect();
    for process in &moving {
        lines.push(String::new());
        lines.extend(of_process(process));
    }
    lines
}

fn of_process(process: &ProcessReport) -> Vec<String> {
    let activity = &process.activity;
    let command = activity.command.as_deref().unwrap_or_default();
    let command = Printable(command).to_string();
    let mut lines = vec![
        format!("{} {}  {command}", activity.pid, name(process))
            .trim_end()
            .to_owned(),
        format!("  {}", Printable(&process.verdict.line)),
        format!(
            "  {} in, {} out",
            units::size(process.bytes_in),
            units::size(process.bytes_out)
        ),
    ];
    for call in &activity.calls {
        lines.push(format!(
            "  {:<18} {} to {}: {} in {}",
            call.family,
            call.from,
            call.to,
            units::size(call.bytes),
            units::count(call.calls, "call"),
        ));
    }
    lines.push(format!(
        "  copies a byte      {}",
        marked(&process.copies_per_byte)
    ));
    lines.extend(activity.copies.iter().map(hop));
    lines.push(format!("  mode switches/MiB  {}", switches(process)));
    if let Some(cpu) = activity.cpu_seconds {
        lines.push(format!("  CPU time           {cpu:.3} s"));
    }
    if let Some(copying) = &activity.copying {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        lines.push(format!(
            "  of it in copying   {} ({} to {}, {})",
            percent(copying.share),
            percent(copying.low),
            percent(copying.high),
            units::count(copying.samples, "sample"),
        ));
    }
    lines
}

fn hop(copies: &HopCopies) -> String {
    let bytes = match (copies.bytes, copies.evidence) {
        (Some(bytes), Evidence::Measured) => units::size(bytes),
        (Some(bytes), evidence) => format!("{} ({evidence})", units::size(bytes)),
        (None, _) => "not known".to_owned(),
    };
    format!("    {:<16} {bytes}", copies.hop)
}
