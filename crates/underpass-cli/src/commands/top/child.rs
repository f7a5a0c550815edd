//! A command that is run and counted, with all that it starts, as perf stat does.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use underpass_measure::top::{TopReport, TopSettings, Watcher, own_pid};

use super::{finished, json, table, write_page};
use crate::args::TopArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::StandardStream;
use crate::report;

/// Runs it, prints the report to standard error, and passes its exit code on.
pub(super) fn run(args: &TopArgs) -> Result<(), Failure> {
    let interrupt = Interrupt::listen()?;
    // What this process starts is counted from its first instruction on.
    let mut settings = TopSettings::default();
    settings.processes = vec![own_pid()];
    let mut watcher = Watcher::start(&settings).map_err(Failure::failed)?;
    let mut child = start(args)?;
    await_end(&child, &interrupt).map_err(Failure::failed)?;
    let status = watcher.wait_for(&mut child).map_err(Failure::failed)?;
    let activity = watcher.next(Instant::now(), None);
    let mut activity = activity.map_err(Failure::failed)?;
    let own = own_pid();
    activity.processes.retain(|process| process.pid != own);
    let report = finished(activity, args.sort);
    tell(&report, args)?;
    write_page(args, Some(&report))?;
    match code(status) {
        0 => Ok(()),
        code => Err(Failure::passed_on(code)),
    }
}

fn start(args: &TopArgs) -> Result<Child, Failure> {
    let (program, arguments) = args.command.split_first().expect("the caller saw one");
    let child = Command::new(program).args(arguments).spawn();
    child.map_err(|error| {
        let line = format!("{}: the command cannot be run: {error}", program.display());
        Failure::not_run(line, error.kind() == io::ErrorKind::NotFound)
    })
}

/// Waits until it has ended. A signal to this process alone is passed on; Ctrl-C reaches both.
fn await_end(child: &Child, interrupt: &Interrupt) -> io::Result<()> {
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let mut is_told = false;
    loop {
        let mut fds = vec![PollFd::new(&process, PollFlags::IN)];
        if !is_told {
            fds.push(PollFd::new(&interrupt.cancel, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        if interrupt.cancel.is_cancelled() && !is_told {
            is_told = true;
            let signal = Signal::from_named_raw(interrupt.signal() as i32);
            if let Some(signal) = signal.filter(|signal| *signal != Signal::INT) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, signal);
            }
        }
    }
}

fn tell(report: &TopReport, args: &TopArgs) -> Result<(), Failure> {
    if args.json {
        return StandardStream::Error.offer(json(report)?.as_bytes());
    }
    report.notes.iter().for_each(report::notice);
    let lines = table::whole(report);
    StandardStream::Error.offer(format!("{}\n", lines.join("\n")).as_bytes())
}

/// As a shell tells it.
fn code(status: ExitStatus) -> u8 {
    let of_signal = || 128 + status.signal().unwrap_or(0);
    status.code().unwrap_or_else(of_signal) as u8
}
