//! Files that are not in the page cache: only their own readers wait for the disk, and the page
//! cache can be left as it was.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use underpass_http::{Count, ServeDir};

use crate::support::{Client, Files, KIB, MIB, Mount, Server, bytes, child, cold, is_child, needs};

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counters do not notify anyone, so this polls them.
fn wait_for(count: &Count) {
    let begun = Instant::now();
    while count.get() == 0 {
        assert!(begun.elapsed() < PATIENCE, "it was not counted");
        std::thread::yield_now();
    }
}

#[test]
fn pitfall_21_a_cold_file_is_waited_for_elsewhere_and_leaves_by_sendfile() {
    let content = bytes(8 * MIB + 123);
    let files = Files::on_disk();
    files.cold("file", &content);
    let root = files.root().to_owned();
    let server = Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)));
    let mut client = Client::connect(server.address);
    assert!(client.get("/file").body == content);
    server.log.exchanges(1);
    let waits = server.stats.cold_waits.get();
    assert!(waits > 0);
    assert_eq!(server.stats.bytes_sendfile.get(), content.len() as u64);
    // Now it is in the page cache.
    assert!(client.get("/file").body == content);
    assert_eq!(server.stats.cold_waits.get(), waits);
}

/// One thread serves both. If it waited for the disk, each small response would come after another
/// turn of the large one.
#[test]
fn pitfall_21_a_slow_disk_holds_up_only_who_reads_from_it() {
    const ROUNDS: usize = 200;
    let Some(mount) = Mount::throttled() else {
        return;
    };
    cold(&mount.path("big"), &bytes(32 * MIB));
    mount.limit(2 * MIB as u64);
    let hot = Files::new().with("hot", &bytes(100 * KIB));
    let (root, hot_root, group) = (mount.root(), hot.root().to_owned(), mount.slow_readers());
    let server = Server::start(move |stats| {
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        std::fs::write(group, thread).unwrap();
        let serve = |root: &Path| ServeDir::new(root).stats(Arc::clone(stats));
        axum::Router::new()
            .nest_service("/disk", serve(Path::new(&root)))
            .nest_service("/memory", serve(&hot_root))
    });
    let mut slow = Client::connect(server.address);
    slow.ask("GET", "/disk/big", "");
    assert_eq!(slow.head().len(), 32 * MIB as u64);
    // It reads whatever is sent, so only the disk slows it down.
    let reader = std::thread::spawn(move || slow.rest());
    wait_for(&server.stats.cold_waits);
    let mut quick = Client::connect(server.address);
    for _ in 0..ROUNDS {
        assert_eq!(quick.get("/memory/hot").body.len(), 100 * KIB);
    }
    let exchanges = server.log.exchanges(ROUNDS);
    let targets = exchanges
        .iter()
        .map(|it| it.request.as_ref().unwrap().uri.path());
    assert_eq!(targets.filter(|it| *it == "/memory/hot").count(), ROUNDS);
    let of_big = server.stats.bytes_sendfile.get() - (ROUNDS * 100 * KIB) as u64;
    mount.limit(0);
    assert!(of_big < 8 * MIB as u64, "{of_big} bytes went by meanwhile");
    drop(server);
    reader.join().unwrap();
}

/// How many bytes of a file are in the page cache.
fn cached(path: &str) -> u64 {
    let output = Command::new("fincore")
        .args(["-b", "-n", "-o", "RES", path])
        .output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    output.trim().parse().unwrap()
}

#[test]
fn a_polite_server_leaves_the_page_cache_as_it_was() {
    const BIG: usize = 64 * MIB;
    if !needs::tool("fincore") {
        return;
    }
    let (big, small) = (bytes(BIG), bytes(MIB));
    let files = Files::on_disk().with("hot", &small);
    std::fs::File::open(files.path("hot"))
        .unwrap()
        .sync_all()
        .unwrap();
    for polite in [true, false] {
        files.cold("big", &big);
        assert_eq!(cached(&files.path("big")), 0);
        let root = files.root().to_owned();
        let server = Server::start(move |stats| {
            ServeDir::new(root)
                .polite_cache(polite)
                .stats(Arc::clone(stats))
        });
        let mut client = Client::connect(server.address);
        assert!(client.get("/hot").body == small);
        assert!(client.get("/big").body == big);
        server.log.exchanges(2);
        let left = cached(&files.path("big"));
        if polite {
            assert!(left <= BIG as u64 / 4, "{left} bytes are left of it");
        } else {
            // The kernel may have taken some of it back already.
            assert!(left >= BIG as u64 / 4 * 3, "{left} bytes are left of it");
        }
        assert_eq!(cached(&files.path("hot")), MIB as u64);
    }
}

/// If a server does not own its files, the kernel does not tell it what is in the page cache. It
/// has to find out.
#[test]
fn pitfall_21_who_does_not_own_a_file_sees_what_is_cold() {
    const ROOT: &str = "UNDERPASS_TEST_ROOT";
    const TEST: &str = "cold_files::pitfall_21_who_does_not_own_a_file_sees_what_is_cold";
    let content = bytes(8 * MIB + 123);
    if is_child() {
        let root = std::env::var(ROOT).unwrap();
        let server = Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)));
        let mut client = Client::connect(server.address);
        assert!(client.get("/hot").body == content);
        assert_eq!(server.stats.cold_waits.get(), 0);
        assert!(client.get("/cold").body == content);
        server.log.exchanges(2);
        assert!(server.stats.cold_waits.get() > 0);
        assert_eq!(server.left().0, 2 * content.len() as u64);
        return;
    }
    if !needs::root() || !needs::tool("setpriv") {
        return;
    }
    let files = Files::on_disk().with("hot", &content);
    files.open("hot").sync_all().unwrap();
    files.cold("cold", &content);
    let searched = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(files.root(), searched).unwrap();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let output = child(&nobody, TEST).env(ROOT, files.root()).output();
    let output = output.unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}{error}");
    assert!(message.contains("1 passed"), "{message}");
}
