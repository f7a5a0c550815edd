//! Writes log lines from a thread of its own, so that no serving thread waits for standard output
//! or a disk.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use underpass::units;

use super::reload::ReloadAction;
use crate::exit::Failure;
use crate::report;
use crate::values::ReceiptForm;

mod output;

use output::Output;

/// Limit on entries that wait to be written: about 30 ms at 250,000 requests a second.
const QUEUE: usize = 8192;
/// Limit on the memory that waiting entries hold, whatever clients put into their requests.
const HELD: usize = 4 << 20;
/// Size of a write: what a pipe holds.
const BATCH: usize = 64 << 10;
/// How long to wait at the end for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queues entries to be written. Each serving thread has a clone.
pub(crate) struct LogSender<T> {
    queue: SyncSender<Entry<T>>,
    state: Arc<State>,
}

/// State shared by the senders and the writer's thread.
#[derive(Default)]
struct State {
    /// Number of lines that were not written.
    lost: AtomicU64,
    /// Memory in bytes that the queued entries hold.
    held: AtomicUsize,
    /// Whether the file has to be opened again.
    reopen: AtomicBool,
}

// Written by hand, because a derived `Clone` would require `T: Clone`.
impl<T> Clone for LogSender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

/// Owns the writer's thread.
pub(crate) struct LogWriter<T> {
    name: &'static str,
    /// Where the lines are written, for messages.
    output: String,
    is_file: bool,
    lines: LogSender<T>,
    ended: Receiver<()>,
}

enum Entry<T> {
    /// An entry and the memory in bytes that it holds.
    Line(T, usize),
    Reopen,
    End,
}

impl<T: Send + 'static> LogSender<T> {
    /// Starts the thread that writes entries, each as `format` writes it, to the file at `path` or
    /// to standard output. `name` is what messages call the log.
    pub(crate) fn start(
        name: &'static str,
        path: Option<&Path>,
        format: impl FnMut(&mut Vec<u8>, T) + Send + 'static,
    ) -> Result<LogWriter<T>, Failure> {
        let output = Output::open(name, path)?;
        let output_name = output.name();
        let (queue, entries) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(0);
        let state = Arc::<State>::default();
        let mut writer = WriterThread {
            name,
            output,
            format,
            state: Arc::clone(&state),
            reported: 0,
            batch: Vec::with_capacity(2 * BATCH),
            failing: None,
            is_cut: false,
        };
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                if let Err(error) = writer.run(&entries) {
                    let output = writer.output.name();
                    report::notice(format_args!("{name}: {output}: {error}; the log ends here"));
                }
                drop(ending);
            })
            .map_err(|error| Failure::failed(format_args!("{name}: {error}")))?;
        Ok(LogWriter {
            name,
            output: output_name,
            is_file: path.is_some(),
            lines: Self { queue, state },
            ended,
        })
    }

    /// Queues `entry`, or counts it as lost if the queue is full.
    pub(crate) fn push(&self, entry: T) {
        self.push_holding(entry, size_of::<T>());
    }

    /// As [`push`](Self::push), for an entry that holds `held` bytes of memory.
    pub(crate) fn push_holding(&self, entry: T, held: usize) {
        let before = self.state.held.fetch_add(held, Relaxed);
        if before + held > HELD || self.queue.try_send(Entry::Line(entry, held)).is_err() {
            self.state.held.fetch_sub(held, Relaxed);
            self.state.lost.fetch_add(1, Relaxed);
        }
    }

    /// Number of lines lost: the reader was too slow, or writing failed.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lost.load(Relaxed)
    }
}

impl<T: Send + 'static> LogWriter<T> {
    pub(crate) fn lines(&self) -> &LogSender<T> {
        &self.lines
    }

    /// The action that opens the file again. There is none for standard output.
    pub(crate) fn renewal(&self) -> Option<ReloadAction> {
        let (name, lines, output) = (self.name, self.lines.clone(), self.output.clone());
        let renew = move || {
            lines.state.reopen.store(true, SeqCst);
            // A writer that is busy checks the flag without this entry.
            let _ = lines.queue.try_send(Entry::Reopen);
            Ok(format!("{name}: {output} is opened again"))
        };
        self.is_file.then(|| Box::new(renew) as ReloadAction)
    }

    /// Waits until the last line is written.
    pub(crate) fn finish(self) {
        let Self {
            name,
            output,
            lines,
            ended,
            ..
        } = self;
        // Sending could block for ever if nobody reads the output, so a thread of its own does it.
        let queue = lines.queue.clone();
        let sending = thread::Builder::new().spawn(move || _ = queue.send(Entry::End));
        if sending.is_err() || ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            report::notice(format_args!(
                "{name}: {output} is not read; its last lines are lost"
            ));
        }
    }
}

