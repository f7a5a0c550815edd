//! Transfers of the engine, as a program that embeds it would make them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use underpass::receipt::Evidence;
use underpass::{Input, Layer, Receipt, Route, Transfer};
use underpass_tls::Session;

use super::{Job, Send, SendReport, UserCopies};
use crate::sys;

/// Sends a mapping of the file by reference; the engine waits for the kernel's notifications.
pub(super) fn send_zerocopy(job: Job<'_>) -> Send<'_> {
    Box::new(move || {
        let mapping = sys::map(job.file, job.bytes)?;
        let transfer = Transfer::from_memory(mapping, job.socket).route(Route::SendZerocopy);
        let receipt = run(transfer, job)?;
        Ok(report_of(&receipt))
    })
}

/// Sends the file as the plan chooses. It names both ends, as programs do that know what they
/// opened.
pub(super) fn own_choice(job: Job<'_>) -> Send<'_> {
    Box::new(move || {
        let transfer = Transfer::new(job.file, job.socket).range(..job.bytes);
        let transfer = transfer.names("the test file", "the receiver");
        let receipt = run(transfer, job)?;
        Ok(report_of(&receipt))
    })
}

/// Sends the file through TLS. The socket must not block: in Linux 6.1 a sendfile(2) that waits in
/// the kernel's TLS may never wake up (pitfall 43), and the session frees one that does not wait.
pub(super) fn tls<'a>(job: Job<'a>, session: &'a Arc<Session>, route: Route) -> Send<'a> {
    Box::new(move || {
        let layer = Arc::clone(session) as Arc<dyn Layer>;
        let transfer = Transfer::new(job.file, job.socket).range(..job.bytes);
        let receipt = run(transfer.sink_layer(layer).route(route), job)?;
        Ok(report_of(&receipt))
    })
}

fn run<S: Input, D: AsFd>(transfer: Transfer<'_, S, D>, job: Job<'_>) -> io::Result<Receipt> {
    let transfer = match job.cancel {
        Some(cancel) => transfer.cancel(cancel),
        None => transfer,
    };
    transfer.run().map_err(io::Error::other)
}

fn report_of(receipt: &Receipt) -> SendReport {
    let reported = receipt.copies.evidence == Evidence::Reported;
    let expected = match receipt.route {
        Some(Route::ReadWrite) => UserCopies::BOTH,
        Some(Route::Seal) => UserCopies::TO_SOCKET,
        _ => UserCopies::default(),
    };
    SendReport {
        calls: receipt.syscalls,
        copied: receipt.copies.cpu_bytes.filter(|_| reported),
        expected,
    }
}
