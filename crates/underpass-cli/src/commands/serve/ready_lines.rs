//! What is printed when the server is ready.

use std::io::IsTerminal;
use std::net::SocketAddr;

use super::Run;
use super::https::Https;
use super::target::Target;
use crate::io::listen::ListeningSocket;
use crate::server::{self, http_url, https_url, sentence_list, shown_addresses};

impl Run<'_> {
    /// The lines that say the server is ready: `serving /srv on http://127.0.0.1:8080/ (2 threads,
    /// listing on, sendfile)`, and what else is to be known.
    pub(super) fn ready_lines(&self, sockets: &[ListeningSocket], threads: usize) -> Vec<String> {
        let path = &self.args.path;
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let shown =
            |socket: &ListeningSocket, url: fn(SocketAddr) -> String| shown_addresses(socket, url);
        let (mut addresses, mut redirected) = (Vec::new(), Vec::new());
        for socket in sockets {
            match &self.https {
                None => addresses.extend(shown(socket, http_url)),
                Some(https) if https.redirects(socket.ip_address()) => {
                    redirected.extend(shown(socket, http_url));
                }
                Some(_) => addresses.extend(shown(socket, https_url)),
            }
        }
        let features = self.features(threads).join(", ");
        let addresses = sentence_list(&addresses);
        let mut lines = vec![format!(
            "serving {} on {addresses} ({features})",
            path.display()
        )];
        if std::io::stderr().is_terminal() {
            lines.extend(self.interface_lines(sockets));
        }
        lines.extend(self.https.iter().flat_map(|https| https.notes.clone()));
        if !redirected.is_empty() {
            let from = sentence_list(&redirected);
            lines.push(format!("redirecting {from} to HTTPS"));
        }
        lines
    }

    /// More addresses of this machine, each on a line; or the advice how to let others connect.
    fn interface_lines(&self, sockets: &[ListeningSocket]) -> Vec<String> {
        let https = self.https.as_ref();
        let files = sockets
            .iter()
            .filter(|socket| !https.is_some_and(|it| it.redirects(socket.ip_address())));
        let url = if https.is_some() { https_url } else { http_url };
        let others = files.clone().flat_map(server::interface_addresses);
        let lines = others.map(|(name, addr)| format!("also on {} ({name})", url(addr)));
        let local =
            |socket: &ListeningSocket| socket.ip_address().filter(|it| it.ip().is_loopback());
        let local: Option<Vec<_>> = files.map(local).collect();
        let advice = local.as_deref().and_then(|it| it.first()).map(|addr| {
            let port = addr.port();
            format!("only this machine can connect; --listen :{port} lets others in")
        });
        lines.chain(advice).collect()
    }

    fn features(&self, threads: usize) -> Vec<String> {
        let (args, users) = (self.args, self.users);
        let on = |on| if on { "on" } else { "off" };
        let mut features = vec![server::threads(threads)];
        features.push(match self.target {
            Target::Directory { only: Some(_), .. } => "one file".to_owned(),
            _ => format!("listing {}", on(!args.files.no_listing)),
        });
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
        if args.https.tls_client_ca.is_some() {
            features.push("with client certificates".to_owned());
        }
        let sending = self.https.as_ref().map_or("sendfile", Https::versions);
        features.push(sending.to_owned());
        features
    }
}
