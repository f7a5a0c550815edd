//! What a user without rights meets and root does not: little memory that may be pinned, and files of others.

use std::net::TcpStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::set_thread_uid;
use underpass::{Receipt, Route, Transfer};

use support::tcp_pair;

mod support;

/// Runs `test` on a thread whose user has no rights.
fn as_nobody<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65_534;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // With the user go the capabilities, of this thread alone. Who is not root has none already.
            if rustix::process::geteuid().is_root() {
                set_thread_uid(Uid::from_raw(NOBODY)).unwrap();
            }
            test()
        });
        thread.join().unwrap()
    })
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

/// Each send may find the budget for pinned memory spent (ENOBUFS), and every wait must come to its end.
#[test]
fn pitfall_16_a_spent_budget_for_pinned_memory_is_no_hang() {
    const SENDS: usize = 40;
    const BUDGET: u64 = 128 << 10;
    // One step sends as much as this, so that each but the first finds the budget spent, until the answer to the one before
    // comes: at any moment.
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
