//! Accepts connections up to a limit until it is told to stop, and then waits for them to end.
//!
//! The [`AcceptLoop`] is the mechanism, for any protocol. An [`AcceptPolicy`] counts what happens,
//! and says how room is made when there is none.

use std::future::{Future, Ready, pending, ready};
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinError, JoinSet};

use crate::net::pacing::avoid_local_pacing;

/// How long to wait before another attempt when no descriptor or memory is left for a connection
/// ([`is_exhaustion`]).
pub const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);

/// How long a full server waits for other servers on the same listener to accept a client, before
/// it closes an idle connection for it.
const WHEN_FULL_WAIT: Duration = Duration::from_millis(10);

/// How soon a server without room looks again for a client that has sent nothing yet.
const NEXT_LOOK: Duration = Duration::from_millis(500);

/// Accepts connections. Implemented for [`TcpListener`] and [`UnixListener`]; a TLS listener can
/// implement it, too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no listener that connections can be accepted from",
    label = "accepts no connections here",
    note = "implement `underpass::accept::Listener` for a type of your own (`underpass_http` has the \
            same trait); tokio's `TcpListener` and `UnixListener` have it, the standard library's do not: \
            make one with `from_std`",
    note = "axum's adapters are not listeners here: in place of `axum::serve::ListenerExt`, import \
            `underpass_http::ListenerExt`"
)]
pub trait Listener: Send + 'static {
    /// The connection that is accepted.
    type Socket: Send + 'static;
    /// What comes before the protocol, such as a TLS handshake. It runs in the connection's task.
    type Opening: Future<Output = io::Result<Self::Socket>> + Send + 'static;

    /// The next connection.
    ///
    /// Must be cancel safe: if the future is dropped, no accepted connection may be lost.
    ///
    /// # Errors
    /// Those of one connection, or of the process (`EMFILE`). The server continues after either.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Opening>> + Send;
}

impl Listener for TcpListener {
    type Socket = TcpStream;
    type Opening = Ready<io::Result<TcpStream>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = TcpListener::accept(self).await?;
        // Messages are written whole, so Nagle's algorithm would only delay them.
        let ready_to_use = socket.set_nodelay(true).map(|()| {
            // A connection that stays paced is slower, and no less right.
            let _ = avoid_local_pacing(&socket);
            socket
        });
        Ok(ready(ready_to_use))
    }
}

impl Listener for UnixListener {
    type Socket = UnixStream;
    type Opening = Ready<io::Result<UnixStream>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = UnixListener::accept(self).await?;
        Ok(ready(Ok(socket)))
    }
}

/// What an [`AcceptLoop`] tells its server, and what it asks.
///
/// The methods about idle connections are for servers that can close a connection to make room for
/// another. By default none is ever idle, and a full server accepts again when a connection has
/// ended.
pub trait AcceptPolicy: Send + Sync {
    /// No descriptor or memory is left for another connection. Returns whether some were freed. If
    /// not, accepting pauses for [`EXHAUSTION_PAUSE`].
    fn exhausted(&self) -> bool {
        false
    }

    /// A connection ended in a panic. The others go on.
    fn panicked(&self) {}

    /// Accepting has ended, and the listener is closed. The open connections are waited for.
    fn stopping(&self) {}

    /// The wait was cut short: this many connections are dropped.
    fn cut(&self, connections: usize) {
        let _ = connections;
    }

    /// Whether a connection is idle. If not, [`became_idle`](Self::became_idle) is awaited.
    fn has_idle(&self) -> bool {
        false
    }

