//! The fault matrix of making a file: each call fails, in every situation, and the power is cut
//! between any two calls. The name must lead to the old content or to all of the new content, and
//! the reported result must be true.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;

use rustix::io::Errno;

use super::{AtomicFileOptions, Committed, Error};
use crate::sys::faulty_files::{Failing, FaultyFiles, FileCall};

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"the new content";

const ERRNOS: [Errno; 8] = [
    Errno::IO,
    Errno::DQUOT,
    Errno::NOSPC,
    Errno::INTR,
    Errno::PERM,
    Errno::INVAL,
    Errno::NOSYS,
    Errno::EXIST,
];

/// What exists before, and how the file is made.
#[derive(Clone, Copy, Debug)]
struct Situation {
    old: bool,
    /// An existing file may be replaced.
    replace: bool,
    unnamed: bool,
    /// Of the calls that name a file, only the plain rename works.
    poor: bool,
}

const SITUATIONS: [Situation; 8] = [
    Situation {
        old: false,
        replace: false,
        unnamed: false,
        poor: false,
    },
    Situation {
        old: false,
        replace: false,
        unnamed: true,
        poor: false,
    },
    Situation {
        old: false,
        replace: false,
        unnamed: false,
        poor: true,
    },
    Situation {
        old: true,
        replace: true,
        unnamed: false,
        poor: false,
    },
    Situation {
        old: true,
        replace: true,
        unnamed: true,
        poor: false,
    },
    Situation {
        old: true,
        replace: true,
        unnamed: false,
        poor: true,
    },
    Situation {
        old: false,
        replace: true,
        unnamed: true,
        poor: false,
    },
    Situation {
        old: false,
        replace: true,
        unnamed: false,
        poor: false,
    },
];

struct Outcome {
    result: Result<Committed, Error>,
    /// What the name leads to.
    content: Option<Vec<u8>>,
    /// How many other names there are in the directory.
    others: usize,
    log: Vec<(FileCall, bool)>,
}

fn run(situation: Situation, failing: Option<Failing>) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    if situation.old {
        std::fs::write(&path, OLD).unwrap();
    }
    let poor = [FileCall::RenameNew, FileCall::Link].map(|call| Failing {
        call,
        nth: None,
        errno: Errno::NOSYS,
    });
    let mut script: Vec<_> = failing.into_iter().collect();
    script.extend(poor.iter().filter(|_| situation.poor));
    let sys = FaultyFiles::with(&script);
    let directory = File::open(dir.path()).unwrap();
    let result = AtomicFileOptions::new()
        .replace(situation.replace)
        .unnamed(situation.unnamed)
        .create_with(sys, rustix::fd::AsFd::as_fd(&directory), OsStr::new("name"))
        .and_then(|file| {
            (&*file).write_all(NEW).unwrap();
            file.commit()
        });
    Outcome {
        result,
        content: std::fs::read(&path).ok(),
        others: std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() != "name")
            .count(),
        log: sys.log(),
    }
}

#[test]
fn pitfall_26_and_27_every_fault_is_told_and_leaves_old_or_new() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for situation in SITUATIONS {
        let plain = run(situation, None);
        check(situation, None, &plain, &mut wrong);
        let mut made = BTreeMap::<FileCall, usize>::new();
        for (call, _) in &plain.log {
            *made.entry(*call).or_default() += 1;
        }
        for (call, count) in made {
            for nth in 1..=count {
                for errno in ERRNOS {
                    let failing = Failing {
                        call,
                        nth: Some(nth),
                        errno,
                    };
                    check(
                        situation,
                        Some(failing),
                        &run(situation, Some(failing)),
                        &mut wrong,
                    );
                    cases += 1;
                }
            }
        }
    }
    println!("fault matrix of files: {cases} cases");
    assert!(cases > 400, "only {cases} cases");
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn check(
    situation: Situation,
    failing: Option<Failing>,
    outcome: &Outcome,
    wrong: &mut Vec<String>,
) {
    let before = situation.old.then_some(OLD);
    let is_new = outcome.content.as_deref() == Some(NEW);
    let said_new = outcome
        .result
        .as_ref()
        .map_or_else(Error::is_named, |_| true);
    let unlink_failed = failing.is_some_and(|failing| failing.call == FileCall::Unlink);
    let complaint = if failing.is_none() && outcome.result.is_err() {
        Some("it fails by itself")
    } else if is_new != said_new {
        Some("what is said is not so")
    } else if !is_new && outcome.content.as_deref() != before {
        Some("neither old nor new")
    } else if outcome.others > 0 && !unlink_failed {
        Some("something is left")
    } else if must_fail(failing) && outcome.result.is_ok() {
        Some("a failure is not told")
    } else {
        power_cut(&outcome.log, outcome.result.is_ok()).filter(|_| !nothing_to_sync(failing))
    };
    if let Some(complaint) = complaint {
        let result = outcome.result.as_ref().map_err(ToString::to_string);
        wrong.push(format!(
            "{situation:?}, {failing:?}: {complaint}: {result:?}"
        ));
    }
}

fn must_fail(failing: Option<Failing>) -> bool {
    use FileCall::{Close, SyncDirectory, SyncFile};
    let calls = [Close, SyncDirectory, SyncFile];
    failing.is_some_and(|failing| calls.contains(&failing.call)) && !nothing_to_sync(failing)
}

/// Whether fsync(2) failed with an errno that means that the file system keeps nothing, so that
/// nothing can be promised.
fn nothing_to_sync(failing: Option<Failing>) -> bool {
    failing.is_some_and(|Failing { call, errno, .. }| {
        matches!(call, FileCall::SyncFile | FileCall::SyncDirectory)
            && matches!(errno, Errno::INVAL | Errno::NOSYS)
    })
}

/// The least that a file system promises. Content is on the disk once fsync(2) of the file has
/// succeeded, and a name once fsync(2) of the directory has. Before that, both the old and the new
/// state are possible.
pub(crate) fn power_cut(log: &[(FileCall, bool)], done: bool) -> Option<&'static str> {
    let (mut content, mut named, mut kept) = (false, false, false);
    for (call, _) in log.iter().filter(|(_, succeeded)| *succeeded) {
        match call {
            FileCall::SyncFile => content = true,
            FileCall::RenameNew | FileCall::Rename | FileCall::Link if !content => {
                return Some("a power cut would leave an empty file");
            }
            FileCall::RenameNew | FileCall::Rename | FileCall::Link => named = true,
            FileCall::SyncDirectory | FileCall::SyncFileSystem => kept = named,
            _ => {}
        }
    }
    (done && !kept).then_some("a power cut would lose the name")
}

/// A directory that cannot be read cannot be synced itself, but its file system can.
#[test]
fn pitfall_26_an_unreadable_directory_is_synced_with_its_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let sys = FaultyFiles::with(&[Failing {
        call: FileCall::Open,
        nth: Some(1),
        errno: Errno::ACCESS,
    }]);
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    let directory = rustix::fs::open(dir.path(), flags, rustix::fs::Mode::empty()).unwrap();
    let file = AtomicFileOptions::new()
        .create_with(sys, rustix::fd::AsFd::as_fd(&directory), OsStr::new("name"))
        .unwrap();
    file.commit().unwrap();
    assert!(sys.log().contains(&(FileCall::SyncFileSystem, true)));
    assert!(dir.path().join("name").exists());
}
