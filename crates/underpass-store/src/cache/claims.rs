//! Blocks that were written are claimed in their index once the disk has them.
//!
//! One thread does it for all files: it lets claims gather for a moment, syncs the data of each
//! file, then appends its claims. Nobody who sends waits for it. What is not claimed when the
//! process ends is fetched again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::catalog::Usage;
use super::index::Claim;
use crate::error::StoreError;

/// As many files wait for the disk at most. Beyond it, blocks are claimed with a later one of their
/// file, or not at all.
const QUEUE: usize = 1024;
/// For how long claims gather. A disk takes one large write sooner than many small ones, and
/// fdatasync(2) takes CPU time from those who send.
const GATHER: Duration = Duration::from_millis(500);

/// The claims of one file that are not written yet.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) data: Arc<File>,
    pub(crate) index: PathBuf,
    pub(crate) seal: u64,
    pub(crate) usage: Arc<Usage>,
    pending: Mutex<Vec<Claim>>,
    queued: AtomicBool,
}

/// The thread that writes claims. It ends when nobody can claim any more.
#[derive(Debug)]
pub(crate) struct ClaimWriter {
    queue: SyncSender<Job>,
}

enum Job {
    Write(Arc<Journal>),
    Flush(oneshot::Sender<()>),
}

impl Journal {
    pub(crate) fn new(data: Arc<File>, index: PathBuf, seal: u64, usage: Arc<Usage>) -> Self {
        Self {
            data,
            index,
            seal,
            usage,
            pending: Mutex::default(),
            queued: AtomicBool::new(false),
        }
    }

    fn take(&self) -> Vec<Claim> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Syncs the data, then claims what was written to it before.
    fn write(&self) -> io::Result<()> {
        self.queued.swap(false, AcqRel);
        let claims = self.take();
        if claims.is_empty() || self.usage.is_evicted() {
            return Ok(());
        }
        self.data.sync_data()?;
        let records: Vec<u8> = claims
            .into_iter()
            .flat_map(|it| it.to_bytes(self.seal))
            .collect();
        // Never made here: an index without a name is of a file that was evicted meanwhile.
        match OpenOptions::new().append(true).open(&self.index) {
            Ok(mut index) => index.write_all(&records),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl ClaimWriter {
    /// # Errors
    ///
    /// The thread could not be made.
    pub(crate) fn start(warn: impl Fn(&str) + Send + 'static) -> Result<Self, StoreError> {
        let (queue, jobs) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("store-claims".into())
            .spawn(move || run(&jobs, &warn))
            .map_err(|error| StoreError::disk("cannot start a thread of the cache", &error))?;
        Ok(Self { queue })
    }

    /// Claims a block that has been written.
    pub(crate) fn claim(&self, journal: &Arc<Journal>, claim: Claim) {
        let mut pending = journal
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        pending.push(claim);
        drop(pending);
        if journal.queued.swap(true, AcqRel) {
            return;
        }
        if self
            .queue
            .try_send(Job::Write(Arc::clone(journal)))
            .is_err()
        {
            journal.queued.swap(false, AcqRel);
        }
    }

    /// Waits until everything that was claimed before is in its index.
    pub(crate) async fn flush(&self) {
        let queue = self.queue.clone();
        let (done, wait) = oneshot::channel();
        let sent = tokio::task::spawn_blocking(move || queue.send(Job::Flush(done)).is_ok());
        if sent.await.unwrap_or(false) {
            // An error says that the thread has ended: then there is nothing to wait for.
            let _ = wait.await;
        }
    }
}

fn run(jobs: &Receiver<Job>, warn: &dyn Fn(&str)) {
    let mut warned = false;
    while let Ok(job) = jobs.recv() {
        let (journals, done) = gather(jobs, job);
        for journal in journals {
            match journal.write() {
                Ok(()) => warned = false,
                Err(error) if !warned => {
                    warned = true;
                    let index = journal.index.display();
                    warn(&format!(
                        "cannot note in {index} what is in the cache: {error}; it will be fetched again after a restart"
                    ));
                }
                Err(_) => {}
            }
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

/// The files whose claims are due: those that came within [`GATHER`] after the first one, or until
/// somebody waits for them.
fn gather(jobs: &Receiver<Job>, first: Job) -> (Vec<Arc<Journal>>, Option<oneshot::Sender<()>>) {
    let until = Instant::now() + GATHER;
    let mut journals = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Job::Write(journal)) => journals.push(journal),
            Ok(Job::Flush(done)) => return (journals, Some(done)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return (journals, None);
            }
        }
        if journals.len() >= QUEUE {
            return (journals, None);
        }
        next = jobs.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}
