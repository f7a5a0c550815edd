//! A line for everything that happens, written by a thread of its own: no thread that serves ever
//! waits for standard output or a disk.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::reload::ReloadAction;
use crate::exit::Failure;
use crate::report;
use crate::values::ReceiptForm;

mod output;

use output::Output;

/// What may wait to be written: some 30 ms at 250,000 requests a second.
const QUEUE: usize = 8192;
/// Bytes of memory that what waits may hold, whatever clients put into their requests.
const HELD: usize = 4 << 20;
/// Written at once: what a pipe holds.
const BATCH: usize = 64 << 10;
/// How long the end waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the threads that serve leave what is to be written.
pub(crate) struct LogSender<T> {
    queue: SyncSender<Entry<T>>,
    state: Arc<State>,
}

/// What the writer and all others have in common.
#[derive(Default)]
struct State {
    /// Lines that were not written.
    lost: AtomicU64,
    /// Bytes of memory that the entries in the queue hold.
    held: AtomicUsize,
    /// The output is to be opened anew.
    reopen: AtomicBool,
}

// Whatever `T` is: it is only sent.
impl<T> Clone for LogSender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

/// The writing end's owner.
pub(crate) struct LogWriter<T> {
    name: &'static str,
    /// Where the lines go.
    output: String,
    is_file: bool,
    lines: LogSender<T>,
    ended: Receiver<()>,
}

enum Entry<T> {
    /// With the bytes of memory that it holds.
    Line(T, usize),
    Reopen,
    End,
}

impl<T: Send + 'static> LogSender<T> {
    /// Starts the thread that writes what `format` makes of each entry, to the file at `path` or to
    /// standard output. `name` is what the lines are, together.
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
            told: 0,
            batch: Vec::with_capacity(2 * BATCH),
            fails: false,
            is_cut: false,
        };
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                if let Err(error) = writer.run(&entries) {
                    let output = writer.output.name();
                    report::notice(format_args!("{name}: {output}: {error}; it ends here"));
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

    /// Has `entry` written, or counts it as lost.
    pub(crate) fn push(&self, entry: T) {
        self.push_holding(entry, size_of::<T>());
    }

    /// The same for one that holds `held` bytes of memory.
    pub(crate) fn push_holding(&self, entry: T, held: usize) {
        let before = self.state.held.fetch_add(held, Relaxed);
        if before + held > HELD || self.queue.try_send(Entry::Line(entry, held)).is_err() {
            self.state.held.fetch_sub(held, Relaxed);
            self.state.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were not written because nobody read the ones before, or because they could not
    /// be.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lost.load(Relaxed)
    }
}

impl<T: Send + 'static> LogWriter<T> {
    pub(crate) fn lines(&self) -> &LogSender<T> {
        &self.lines
    }

    /// Has the file opened anew; there is none for standard output.
    pub(crate) fn renewal(&self) -> Option<ReloadAction> {
        let (name, lines, output) = (self.name, self.lines.clone(), self.output.clone());
        let renew = move || {
            lines.state.reopen.store(true, SeqCst);
            // A writer that does not wait for entries looks by itself.
            let _ = lines.queue.try_send(Entry::Reopen);
            Ok(format!("{name}: {output} is opened anew"))
        };
        self.is_file.then(|| Box::new(renew) as ReloadAction)
    }

    /// Sees the last line out.
    pub(crate) fn finish(self) {
        let Self {
            name,
            output,
            lines,
            ended,
            ..
        } = self;
        // The end, too, must not wait for ever for a reader that does not read: it is sent from a
        // thread of its own.
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
pub(crate) fn receipts<R>(
    form: ReceiptForm,
    path: Option<&Path>,
) -> Result<Option<LogWriter<Box<R>>>, Failure>
where
    R: Serialize + Display + Send + 'static,
{
    if form == ReceiptForm::None {
        return Ok(None);
    }
    let write = move |batch: &mut Vec<u8>, receipt: Box<R>| {
        if form == ReceiptForm::Json {
            // Strings and numbers always can be written, and memory takes them.
            let _ = serde_json::to_writer(&mut *batch, &receipt);
        } else {
            batch.extend(receipt.to_string().into_bytes());
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
    /// Lost lines that were told of.
    told: u64,
    batch: Vec<u8>,
    /// The last batch could not be written.
    fails: bool,
    /// What was written last has no end of line.
    is_cut: bool,
}

impl<F> WriterThread<F> {
    /// Until the end is asked for, or nobody will ever read what is written.
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
        if lost > self.told {
            let (name, new) = (self.name, lost - self.told);
            let output = self.output.name();
            report::notice(format_args!(
                "{name}: {new} lines lost: {output} is not read fast enough"
            ));
            self.told = lost;
        }
        Ok(())
    }

    /// A disk that is full may have room again, and a file past its limit be rotated: only lines
    /// are lost meanwhile, and counted.
    fn write(&mut self) -> std::io::Result<()> {
        if self.is_cut {
            self.batch.insert(0, b'\n');
        }
        let Err((written, error)) = self.output.write_all(&self.batch) else {
            (self.fails, self.is_cut) = (false, false);
            return Ok(());
        };
        if self.output.is_over(&error) {
            return Err(error);
        }
        let (written, lost) = self.batch.split_at(written);
        self.is_cut = written.last().map_or(self.is_cut, |byte| *byte != b'\n');
        let lost = lost.split(|byte| *byte == b'\n').count() as u64 - 1;
        self.state.lost.fetch_add(lost, Relaxed);
        self.told += lost;
        if !std::mem::replace(&mut self.fails, true) {
            let (name, output) = (self.name, self.output.name());
            report::notice(format_args!(
                "{name}: {output}: {error}; lines are lost until it can be written to again"
            ));
        }
        Ok(())
    }

    fn reopen(&mut self) {
        // What is in the batch happened before.
        match self.output.reopen() {
            Ok(()) => self.is_cut = false,
            Err(error) => {
                let (name, output) = (self.name, self.output.name());
                report::notice(format_args!(
                    "{name}: {output} cannot be opened anew: {error}"
                ));
            }
        }
    }
}
