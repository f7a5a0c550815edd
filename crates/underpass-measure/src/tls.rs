//! TLS between sender and receiver, made by real handshakes, so that each way has the keys and the
//! records that it has elsewhere. The sender is the server. Handshakes are not measured.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use underpass::receipt::CryptoPlace;
use underpass_tls::{ClientConfig, Handshake, Identity, Mode, Progress, ServerConfig, Session};

use crate::error::{Context, Result};
use crate::network::{Link, Network};

/// The name that the certificate is for.
const NAME: &str = "localhost";

/// What both ends need for their handshakes, for one run, and what they agree on.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    server: ServerConfig,
    client: ClientConfig,
    /// Version and cipher, such as `TLS 1.3 AES-128-GCM`.
    pub(crate) agreed: String,
    /// Why the kernel does not encrypt here; `None` if it does.
    pub(crate) kernel_refusal: Option<String>,
}

impl Tls {
    /// Makes a key and a certificate, and shakes hands once over loopback.
    pub(crate) fn new() -> Result<Self> {
        let mut tls = Self::configured().context(|| "TLS cannot be set up".to_owned())?;
        let (near, far) = Network::new(Link::Loopback, false)?.connect()?;
        let (sender, _) = tls
            .handshake(&near, &far, CryptoPlace::Kernel)
            .context(|| "no TLS handshake over loopback".to_owned())?;
        let info = sender.info();
        tls.agreed = format!("{} {}", info.version, info.cipher.as_str());
        tls.kernel_refusal = match info.mode {
            Mode::User(reason) => Some(reason.to_string()),
            _ => None,
        };
        Ok(tls)
    }

    fn configured() -> io::Result<Self> {
        let identity = Identity::self_signed([NAME])?;
        let client = ClientConfig::pinned(identity.fingerprint())?;
        Ok(Self {
            // Without tickets, the sender sends nothing but the file.
            server: ServerConfig::new([identity])?.resumption(false)?,
            client: client.ktls(false),
            agreed: String::new(),
            kernel_refusal: None,
        })
    }

    /// Makes a session for each end of a connection whose sockets block: for the sender, who
    /// encrypts in `place` if that is possible, and for the receiver, who decrypts in this process.
    pub(crate) fn handshake(
        &self,
        sender: &TcpStream,
        receiver: &TcpStream,
        place: CryptoPlace,
    ) -> io::Result<(Session, Session)> {
        let server = self.server.clone().ktls(place == CryptoPlace::Kernel);
        std::thread::scope(|scope| {
            let far = scope.spawn(|| {
                let client = Handshake::client(&self.client, NAME, receiver.as_fd())?;
                finish(client, receiver)
            });
            let near = Handshake::server(&server, sender.as_fd());
            let near = near.and_then(|server| finish(server, sender));
            if near.is_err() {
                // Otherwise the receiver would wait for more.
                let _ = sender.shutdown(std::net::Shutdown::Both);
            }
            let far = far.join();
            let far = far.unwrap_or_else(|_| Err(io::Error::other("the handshake panicked")));
            Ok((near?, far?))
        })
    }
}

/// Shakes hands on a socket that blocks, so that each step waits by itself.
fn finish(mut handshake: Handshake, socket: &TcpStream) -> io::Result<Session> {
    loop {
        if let Progress::Done(session) = handshake.step(socket.as_fd())? {
            return Ok(session);
        }
    }
}
