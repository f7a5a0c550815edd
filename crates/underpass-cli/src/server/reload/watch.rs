//! Files that are read again when they change.

use std::future::{Future, poll_fn};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::ReloadAction;

/// How often the files are looked at. Looking works on every file system, through links that are
/// replaced, and for files that do not exist at the moment.
const EVERY: Duration = Duration::from_secs(1);

/// An action for when files have changed.
pub(crate) struct Watch {
    files: WatchedFiles,
    action: ReloadAction,
}

/// Files, and what they were like when they were last read.
pub(crate) struct WatchedFiles {
    paths: Arc<[PathBuf]>,
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
}

/// Device, inode, length and time of the last change of a file's content, behind links; `None` if
/// there is no file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Watch {
    pub(crate) fn new(files: WatchedFiles, action: ReloadAction) -> Self {
        Self { files, action }
    }

    /// Runs the action. May block on a disk.
    pub(super) fn run(&mut self) -> Result<String, String> {
        self.files.read = stamps(&self.files.paths);
        (self.action)()
    }
}

/// Waits until the files of one of `watches` have changed and then stayed the same for a while: a
/// certificate and its key are replaced one after the other. Returns which; never without watches.
///
/// Dropping the future loses no change.
pub(super) async fn changed(watches: &mut [Watch]) -> usize {
    let changes = watches.iter_mut().map(|it| Box::pin(it.files.changed()));
    let mut changes: Vec<_> = changes.collect();
    poll_fn(|cx| {
        let mut changes = changes.iter_mut();
        let ready = changes.position(|it| it.as_mut().poll(cx).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

impl WatchedFiles {
    /// To be called before the files are read.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        let read = stamps(&paths);
        Self {
            paths: paths.into(),
            seen: read.clone(),
            read,
        }
    }

    async fn changed(&mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let paths = Arc::clone(&self.paths);
            // A file on a network may keep a call waiting.
            let looking = tokio::task::spawn_blocking(move || stamps(&paths));
            let Ok(now) = looking.await else { continue };
            let is_settled = now == self.seen;
            self.seen = now;
            if is_settled && self.seen != self.read {
                return;
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        let changed = (file.mtime(), file.mtime_nsec());
        Some((file.dev(), file.ino(), file.len(), changed.0, changed.1))
    };
    paths.iter().map(stamp).collect()
}
