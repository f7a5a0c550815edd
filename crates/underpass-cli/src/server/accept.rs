//! Accepts connections up to a limit until it is told to stop, and then waits for them to end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::{JoinError, JoinSet};
use underpass::Count;
use underpass::StreamSocket;
use underpass_http::Listener;

/// How long to wait when there is no descriptor or memory for another connection.
pub(crate) const RESTING: Duration = Duration::from_millis(100);

/// Counts of a server's connections, shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    pub(crate) accepted: Count,
    pub(crate) open: Count,
    /// Connections that were cut off because the graceful end took too long.
    pub(crate) cut: Count,
    /// Connections that an internal error ended.
    pub(crate) panicked: Count,
    /// How often accepting paused because there was no descriptor or memory.
    pub(crate) pauses: Count,
}

impl ConnectionCounts {
    /// Counts a panic. It ends only its own connection.
    fn note(&self, ended: &Result<(), JoinError>) {
        if ended.as_ref().is_err_and(JoinError::is_panic) {
            self.panicked.add(1);
        }
    }
}

/// Accepts the connections of one listener.
pub(crate) struct Acceptor {
    /// Limit on open connections.
    pub(crate) most: usize,
    pub(crate) connections: Arc<ConnectionCounts>,
}

impl Acceptor {
    /// Calls `serve` for each connection of `listener` until `stop` is ready, then waits until all
    /// connections have ended. Polls `cut` meanwhile: when it is ready, the connections that are
    /// left are dropped.
    pub(crate) async fn run<L, F>(
        self,
        mut listener: L,
        stop: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
        serve: impl Fn(StreamSocket) -> F,
    ) -> io::Result<()>
    where
        L: Listener<Socket: Into<StreamSocket>>,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stop = std::pin::pin!(stop);
        let mut tasks = JoinSet::new();
        loop {
            let has_room = tasks.len() < self.most;
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = tasks.join_next() => self.connections.note(&ended),
                accepted = listener.accept(), if has_room => match accepted {
                    Ok(opening) => {
                        // The listeners that are used here return an open socket at once.
                        if let Ok(socket) = opening.await {
                            tasks.spawn(self.counted(serve(socket.into())));
                        }
                    }
                    Err(error) => self.rest_after(&error).await,
                },
            }
        }
        drop(listener);
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                self.connections.note(&ended);
            }
        };
        let in_time = tokio::select! {
            () = all => true,
            () = cut => false,
        };
        if !in_time {
            // Dropping the set ends them.
            self.connections.cut.add(tasks.len() as u64);
        }
        Ok(())
    }

    fn counted<F: Future<Output = ()>>(&self, connection: F) -> impl Future<Output = ()> + use<F> {
        let open = Open::new(&self.connections);
        async move {
            connection.await;
            drop(open);
        }
    }

    /// Pauses after an error. An error of a single connection needs no pause. A lack of descriptors
    /// or memory passes by itself, but not at once.
    async fn rest_after(&self, error: &io::Error) {
        if is_exhaustion(error) {
            self.connections.pauses.add(1);
            tokio::time::sleep(RESTING).await;
        }
    }
}

/// Whether this process or the system is out of descriptors or memory.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

/// Counts a connection as open until this is dropped.
struct Open(Arc<ConnectionCounts>);

impl Open {
    fn new(connections: &Arc<ConnectionCounts>) -> Self {
        connections.accepted.add(1);
        connections.open.add(1);
        Self(Arc::clone(connections))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.subtract(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    /// Answers `A` to `a`, and panics at anything else.
    async fn answer(connection: StreamSocket) {
        let StreamSocket::Tcp(mut socket) = connection else {
            return;
        };
        let mut said = [0];
        socket.read_exact(&mut said).await.unwrap();
        assert_eq!(said, *b"a", "on purpose");
        socket.write_all(b"A").await.unwrap();
    }

    /// The response to `word`.
    async fn told(listener: std::net::SocketAddr, word: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(listener).await.unwrap();
        socket.write_all(word).await.unwrap();
        let mut answer = Vec::new();
        // A reset counts as no response.
        let _ = socket.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_panic_gives_its_place_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<ConnectionCounts>::default();
        let accepting = Acceptor {
            most: 1,
            connections: Arc::clone(&connections),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { _ = stopped.await };
        let running = accepting.run(listener, stopped, std::future::pending(), answer);
        let clients = async {
            for word in [b"x", b"a", b"x", b"a"] {
                let answer = told(address, word).await;
                assert_eq!(answer == b"A", word == b"a");
            }
            stop.send(()).unwrap();
        };
        let (ended, ()) = tokio::join!(running, clients);
        ended.unwrap();
        let counts = [
            &connections.accepted,
            &connections.open,
            &connections.panicked,
        ];
        assert_eq!(counts.map(Count::get), [4, 0, 2]);
    }
}
