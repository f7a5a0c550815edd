//! Connecting to the one peer of `send` and `recv --connect`, and what to do if nobody listens.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use underpass::connect::Peer;
use underpass::units;

use super::transfer;
use crate::args::TransferArgs;
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::connection::{self, PeerConnection, Waiting};
use crate::report;
use crate::values::Address;

/// The command that has to be started at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Recv,
    FanOut,
}

/// How to connect.
pub(super) struct Connecting<'a> {
    pub(super) to: &'a Address,
    /// The value of `--wait`.
    pub(super) wait: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) common: &'a TransferArgs,
    pub(super) start: Start,
}

impl Connecting<'_> {
    /// Connects to `peer`, the resolved address.
    pub(super) fn connect(
        &self,
        peer: &Peer,
        interrupt: &Interrupt,
    ) -> Result<PeerConnection, Failure> {
        refuse_port_0(self.to, "")?;
        let notice = || {
            if !self.common.quiet {
                let to = self.to.name();
                report::notice(format_args!("{to}: nobody listens there yet; waiting"));
            }
        };
        let waiting = Waiting {
            wait: self.wait,
            notice: &notice,
        };
        connection::connect(peer, waiting, self.timeout, &interrupt.cancel)
            .map_err(|error| self.failure(&error, interrupt))
    }

    fn failure(&self, error: &io::Error, interrupt: &Interrupt) -> Failure {
        let to = self.to.name();
        let is_absent = matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::NotFound
        );
        if !is_absent || interrupt.cancel.is_cancelled() {
            return transfer::wait_failure(&to, error, self.timeout, interrupt);
        }
        if let Address::Unix(path) = self.to
            && is_no_socket(path)
        {
            return Failure::failed(format_args!("{to}: there is a file, and it is no socket"));
        }
        let (who, at) = (self.start.command(), listening(self.to));
        let start = match self.start {
            Start::Recv => format!("underpass {who} {at} FILE"),
            Start::FanOut => format!("underpass {who} --listen {at} --from FILE"),
        };
        Failure::failed(match self.wait {
            None => format!(
                "{to}: nobody listens there ({error}); first start {start}, or wait for it with --wait"
            ),
            Some(waited) => format!(
                "{to}: nobody listened there within {} ({error}); start {start}",
                units::duration(waited)
            ),
        })
    }
}

impl Start {
    fn command(self) -> &'static str {
        match self {
            Self::Recv => "recv",
            Self::FanOut => "fan-out",
        }
    }
}

/// Fails for port 0, which means any free port, and only where something listens.
pub(super) fn refuse_port_0(to: &Address, option: &str) -> Result<(), Failure> {
    let short = to.short();
    match short.rsplit_once(':') {
        Some((_, "0")) if !matches!(to, Address::Unix(_)) => Err(Failure::usage(format_args!(
            "{option}{short}: nobody listens at port 0; name the port that the other side has printed"
        ))),
        _ => Ok(()),
    }
}

/// The address to listen at, for someone who connects to `to`.
fn listening(to: &Address) -> String {
    match to {
        Address::Tcp(host) => {
            let port = host.rsplit_once(':').map_or("PORT", |(_, port)| port);
            format!(":{port}")
        }
        Address::Tls(tls) => format!("tls://{}", listening(tls.below())),
        Address::Port(_) | Address::Unix(_) => to.short(),
    }
}

fn is_no_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}
