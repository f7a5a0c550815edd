//! A process with a low limit of descriptors: files are kept open for speed, and must not prevent
//! other files from being opened.

use std::fs::File;
use std::sync::Arc;

use underpass_http::ServeDir;

use crate::support::{Client, Files, Server, bytes, child, is_child};

/// The limit, as `ulimit -n` sets it.
const LIMIT: usize = 256;

/// More files than the process may open: some are small, others are mapped.
const FILES: usize = 600;

fn limited(test: &str) {
    let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
    let output = child(&["sh", "-c", &script], test).output().unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}{error}");
    assert!(message.contains("1 passed"), "{message}");
}

fn content(number: usize) -> Vec<u8> {
    bytes(
        if number.is_multiple_of(2) {
            100
        } else {
            20_000
        } + number,
    )
}

fn tree() -> Files {
    (0..FILES).fold(Files::new(), |files, number| {
        files.with(&number.to_string(), &content(number))
    })
}

fn serve(files: &Files) -> Server {
    let root = files.root().to_owned();
    Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)))
}

fn get_all(client: &mut Client) {
    for number in 0..FILES {
        let answer = client.get(&format!("/{number}"));
        assert_eq!(answer.status, 200, "{number}");
        assert!(answer.body == content(number), "{number}");
    }
}

#[test]
fn more_files_than_descriptors_are_served() {
    if !is_child() {
        return limited("few_descriptors::more_files_than_descriptors_are_served");
    }
    let files = tree();
    let server = serve(&files);
    let mut client = Client::connect(server.address);
    get_all(&mut client);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open > LIMIT / 3 && open < LIMIT * 3 / 4, "{open}");
    get_all(&mut client);
}

/// The embedding program takes all descriptors that the cache leaves.
#[test]
fn a_file_is_opened_when_no_descriptor_is_left() {
    if !is_child() {
        return limited("few_descriptors::a_file_is_opened_when_no_descriptor_is_left");
    }
    let files = tree();
    let server = serve(&files);
    let mut client = Client::connect(server.address);
    get_all(&mut client);
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    get_all(&mut client);
    // Connections find no descriptor either.
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    // One for the client's end.
    taken.pop();
    let mut second = Client::connect(server.address);
    assert_eq!(second.get("/1").status, 200);
    assert_eq!(server.stats.accept_pauses.get(), 0);
}
