//! What is said when the server is ready: what is served, and where to point a browser.

use crate::args::ServeArgs;
use crate::io::listen::ListeningSocket;
use crate::server::{self, sentence_list, shown_addresses, url};

/// `/srv on http://127.0.0.1:8080/ (2 threads, listing on, sendfile)`
pub(super) fn line(
    args: &ServeArgs,
    sockets: &[ListeningSocket],
    threads: usize,
    users: bool,
) -> String {
    let dir = std::fs::canonicalize(&args.dir).unwrap_or_else(|_| args.dir.clone());
    let shown_addresses: Vec<_> = sockets
        .iter()
        .flat_map(|socket| shown_addresses(socket, url))
        .collect();
    let features = features(args, threads, users).join(", ");
    format!(
        "serving {} on {} ({features})",
        dir.display(),
        sentence_list(&shown_addresses)
    )
}

fn features(args: &ServeArgs, threads: usize, users: bool) -> Vec<String> {
    let on = |on| if on { "on" } else { "off" };
    let mut features = vec![
        server::threads(threads),
        format!("listing {}", on(!args.files.no_listing)),
    ];
    if args.uploads.wanted() {
        features.push(
            if users {
                "uploads on"
            } else {
                "uploads from anybody"
            }
            .to_owned(),
        );
    }
    if users {
        features.push("with passwords".to_owned());
    }
    features.push("sendfile".to_owned());
    features
}