/// Starts writing receipts, if they are asked for, to the file at `path` or to standard output.
/// For people, `summary` makes the line, or with `verbose` the receipt is written whole.
pub(crate) fn receipts<R>(
    form: ReceiptForm,
    path: Option<&Path>,
    verbose: bool,
    summary: impl Fn(&R) -> String + Send + 'static,
) -> Result<Option<LogWriter<Box<R>>>, Failure>
where
    R: Serialize + Display + Send + 'static,
{
    if form == ReceiptForm::None {
        return Ok(None);
    }
    let write = move |batch: &mut Vec<u8>, receipt: Box<R>| {
        if form == ReceiptForm::Json {
            // Strings and numbers can always be written to memory.
            let _ = serde_json::to_writer(&mut *batch, &receipt);
        } else if verbose {
            batch.extend(receipt.to_string().into_bytes());
        } else {
            batch.extend(summary(&receipt).into_bytes());
        }
        batch.push(b'\n');
    };
    LogSender::start("receipts", path, write).map(Some)
}

struct WriterThread<F> {
    name: &'static str,
    output: Output,
    format: F,
    state: Arc<State>,
    /// The number of lost lines that notices have reported.
    reported: u64,
    batch: Vec<u8>,
    /// How many lines were lost since writing began to fail; `None` while it does not fail.
    failing: Option<u64>,
    /// Whether the last line in the output is incomplete.
    is_cut: bool,
}

impl<F> WriterThread<F> {
    /// Writes entries until it is told to end, or until the reader is gone for good.
    fn run<T>(&mut self, entries: &Receiver<Entry<T>>) -> std::io::Result<()>
    where
        F: FnMut(&mut Vec<u8>, T),
    {
        loop {
            let entry = match entries.try_recv() {
                Err(TryRecvError::Empty) => {
                    self.flush()?;
                    entries.recv().ok()
                }
                entry => entry.ok(),
            };
            match entry {
                Some(Entry::Line(entry, held)) => {
                    (self.format)(&mut self.batch, entry);
                    self.state.held.fetch_sub(held, Relaxed);
                }
                Some(Entry::Reopen) => {}
                Some(Entry::End) | None => {
                    self.flush()?;
                    self.report_failed("");
                    return self.output.check();
                }
            }
            if self.batch.len() >= BATCH {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.state.reopen.swap(false, SeqCst) {
            self.reopen();
        }
        if !self.batch.is_empty() {
            self.write()?;
            self.batch.clear();
        }
        let lost = self.state.lost.load(Relaxed);
        if lost > self.reported {
            let (name, new) = (self.name, lost - self.reported);
            let output = self.output.name();
            report::notice(format_args!(
                "{name}: {} lost: {output} is not read fast enough",
                units::count(new, "line")
            ));
            self.reported = lost;
        }
        Ok(())
    }

    /// A failed write loses lines, and does not end the log: a full disk may get room again, and a
    /// file at its size limit may be rotated.
    fn write(&mut self) -> std::io::Result<()> {
        // It ends the line before the batch, which was counted as lost already.
        let ends_another = usize::from(self.is_cut);
        if self.is_cut {
            self.batch.insert(0, b'\n');
        }
        let Err((written, error)) = self.output.write_all(&self.batch) else {
            self.is_cut = false;
            self.report_failed(" it is written to again;");
            return Ok(());
        };
        if self.output.is_over(&error) {
            return Err(error);
        }
        let (_, lost) = self.batch.split_at(written.max(ends_another));
        // A line that lacks only its end gets that with the next batch.
        let lost = lost.strip_prefix(b"\n").unwrap_or(lost);
        let written = &self.batch[..written];
        self.is_cut = written.last().map_or(self.is_cut, |byte| *byte != b'\n');
        let lost = lost.split(|byte| *byte == b'\n').count() as u64 - 1;
        self.state.lost.fetch_add(lost, Relaxed);
        self.reported += lost;
        let before = self.failing.replace(self.failing.unwrap_or(0) + lost);
        if before.is_none() {
            let (name, output) = (self.name, self.output.name());
            report::notice(format_args!(
                "{name}: {output}: {error}; lines are lost until it can be written to again"
            ));
        }
        Ok(())
    }

    /// Reports how many lines were lost, if writing failed until now.
    fn report_failed(&mut self, now: &str) {
        if let Some(lost) = self.failing.take() {
            let (name, output) = (self.name, self.output.name());
            let lost = units::count(lost, "line");
            report::notice(format_args!("{name}: {output}:{now} {lost} lost"));
        }
    }

    fn reopen(&mut self) {
        // The lines in the batch come from before the request to reopen.
        match self.output.reopen() {
            Ok(()) => self.is_cut = false,
            Err(error) => {
                let (name, output) = (self.name, self.output.name());
                report::notice(format_args!(
                    "{name}: {output} cannot be opened again: {error}"
                ));
            }
        }
    }
}
