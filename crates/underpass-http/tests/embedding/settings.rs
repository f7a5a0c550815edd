//! Settings at the limits of their types.

use std::time::Duration;

use underpass_http::{Cache, Limits, ServeDir, Timeouts};

use crate::support::{Client, Files, Server};

#[test]
fn pitfall_36_the_longest_durations_are_only_long() {
    let files = Files::new();
    std::fs::create_dir(files.path("old")).unwrap();
    let files = files.with("old/file", b"content");
    let root = files.root().to_owned();
    let server = Server::configured(
        move |_| ServeDir::new(root).cache(Cache::default().entries(10).valid_for(Duration::MAX)),
        |serve| {
            let mut timeouts = Timeouts::default();
            timeouts.head = Duration::MAX;
            timeouts.body = Duration::MAX;
            timeouts.send = Duration::MAX;
            timeouts.keep_alive = Duration::MAX;
            timeouts.drain = Duration::MAX;
            let mut limits = Limits::default();
            limits.head_fields = usize::MAX;
            limits.head_bytes = usize::MAX;
            limits.connections = usize::MAX;
            serve.timeouts(timeouts).limits(limits)
        },
    );
    let mut client = Client::connect(server.address);
    for _ in 0..3 {
        assert_eq!(client.get("/old/file").body, b"content");
    }
    // The path is never looked up again, and the file itself does not tell that its name now leads
    // elsewhere.
    std::fs::rename(files.path("old"), files.path("new")).unwrap();
    assert_eq!(client.get("/old/file").body, b"content");
    assert_eq!(server.stats.connections_panicked.get(), 0);
}
