//! Accepting connections within limits, until told to stop, and seeing them out.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::JoinSet;
use underpass::Count;
use underpass::relay::Socket as Connection;
use underpass_http::Listener;

/// How long to rest when there is no descriptor or memory for another connection.
pub(crate) const RESTING: Duration = Duration::from_millis(100);

/// The connections of a server, counted as they come and go. Shared by all threads: what a connection adds, it adds once.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) accepted: Count,
    pub(crate) open: Count,
    /// Ended because a graceful end took too long.
    pub(crate) cut: Count,
    /// Times that accepting rested, for there was no descriptor or memory for another.
    pub(crate) pauses: Count,
}

/// How the connections of a listener are accepted.
pub(crate) struct Accepting {
    /// Open at once.
    pub(crate) most: usize,
    pub(crate) connections: Arc<Connections>,
}

impl Accepting {
    /// Has each connection of `listener` served, until `stop` is ready and they have ended. `cut` is begun then, and cuts off
    /// those that are left when it is ready.
    pub(crate) async fn run<L, F>(
        self,
        mut listener: L,
        stop: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
        serve: impl Fn(Connection) -> F,
    ) -> io::Result<()>
    where
        L: Listener<Socket: Into<Connection>>,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stop = std::pin::pin!(stop);
        let mut tasks = JoinSet::new();
        loop {
            let has_room = tasks.len() < self.most;
            tokio::select! {
                () = &mut stop => break,
                Some(_) = tasks.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok(opening) => {
                        // For the listeners there are, an opening is an opened socket.
                        if let Ok(socket) = opening.await {
                            tasks.spawn(self.counted(serve(socket.into())));
                        }
                    }
                    Err(error) => self.rest_after(&error).await,
                },
            }
        }
        drop(listener);
        let all = async { while tasks.join_next().await.is_some() {} };
        let in_time = tokio::select! {
            () = all => true,
            () = cut => false,
        };
        if !in_time {
            // They end with the set.
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

    /// An error of one connection is no reason to stop accepting; one of the whole process passes by itself, but not at once.
    async fn rest_after(&self, error: &io::Error) {
        if is_exhaustion(error) {
            self.connections.pauses.add(1);
            tokio::time::sleep(RESTING).await;
        }
    }
}

/// There is no descriptor or memory left, here or in the whole system.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

/// Counts a connection for as long as it is open, however it ends.
struct Open(Arc<Connections>);

impl Open {
    fn new(connections: &Arc<Connections>) -> Self {
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
