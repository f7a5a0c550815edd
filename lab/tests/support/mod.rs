//! What tests of `lab vm` share: the files that go in, and a directory in which nothing may be
//! left.

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Condvar, Mutex};

use tempfile::TempDir;
use underpass_testing::needs;

/// How many tests have a machine. As many may as there are processors: an emulated machine is never
/// idle for long, so more of them would only run out of time.
static MACHINES: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A directory for the files of one test, and one for the lab's temporary files; and the right to
/// run a machine.
pub(crate) struct Bench {
    files: TempDir,
    temporary: TempDir,
}

impl Bench {
    /// `None` if something is not installed, after saying so.
    pub(crate) fn new() -> Option<Self> {
        let tools = ["qemu-system-x86_64", "mkfs.ext4", "apt-get"];
        let all = tools.into_iter().all(needs::tool) && needs::static_tool("busybox");
        if !all {
            return None;
        }
        let (machines, ended) = &MACHINES;
        let most = std::thread::available_parallelism().map_or(1, NonZero::get);
        let running = machines.lock().unwrap();
        *ended.wait_while(running, |it| *it >= most).unwrap() += 1;
        Some(Self {
            files: tempfile::tempdir().unwrap(),
            temporary: tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn vm(&self, kernel: &str) -> Command {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
        lab.env("TMPDIR", self.temporary.path());
        // Machines run beside each other, on processors that have other work. Each has one
        // processor: with two, an emulated 6.12 sometimes panics in an interrupt.
        lab.args(["vm", "--kernel", kernel, "--cpus", "1"]);
        lab
    }

    /// Checks that no file of the machine is left, and so no machine: QEMU is waited for before its
    /// files are removed.
    pub(crate) fn left_nothing(&self) {
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let (machines, ended) = &MACHINES;
        *machines.lock().unwrap() -= 1;
        ended.notify_one();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The end of standard error, which may be a MiB of noise, or report a kernel that was lost.
pub(crate) fn tail(output: &Output) -> String {
    text(&output.stderr[output.stderr.len().saturating_sub(4000)..])
}
