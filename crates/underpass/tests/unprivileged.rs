//! What a user without privileges meets and root does not: little memory that may be pinned, and
//! files of other users.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::process::{Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::set_thread_uid;
use underpass::page_cache::{is_resident, warm};
use underpass::{Receipt, Route, Transfer};

use support::tcp_pair;

mod support;

/// Runs `test` on a thread whose user has no privileges.
fn as_nobody<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65_534;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Changing the user also drops the capabilities, for this thread only. A user other
            // than root has none anyway.
            if rustix::process::geteuid().is_root() {
                set_thread_uid(Uid::from_raw(NOBODY)).unwrap();
            }
            test()
        });
        thread.join().unwrap()
    })
}

/// A file with `len` bytes in `directory`, open for reading only.
fn readable(directory: &str, len: usize) -> File {
    let mut file = tempfile::tempfile_in(directory).unwrap();
    file.write_all(&vec![7; len]).unwrap();
    file.sync_all().unwrap();
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::open(again).unwrap()
}

/// The owner of a file and other users see the same state of the page cache, although the kernel
/// refuses cachestat(2) to the latter, and gives them no true answer from mincore(2).
#[test]
fn pitfall_21_others_see_what_the_owner_sees_in_the_page_cache() {
    const MIB: u64 = 1 << 20;
    let (disk, memory) = (env!("CARGO_MANIFEST_DIR"), "/dev/shm");
    let file = readable(disk, MIB as usize);
    let own = |offset, len| is_resident(&file, offset, len);
    let others = |offset, len| as_nobody(|| is_resident(&file, offset, len));
    // Past the end of the file there is nothing to wait for.
    let there = [
        (0, MIB),
        (0, 2 * MIB),
        (MIB - 10, 50_000),
        (MIB, 1),
        (1 << 40, MIB),
        (5, u64::MAX),
    ];
    for (offset, len) in there {
        assert!(own(offset, len), "{offset} {len}");
        assert!(others(offset, len), "{offset} {len}, of others");
    }
    let gap = MIB / 2;
    let make_gap = || {
        // Only what is read is cached again: folios may be larger than a gap that is dropped.
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        let mut half = vec![0; gap as usize];
        file.read_exact_at(&mut half, 0).unwrap();
        let quarter = &mut half[..MIB as usize / 4];
        file.read_exact_at(quarter, gap + MIB / 4).unwrap();
    };
    let broken = [
        (0, MIB),
        (0, 2 * MIB),
        (0, u64::MAX),
        (gap + 65_536, 1),
        (gap - 1, 100_000),
    ];
    for (offset, len) in broken {
        // Checking a page that is missing may make the kernel read it, so each check has a gap of
        // its own.
        make_gap();
        assert!(!own(offset, len), "{offset} {len}");
        make_gap();
        assert!(!others(offset, len), "{offset} {len}, of others");
        assert!(own(0, gap) && others(0, gap));
        assert!(own(MIB, 10) && others(MIB, 10));
    }
    as_nobody(|| warm(&file, 0, MIB)).unwrap();
    assert!(own(0, MIB) && others(0, MIB));
    let file = readable(memory, MIB as usize);
    assert!(is_resident(&file, 0, MIB) && as_nobody(|| is_resident(&file, 0, MIB)));
}

fn count(mut far: TcpStream) -> JoinHandle<u64> {
    thread::spawn(move || std::io::copy(&mut far, &mut std::io::sink()).unwrap())
}

/// A way to run a transfer to its end.
type Run = fn(Transfer<'static, underpass::Memory, TcpStream>) -> Receipt;

const DRIVERS: &[(&str, Run)] = &[
    ("run", |transfer| transfer.run().unwrap()),
    #[cfg(feature = "tokio")]
    ("run_async", |transfer| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(transfer.run_async()).unwrap()
    }),
];

/// Each send may find that no more memory may be pinned (ENOBUFS), and every wait must end.
#[test]
fn pitfall_16_a_spent_budget_for_pinned_memory_is_no_hang() {
    const SENDS: usize = 40;
    const BUDGET: u64 = 128 << 10;
    // One step sends as much as this. So every send but the first may find the limit reached, until
    // the kernel has reported on the send before it, which it may do at any moment.
    let limit = Rlimit {
        current: Some(BUDGET + (64 << 10)),
        ..getrlimit(Resource::Memlock)
    };
    setrlimit(Resource::Memlock, limit).unwrap();
    let content = vec![7; 16 << 20];
    for (name, run) in DRIVERS {
        for nth in 0..SENDS {
            let (near, far) = tcp_pair();
            let far = count(far);
            let content = content.clone();
            let receipt = as_nobody(|| {
                run(Transfer::from_memory(content, near)
                    .route(Route::SendZerocopy)
                    .budget(BUDGET)
                    .idle_timeout(Duration::from_secs(20)))
            });
            assert!(receipt.complete, "{name} {nth}");
            assert_eq!(far.join().unwrap(), receipt.bytes, "{name} {nth}");
        }
    }
}
