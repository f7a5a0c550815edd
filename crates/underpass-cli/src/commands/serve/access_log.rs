//! A line for every request, written by a thread of its own: no server thread ever waits for standard output.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use underpass_http::Exchange;

use crate::args::AccessLog as Form;
use crate::exit::Failure;
use crate::report;

mod combined;
mod date;
mod json;

/// Exchanges that may wait to be written: some 30 ms at 250,000 requests a second, and 2 MiB.
const QUEUE: usize = 8192;
/// Written at once: what a pipe holds.
const BATCH: usize = 64 << 10;
/// How long the end waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where server threads leave their exchanges.
#[derive(Clone)]
pub(crate) struct AccessLog {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// The writing end's owner.
pub(crate) struct Writing {
    log: AccessLog,
    ended: Receiver<()>,
}

enum Entry {
    Exchange(Box<Exchange>),
    End,
}

impl AccessLog {
    /// Starts the thread that writes. `users` says whether names in requests mean anything.
    pub(crate) fn start(form: Form, users: bool) -> Result<Writing, Failure> {
        let (queue, entries) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(0);
        let lost = Arc::default();
        let mut writer = Writer {
            form,
            users,
            lost: Arc::clone(&lost),
            told: 0,
            batch: Vec::with_capacity(2 * BATCH),
        };
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                if let Err(error) = writer.run(&entries) {
                    report::notice(format_args!(
                        "access log: standard output: {error}; it ends here"
                    ));
                }
                drop(ending);
            })
            .map_err(|error| Failure::failed(format_args!("access log: {error}")))?;
        Ok(Writing {
            log: Self { queue, lost },
            ended,
        })
    }

    /// Has `exchange` written, or counts it as lost.
    pub(crate) fn exchange(&self, exchange: &Exchange) {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        let entry = Entry::Exchange(Box::new(exchange.clone()));
        match self.queue.try_send(entry) {
            Ok(()) => {}
            Err(Full(_) | Disconnected(_)) => _ = self.lost.fetch_add(1, Relaxed),
        }
    }

    /// Lines that were not written because nobody read the ones before.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl Writing {
    pub(crate) fn log(&self) -> &AccessLog {
        &self.log
    }

    /// Sees the last line out.
    pub(crate) fn finish(self) {
        let Self { log, ended } = self;
        // The end, too, must not wait for ever for a reader that does not read: it is sent from a thread of its own.
        let queue = log.queue.clone();
        let sending = thread::Builder::new().spawn(move || _ = queue.send(Entry::End));
        if sending.is_err() || ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            report::notice("access log: standard output is not read; its last lines are lost");
        }
    }
}

struct Writer {
    form: Form,
    users: bool,
    lost: Arc<AtomicU64>,
    /// Lost lines that were told of.
    told: u64,
    batch: Vec<u8>,
}

impl Writer {
    fn run(&mut self, entries: &Receiver<Entry>) -> std::io::Result<()> {
        loop {
            let entry = match entries.try_recv() {
                Err(TryRecvError::Empty) => {
                    self.flush()?;
                    entries.recv().ok()
                }
                entry => entry.ok(),
            };
            let Some(Entry::Exchange(exchange)) = entry else {
                return self.flush();
            };
            self.line(&exchange);
            if self.batch.len() >= BATCH {
                self.flush()?;
            }
        }
    }

    fn line(&mut self, exchange: &Exchange) {
        match self.form {
            Form::None => {}
            Form::Json => json::line(&mut self.batch, exchange, self.users),
            Form::Combined => {
                combined::line(&mut self.batch, exchange, self.users);
                if !exchange.complete {
                    // The format has no place for it.
                    report::notice(combined::incomplete(exchange));
                }
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if !self.batch.is_empty() {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&self.batch)?;
            stdout.flush()?;
            self.batch.clear();
        }
        let lost = self.lost.load(Relaxed);
        if lost > self.told {
            let new = lost - self.told;
            report::notice(format_args!(
                "access log: {new} lines lost: standard output is not read fast enough"
            ));
            self.told = lost;
        }
        Ok(())
    }
}
