//! A relay that the test plays: it changes or cuts what passes from the sender to the receiver.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::peer::PATIENCE;

/// What happens to the bytes of the sender.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Harm {
    /// The byte at this place is another one.
    pub(crate) flip: Option<u64>,
    /// Nothing passes after so many.
    pub(crate) cut: Option<u64>,
}

/// One connection through a harmful relay.
pub(crate) struct Between {
    port: u16,
    reached: Receiver<()>,
    go_on: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Between {
    /// Passes one connection on to `port`.
    pub(crate) fn to(port: u16, harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let (tell, reached) = channel();
        let (go_on, await_end) = channel::<()>();
        let thread = thread::spawn(move || {
            let (mut from, _) = listener.accept().unwrap();
            let mut to = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut answers, mut back) = (to.try_clone().unwrap(), from.try_clone().unwrap());
            let answering = thread::spawn(move || {
                // Either side may be gone.
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            if pass(&mut from, &mut to, harm) {
                // Before the connections end, the test may kill somebody.
                let _ = tell.send(());
                let _ = await_end.recv_timeout(PATIENCE);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            } else {
                let _ = to.shutdown(Shutdown::Write);
            }
            answering.join().unwrap();
        });
        Self {
            port: own,
            reached,
            go_on: Some(go_on),
            thread: Some(thread),
        }
    }

    /// The same address, through the relay.
    pub(crate) fn address(&self, address: &str) -> String {
        let port = port_of(address).to_string();
        address.replacen(&port, &self.port.to_string(), 1)
    }

    /// Waits until the cut is reached; both sides are still connected then.
    pub(crate) fn await_cut(&self) {
        self.reached.recv_timeout(PATIENCE).unwrap();
    }

    /// Ends the connections that were cut, and waits until everything has passed.
    pub(crate) fn end(mut self) {
        drop(self.go_on.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The port of `tcp://127.0.0.1:PORT` or `tls://127.0.0.1:PORT#…`.
pub(crate) fn port_of(address: &str) -> u16 {
    let place = address.split('#').next().unwrap();
    place.rsplit(':').next().unwrap().parse().unwrap()
}

/// Passes bytes on. True if the cut was reached.
fn pass(from: &mut TcpStream, to: &mut TcpStream, harm: Harm) -> bool {
    from.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let (mut at, mut buffer) = (0, vec![0; 16 << 10]);
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer) else {
            return false;
        };
        let end = at + count as u64;
        if let Some(flip) = harm.flip.filter(|flip| (at..end).contains(flip)) {
            buffer[(flip - at) as usize] ^= 1;
        }
        let passed = harm.cut.map_or(end, |cut| cut.min(end));
        if to.write_all(&buffer[..(passed - at) as usize]).is_err() {
            return false;
        }
        if harm.cut.is_some_and(|cut| cut <= end) {
            return true;
        }
        at = end;
    }
}
