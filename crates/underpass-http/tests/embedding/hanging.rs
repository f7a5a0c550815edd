//! A file system whose server does not answer, like NFS when its server is gone: only clients that
//! ask for its files wait.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Signal, kill_process};
use underpass_http::{Cache, ServeDir};

use crate::support::{Client, Files, KIB, Server, bytes, needs};

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that is served by a process (FUSE), which can be stopped. It is unmounted when this
/// is dropped, also by a panic.
struct Remote {
    process: Child,
    at: String,
    _files: Files,
}

impl Remote {
    /// `None` if this machine cannot do it.
    fn mount(files: Files, at: &str) -> Option<Self> {
        if !needs::root() || !needs::tool("bindfs") {
            return None;
        }
        if !Path::new("/dev/fuse").exists() {
            needs::lacking("there is no /dev/fuse");
            return None;
        }
        std::fs::create_dir(at).unwrap();
        let process = Command::new("bindfs")
            // Nothing is cached, so that each access asks the process.
            .args([
                "-f",
                "-o",
                "attr_timeout=0,entry_timeout=0,ac_attr_timeout=0",
            ])
            .arg(files.root())
            .arg(at)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let this = Self {
            process,
            at: at.to_owned(),
            _files: files,
        };
        let begun = Instant::now();
        while !std::fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .contains(at)
        {
            assert!(begun.elapsed() < PATIENCE, "it is not mounted");
            std::thread::yield_now();
        }
        Some(this)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::CONT);
        let _ = Command::new("umount").args(["-l", &self.at]).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One thread serves both: a single call that waits would stop it.
#[test]
fn a_file_system_that_hangs_holds_up_only_who_asks_for_it() {
    let (small, large) = (bytes(100), bytes(100 * KIB));
    for below in [false, true] {
        let shown = Files::new().with("small", &small).with("large", &large);
        let local = Files::new().with("hot", &large);
        let at = local.path("mounted");
        let root = local.root().to_owned();
        let server = Server::start(move |stats| {
            let serve = |root: &Path| {
                let cache = Cache::default().entries(16).valid_for(PATIENCE);
                ServeDir::new(root).stats(Arc::clone(stats)).cache(cache)
            };
            // The served root is the mount itself, or the mount is below it.
            let mounted = if below {
                root.clone()
            } else {
                root.join("mounted")
            };
            axum::Router::new()
                .nest_service("/remote", serve(&mounted))
                .nest_service("/local", serve(&root))
        });
        // This is dropped before the server, which may be waiting for it.
        let Some(remote) = Remote::mount(shown, &at) else {
            return;
        };
        let directory = if below { "/remote/mounted" } else { "/remote" };
        let mut local = Client::connect(server.address);
        // The first time no file is open yet; the second time all are.
        for _ in 0..2 {
            remote.signal(Signal::STOP);
            let ask = |name| {
                let mut client = Client::connect(server.address);
                client.ask("GET", &format!("{directory}/{name}"), "");
                client
            };
            let mut waiting = [(ask("small"), &small), (ask("large"), &large)];
            for _ in 0..20 {
                assert!(local.get("/local/hot").body == large);
            }
            remote.signal(Signal::CONT);
            for (client, content) in &mut waiting {
                assert!(client.answer().body == **content);
            }
        }
    }
}

/// More requests wait for it than there are threads for waiting.
#[test]
fn a_file_system_that_hangs_leaves_threads_for_other_disks() {
    const CLIENTS: usize = 600;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < 4 * CLIENTS as u64) {
        needs::lacking("too few files may be open");
        return;
    }
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
    let shown = Files::new().with("small", b"small");
    let local = Files::new();
    let root = local.root().to_owned();
    let server = Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)));
    let Some(remote) = Remote::mount(shown, &local.path("mounted")) else {
        return;
    };
    let mut quick = Client::connect(server.address);
    assert_eq!(quick.get("/none").status, 404);
    remote.signal(Signal::STOP);
    let waiting: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::connect(server.address);
            client.ask("GET", "/mounted/small", "");
            client
        })
        .collect();
    // The kernel has not cached these names, so a thread has to ask.
    for number in 0..20 {
        assert_eq!(quick.get(&format!("/none-{number}")).status, 404);
    }
    remote.signal(Signal::CONT);
    for mut client in waiting {
        assert_eq!(client.answer().body, b"small");
    }
}
