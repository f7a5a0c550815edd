//! A line on standard output for everything that happens, written by a thread of its own: no thread that serves ever waits
//! for standard output.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::exit::Failure;
use crate::report;
use crate::standard::Stream;

/// What may wait to be written: some 30 ms at 250,000 requests a second, and 2 MiB.
const QUEUE: usize = 8192;
/// Written at once: what a pipe holds.
const BATCH: usize = 64 << 10;
/// How long the end waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the threads that serve leave what is to be written.
pub(crate) struct Lines<T> {
    queue: SyncSender<Entry<T>>,
    lost: Arc<AtomicU64>,
}

// Whatever `T` is: it is only sent.
impl<T> Clone for Lines<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            lost: Arc::clone(&self.lost),
        }
    }
}

/// The writing end's owner.
pub(crate) struct Writing<T> {
    name: &'static str,
    lines: Lines<T>,
    ended: Receiver<()>,
}

enum Entry<T> {
    Line(T),
    End,
}

impl<T: Send + 'static> Lines<T> {
    /// Starts the thread that writes what `format` makes of each entry. `name` is what the lines are, together.
    pub(crate) fn start(
        name: &'static str,
        format: impl FnMut(&mut Vec<u8>, T) + Send + 'static,
    ) -> Result<Writing<T>, Failure> {
        Stream::Output.needed_for(name)?;
        let (queue, entries) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(0);
        let lost = Arc::default();
        let mut writer = Writer {
            name,
            format,
            lost: Arc::clone(&lost),
            told: 0,
            batch: Vec::with_capacity(2 * BATCH),
        };
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                if let Err(error) = writer.run(&entries) {
                    report::notice(format_args!(
                        "{name}: standard output: {error}; it ends here"
                    ));
                }
                drop(ending);
            })
            .map_err(|error| Failure::failed(format_args!("{name}: {error}")))?;
        Ok(Writing {
            name,
            lines: Self { queue, lost },
            ended,
        })
    }

    /// Has `entry` written, or counts it as lost.
    pub(crate) fn push(&self, entry: T) {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};
        match self.queue.try_send(Entry::Line(entry)) {
            Ok(()) => {}
            Err(Full(_) | Disconnected(_)) => _ = self.lost.fetch_add(1, Relaxed),
        }
    }

    /// Lines that were not written because nobody read the ones before.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl<T: Send + 'static> Writing<T> {
    pub(crate) fn lines(&self) -> &Lines<T> {
        &self.lines
    }

    /// Sees the last line out.
    pub(crate) fn finish(self) {
        let Self { name, lines, ended } = self;
        // The end, too, must not wait for ever for a reader that does not read: it is sent from a thread of its own.
        let queue = lines.queue.clone();
        let sending = thread::Builder::new().spawn(move || _ = queue.send(Entry::End));
        if sending.is_err() || ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            report::notice(format_args!(
                "{name}: standard output is not read; its last lines are lost"
            ));
        }
    }
}

struct Writer<F> {
    name: &'static str,
    format: F,
    lost: Arc<AtomicU64>,
    /// Lost lines that were told of.
    told: u64,
    batch: Vec<u8>,
}

impl<F> Writer<F> {
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
            let Some(Entry::Line(entry)) = entry else {
                self.flush()?;
                return Stream::Output.check();
            };
            (self.format)(&mut self.batch, entry);
            if self.batch.len() >= BATCH {
                self.flush()?;
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
                "{}: {new} lines lost: standard output is not read fast enough",
                self.name
            ));
            self.told = lost;
        }
        Ok(())
    }
}