    /// Ready when a connection is idle, after [`has_idle`](Self::has_idle) was false.
    fn became_idle(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Closes idle connections to make room for a client.
    fn close_idle(&self) {}
}

/// Accepts the connections of a listener. [`run`](Self::run) runs it.
///
/// ```
/// use tokio::io::AsyncWriteExt;
/// use tokio::net::{TcpListener, TcpStream};
/// use underpass::accept::{AcceptLoop, AcceptPolicy};
///
/// struct Plain;
/// impl AcceptPolicy for Plain {}
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let client = TcpStream::connect(listener.local_addr()?).await?;
/// let stop = async {
///     client.readable().await.unwrap();
/// };
/// AcceptLoop::new(listener, Plain)
///     .limit(10)
///     .run(stop, std::future::pending(), |opening| async {
///         if let Ok(mut socket) = opening.await {
///             let _ = socket.write_all(b"hello").await;
///         }
///     })
///     .await;
/// let mut hello = [0; 5];
/// assert_eq!(client.try_read(&mut hello)?, 5);
/// # std::io::Result::Ok(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is accepted until it runs"]
pub struct AcceptLoop<L, P> {
    listener: L,
    policy: P,
    limit: usize,
}

impl<L: Listener, P: AcceptPolicy> AcceptLoop<L, P> {
    /// Accepts from `listener`, without a limit.
    pub fn new(listener: L, policy: P) -> Self {
        Self {
            listener,
            policy,
            limit: usize::MAX,
        }
    }

    /// Sets the most connections that are open at once.
    pub fn limit(mut self, connections: usize) -> Self {
        self.limit = connections;
        self
    }

    /// Spawns what `serve` makes of each connection until `stop` is ready, then waits until all
    /// connections have ended. Polls `cut` meanwhile: when it is ready, the connections that are
    /// left are dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime with its drivers for time and I/O enabled.
    ///
    /// # Cancel safety
    /// Dropping the future drops all connections.
    pub async fn run<F>(
        mut self,
        stop: impl Future<Output = ()> + Send,
        cut: impl Future<Output = ()> + Send,
        serve: impl Fn(L::Opening) -> F + Send,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        self.accept_until(stop, serve, &mut tasks).await;
        let Self {
            listener, policy, ..
        } = self;
        drop(listener);
        policy.stopping();
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                note(&policy, &ended);
            }
        };
        let in_time = tokio::select! {
            () = all => true,
            () = cut => false,
        };
        if !in_time {
            policy.cut(tasks.len());
            // Dropping the set ends them.
        }
    }

    async fn accept_until<F>(
        &mut self,
        stop: impl Future<Output = ()> + Send,
        serve: impl Fn(L::Opening) -> F + Send,
        tasks: &mut JoinSet<()>,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stop = std::pin::pin!(stop);
        let policy = &self.policy;
        // A connection that was accepted although the server is full, because an idle one can be
        // closed for it.
        let mut next = None;
        let mut idle_left = true;
        loop {
            let full = tasks.len() >= self.limit;
            if full {
                idle_left = idle_left && policy.has_idle();
                if next.is_some() && idle_left {
                    policy.close_idle();
                }
            } else if let Some(opening) = next.take() {
                tasks.spawn(serve(opening));
                continue;
            }
            tokio::select! {
                // The signal is waited for from the first turn on, before anybody is served.
                biased;
                () = &mut stop => return,
                Some(ended) = tasks.join_next() => note(policy, &ended),
                () = policy.became_idle(), if full && !idle_left => idle_left = true,
                // No event says that a client stays silent, so this looks again after a while.
                () = tokio::time::sleep(NEXT_LOOK), if full && !idle_left => idle_left = true,
                accepted = accept(&mut self.listener, full), if next.is_none() && (!full || idle_left) => {
                    match accepted {
                        Ok(opening) => next = Some(opening),
                        Err(error) => pause_after(&error, policy).await,
                    }
                }
            }
        }
    }
}

fn note(policy: &impl AcceptPolicy, ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        policy.panicked();
    }
}

/// Accepts a connection. A full server gives other servers on the same listener time to accept it
/// first.
async fn accept<L: Listener>(listener: &mut L, full: bool) -> io::Result<L::Opening> {
    if full {
        tokio::time::sleep(WHEN_FULL_WAIT).await;
    }
    listener.accept().await
}

/// Pauses if descriptors or memory have run out, which passes by itself, but not at once. Errors of
/// a single connection cause no pause.
async fn pause_after(error: &io::Error, policy: &impl AcceptPolicy) {
    if is_exhaustion(error) && !policy.exhausted() {
        tokio::time::sleep(EXHAUSTION_PAUSE).await;
    }
}

/// Whether this process or the system is out of descriptors or memory.
///
/// ```
/// let error = std::io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
/// assert!(underpass::accept::is_exhaustion(&error));
/// ```
pub fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

#[cfg(test)]
mod tests;
