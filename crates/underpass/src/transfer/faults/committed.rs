//! Every route into a file that has to survive a power cut: the transfer is done, and then fsync(2)
//! or close(2) fails, or the power is cut (pitfalls 26 and 27).

use std::ffi::OsStr;
use std::fs::File;

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::rig::{Rig, SinkKind, SourceKind, content, on_disk};
use super::{PAIRS, Route, Transfer};
use crate::atomic_file::faults::power_cut;
use crate::atomic_file::{AtomicFileOptions, Error};
use crate::sys::faulty_files::{Failing, FaultyFiles, FileCall};

/// The outcome of one transfer into a file.
struct Outcome {
    committed: Result<(), Error>,
    found: Option<Vec<u8>>,
    log: Vec<(FileCall, bool)>,
}

#[test]
fn pitfall_26_and_27_what_any_route_gave_is_kept_or_told() {
    let mut cases = 0;
    for &(source, sink) in PAIRS {
        // Files are received one by one, not as sequences.
        let is_sequence = source == SourceKind::Parts;
        if is_sequence || !matches!(sink, SinkKind::Ext4 | SinkKind::Tmpfs) {
            continue;
        }
        for route in routes(source) {
            // The power cut: at each moment the disk has the old state or all of the new one.
            let outcome = run(source, route, None);
            assert_eq!(
                outcome.found.as_deref(),
                Some(content(source)),
                "{source:?} {route}"
            );
            assert_eq!(power_cut(&outcome.log, outcome.committed.is_ok()), None);
            for (call, errno) in [
                (FileCall::Close, Errno::DQUOT),
                (FileCall::Close, Errno::IO),
                (FileCall::SyncFile, Errno::IO),
                (FileCall::SyncFile, Errno::NOSPC),
            ] {
                let failing = Failing {
                    call,
                    nth: Some(1),
                    errno,
                };
                let outcome = run(source, route, Some(failing));
                let told = outcome.committed.unwrap_err().raw_os_error();
                assert_eq!(
                    told,
                    Some(errno.raw_os_error()),
                    "{source:?} {route} {call:?}"
                );
                assert_eq!(outcome.found, None, "{source:?} {route} {call:?}");
                cases += 1;
            }
        }
    }
    assert!(cases >= 60, "only {cases} cases");
}

/// The routes that a plan gives for this source and a file.
fn routes(source: SourceKind) -> Vec<Route> {
    let rig = Rig::new(source, SinkKind::Ext4);
    let [layer, _] = rig.layers();
    let transfer = Transfer::new(rig.source().unwrap(), rig.sink());
    let running = transfer.source_layer(layer).start().unwrap();
    running
        .plan()
        .routes
        .iter()
        .map(|choice| choice.route)
        .collect()
}

fn run(source: SourceKind, route: Route, failing: Option<Failing>) -> Outcome {
    let dir = tempfile::tempdir_in(on_disk()).unwrap();
    let directory = File::open(dir.path()).unwrap();
    let sys = FaultyFiles::with(failing.as_slice());
    let file = AtomicFileOptions::new()
        .create_with(sys, directory.as_fd(), OsStr::new("name"))
        .unwrap();
    let rig = Rig::new(source, SinkKind::Ext4);
    let [layer, _] = rig.layers();
    let transfer = Transfer::new(rig.source().unwrap(), &file).route(route);
    transfer.source_layer(layer).run().unwrap();
    Outcome {
        committed: file.commit().map(|_| ()),
        found: std::fs::read(dir.path().join("name")).ok(),
        log: sys.log(),
    }
}
