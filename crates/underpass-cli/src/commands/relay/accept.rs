//! Accepting connections within limits, until told to stop, and seeing them out.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use underpass::relay::{Settings, Socket as Connection};

use super::connection::Connector;
use super::stats::Stats;
use crate::server::{Running, Service, Socket};

/// How long accepting rests when there is no descriptor or memory for another connection.
pub(super) const RESTING: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(super) struct Relaying {
    pub(super) connector: Arc<Connector>,
    /// How long connections may go on when the end is asked for.
    pub(super) drain: Duration,
}

impl Service for Relaying {
    fn on(
        &self,
        socket: Socket,
        connections: usize,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Running> {
        let listener = match socket {
            Socket::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener) => Listener::Unix(UnixListener::from_std(listener)?),
        };
        Ok(Box::pin(self.clone().run(listener, connections, stop)))
    }
}

impl Relaying {
    async fn run(
        self,
        listener: Listener,
        most: usize,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut settings = self.connector.settings.clone();
        settings.stats = Some(self.connector.stats.of_thread());
        let settings = Arc::new(settings);
        let mut stop = std::pin::pin!(stop);
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < most;
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok(connection) => {
                        connections.spawn(self.connection(connection, &settings));
                    }
                    Err(error) => rest_after(&error).await,
                },
            }
        }
        drop(listener);
        let all = async { while connections.join_next().await.is_some() {} };
        // What is left after that ends with the set, by resets.
        if tokio::time::timeout(self.drain, all).await.is_err() {
            self.connector.stats.cut.add(connections.len() as u64);
        }
        Ok(())
    }

    fn connection(
        &self,
        near: Connection,
        settings: &Arc<Settings>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (connector, settings) = (Arc::clone(&self.connector), Arc::clone(settings));
        let open = Open::new(&connector.stats);
        async move {
            connector.relay(near, &settings).await;
            drop(open);
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Cancel safe, as tokio's are.
    async fn accept(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Tcp(listener) => listener.accept().await?.0.into(),
            Self::Unix(listener) => listener.accept().await?.0.into(),
        })
    }
}

/// Counts a connection for as long as it is open, however it ends.
struct Open(Arc<Stats>);

impl Open {
    fn new(stats: &Arc<Stats>) -> Self {
        stats.accepted.add(1);
        stats.open.add(1);
        Self(Arc::clone(stats))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.subtract(1);
    }
}

/// An error of one connection is no reason to stop accepting; one of the whole process passes by itself, but not at once.
async fn rest_after(error: &io::Error) {
    if is_exhaustion(error) {
        tokio::time::sleep(RESTING).await;
    }
}

/// There is no descriptor or memory left, here or in the whole system.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}
