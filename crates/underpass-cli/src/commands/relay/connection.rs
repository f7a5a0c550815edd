//! One connection: a target for it, a word on who it is, and then bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use underpass::relay::{Ended, Settings, Side, Socket};
use underpass::reset_on_close;

use super::proxy_header;
use super::receipts::Receipts;
use super::stats::Stats;
use super::targets::{Target, Targets};
use crate::values::ProxyVersion;
use crate::{report, server};

/// What all connections are joined by.
pub(super) struct Connector {
    pub(super) targets: Targets,
    pub(super) settings: Settings,
    pub(super) connect_timeout: Duration,
    pub(super) proxy_header: Option<ProxyVersion>,
    /// Tell of every connection that ended early.
    pub(super) verbose: bool,
    pub(super) receipts: Option<Receipts>,
    pub(super) stats: Arc<Stats>,
}

impl Connector {
    /// Sees `near` through to its end; `settings` are [`Self::settings`] with the counters of this thread.
    pub(super) async fn relay(&self, near: Socket, settings: &Settings) {
        let peer = server::number(&near);
        // Until its target has ended in good order: an orderly close would say that the target had
        // nothing to say.
        let _ = reset_on_close(&near);
        let (far, target) = match self.open(&near).await {
            Ok(opened) => opened,
            Err(error) => {
                self.stats.unreached.add(1);
                return self.tell(peer, &error);
            }
        };
        let receipts = self.receipts.as_ref();
        let ends = receipts.and_then(|_| Receipts::ask(&near, &far, target.name()));
        let relayed = underpass::relay(near, far, settings).await;
        if let Some((receipts, ends)) = receipts.zip(ends) {
            receipts.tell(&relayed, &ends);
        }
        match relayed.ended {
            Ended::Reset { raw_os_error, by } => {
                let side = match by {
                    Side::Near => "the client",
                    Side::Far => target.name(),
                };
                let error = io::Error::from_raw_os_error(raw_os_error);
                self.tell(peer, &format_args!("{side} went away: {error}"));
            }
            Ended::TimedOut => self.tell(peer, &"nothing moved for too long"),
            _ => {}
        }
    }

    /// A connection to a target that knows who it is for.
    async fn open(&self, near: &Socket) -> io::Result<(Socket, &Target)> {
        let (far, target) = self
            .targets
            .connect(self.connect_timeout, &self.stats)
            .await?;
        // Messages are passed on as they come: there is nothing for Nagle's algorithm to join. The listener has seen
        // to the near side.
        if let Socket::Tcp(far) = &far {
            far.set_nodelay(true)?;
        }
        if let Some(version) = self.proxy_header {
            write_all(&far, &proxy_header::header(version, near)).await?;
        }
        Ok((far, target))
    }

    fn tell(&self, peer: Option<std::net::SocketAddr>, why: &dyn std::fmt::Display) {
        if self.verbose {
            let peer = server::peer(peer);
            report::notice(format_args!("{peer}: {why}"));
        }
    }
}

async fn write_all(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match socket {
            Socket::Tcp(socket) => {
                socket.writable().await?;
                socket.try_write(bytes)
            }
            Socket::Unix(socket) => {
                socket.writable().await?;
                socket.try_write(bytes)
            }
        };
        match written {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
