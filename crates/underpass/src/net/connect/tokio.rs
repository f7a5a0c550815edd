//! The same race, driven by tokio's reactor and timer.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep, sleep_until};

use super::race::{Next, Race, try_unix};
use super::{FIRST_PAUSE, LAST_PAUSE, Peer};
use crate::net::socket::StreamSocket;

/// As [`connect`](super::connect()), on a tokio runtime. Give it a time limit by
/// `tokio::time::timeout`.
///
/// # Errors
/// As for [`connect`](super::connect()), without those of its limits.
///
/// # Panics
/// Outside a tokio runtime with its I/O driver and its timer enabled.
///
/// # Cancel safety
/// Cancel safe: the attempts end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use tokio::net::TcpListener;
/// use underpass::connect::{Peer, connect_async};
///
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let socket = connect_async(&Peer::Tcp(vec![listener.local_addr()?])).await?;
/// # drop(socket);
/// # Ok(())
/// # }
/// ```
pub async fn connect_async(to: &Peer) -> io::Result<StreamSocket> {
    match to {
        Peer::Tcp(addresses) => Ok(race(addresses).await?.into()),
        Peer::Unix(path) => {
            let mut pause = FIRST_PAUSE;
            loop {
                if let Some(socket) = try_unix(path, None)? {
                    return Ok(UnixStream::from_std(socket.into())?.into());
                }
                sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut race = Race::new(addresses);
    // The timer is needed only if there is another address to try.
    let mut alarm = pin!(None::<Sleep>);
    let mut set_to = None;
    poll_fn(|cx| {
        loop {
            let register = |socket: rustix::fd::OwnedFd| TcpStream::from_std(socket.into());
            let until = match race.advance(Instant::now(), register) {
                Next::Won(socket) => return Poll::Ready(Ok(socket)),
                Next::Lost(error) => return Poll::Ready(Err(error)),
                Next::Wait(until) => until,
            };
            let mut sockets = race.sockets().iter();
            if let Some(ready) = sockets.position(|socket| socket.poll_write_ready(cx).is_ready()) {
                match race.answered(ready) {
                    Some(socket) => return Poll::Ready(Ok(socket)),
                    None => continue,
                }
            }
            if until != set_to {
                set_to = until;
                alarm.set(until.map(|until| sleep_until(until.into())));
            }
            match alarm.as_mut().as_pin_mut().map(|alarm| alarm.poll(cx)) {
                Some(Poll::Ready(())) => {}
                _ => return Poll::Pending,
            }
        }
    })
    .await
}
