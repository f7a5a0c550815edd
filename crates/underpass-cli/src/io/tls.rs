//! TLS for addresses: whom this program believes, who it is, and the handshake.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use underpass::{Cancel, Layer, Tls};
use underpass_tls::{
    ClientConfig, FailureReason, Fingerprint, Handshake, HandshakeError, Identity, IdentityError,
    Progress, ServerConfig,
};

use super::wait::wait;
use crate::args::{KtlsArgs, TlsClientArgs, TlsServerArgs};
use crate::exit::Failure;
use crate::values::{Address, TlsAddress};

/// The longest handshake that a server allows, and a client without `--timeout`.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// A client of one address: whom it believes, and who it is.
#[derive(Clone, Debug)]
pub(crate) struct TlsClient {
    pub(crate) config: ClientConfig,
    /// The name that the server's certificate must be for.
    pub(crate) host: String,
}

impl TlsClient {
    pub(crate) fn new(
        address: &TlsAddress,
        args: &TlsClientArgs,
        ktls: KtlsArgs,
    ) -> Result<Self, Failure> {
        let config = match (address.fingerprint, &args.tls_ca) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "--tls-ca and the fingerprint in the address both say whom to believe: give one of them",
                ));
            }
            (Some(fingerprint), None) => ClientConfig::pinned(fingerprint),
            (None, Some(path)) => ClientConfig::ca_file(path),
            (None, None) => ClientConfig::system_roots().map_err(|error| without_roots(&error)),
        };
        let mut config = config.map_err(|error| option_failed("--tls-ca", &error))?;
        if let Some((cert, key)) = args
            .tls_client_cert
            .as_ref()
            .zip(args.tls_client_key.as_ref())
        {
            let options = ["--tls-client-cert", "--tls-client-key"];
            let identity = identity(cert, key, options)?;
            config = config.identity(&identity);
        }
        Ok(Self {
            config: config.ktls(!ktls.no_ktls),
            host: address.host(),
        })
    }

    /// Shakes hands on a connection that is marked `O_NONBLOCK`.
    pub(crate) fn shake_hands(
        &self,
        socket: BorrowedFd<'_>,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> io::Result<Arc<dyn Layer>> {
        let handshake = Handshake::client(&self.config, &self.host, socket)?;
        shake_hands(handshake, socket, timeout, cancel)
    }
}

/// A server at one address or more.
#[derive(Clone, Debug)]
pub(crate) struct TlsServer {
    pub(crate) config: ServerConfig,
    /// The fingerprint of a key that was made for this run; of a certificate that was given, none.
    pub(crate) made: Option<Fingerprint>,
    /// Print why handshakes failed.
    pub(crate) verbose: bool,
}

impl TlsServer {
    /// With the certificate that was given, or one that is made for the hosts of `addresses`.
    pub(crate) fn new<'a>(
        addresses: impl Iterator<Item = &'a TlsAddress>,
        args: &TlsServerArgs,
        ktls: KtlsArgs,
    ) -> Result<Self, Failure> {
        let mut hosts = Vec::new();
        for address in addresses {
            if address.fingerprint.is_some() {
                return Err(Failure::usage(format_args!(
                    "{}: a fingerprint says whom to connect to; who listens has a key of its own",
                    Address::Tls(address.clone())
                )));
            }
            hosts.push(address.host());
        }
        let given = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
        let identity = match given {
            Some((cert, key)) => identity(cert, key, ["--tls-cert", "--tls-key"])?,
            None => Identity::self_signed(hosts).map_err(Failure::failed)?,
        };
        let made = given.is_none().then(|| identity.fingerprint());
        let failed = |error| option_failed("TLS", &error);
        // Each connection is one transfer: nothing would ever be resumed.
        let config = ServerConfig::new([identity])
            .and_then(|config| config.resumption(false))
            .map_err(failed)?;
        let config = match &args.tls_client_ca {
            Some(path) => config
                .client_ca_file(path)
                .map_err(|error| option_failed("--tls-client-ca", &error))?,
            None => config,
        };
        Ok(Self {
            config: config.ktls(!ktls.no_ktls),
            made,
            verbose: false,
        })
    }

    /// For the addresses that have TLS; `None` if there are none, when no option may ask for it.
    pub(crate) fn of_addresses(
        addresses: &[Address],
        args: &TlsServerArgs,
        ktls: KtlsArgs,
    ) -> Result<Option<Self>, Failure> {
        refuse_without_tls(addresses.iter(), args.given())?;
        let mut tls = addresses.iter().filter_map(Address::tls).peekable();
        match tls.peek() {
            Some(_) => Self::new(tls, args, ktls).map(Some),
            None => Ok(None),
        }
    }

    /// Prints why handshakes fail, if `verbose`.
    pub(crate) fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// How the address `place` is shown: with the fingerprint of a key that was made.
    pub(crate) fn shown(&self, place: &str) -> String {
        match self.made {
            Some(fingerprint) => format!("tls://{place}#{fingerprint}"),
            None => format!("tls://{place}"),
        }
    }

    /// Shakes hands on a connection that is marked `O_NONBLOCK`.
    pub(crate) fn shake_hands(
        &self,
        socket: BorrowedFd<'_>,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> io::Result<Arc<dyn Layer>> {
        let handshake = Handshake::server(&self.config, socket)?;
        shake_hands(handshake, socket, timeout, cancel)
    }
}

/// The TLS that a connection of this machine would have, by a handshake with itself.
pub(crate) fn expected(ktls: KtlsArgs) -> io::Result<Tls> {
    let identity = Identity::self_signed(["localhost"])?;
    let client = ClientConfig::pinned(identity.fingerprint())?.ktls(!ktls.no_ktls);
    let server = ServerConfig::new([identity])?.ktls(!ktls.no_ktls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for socket in [&near, &far] {
        socket.set_nonblocking(true)?;
    }
    let mut connecting = Handshake::client(&client, "localhost", near.as_fd())?;
    let mut accepting = Handshake::server(&server, far.as_fd())?;
    loop {
        // Each goes on as far as the other has come; one wait is enough for both.
        let done = connecting.step(near.as_fd())?;
        if let Progress::Done(session) = done {
            return Ok(session.describe());
        }
        accepting.step(far.as_fd())?;
    }
}

/// Refuses an option of TLS where no address has TLS: who gives it believes to be safe.
pub(crate) fn refuse_without_tls<'a>(
    mut addresses: impl Iterator<Item = &'a Address>,
    given: Option<&'static str>,
) -> Result<(), Failure> {
    match given {
        Some(option) if !addresses.any(|address| address.tls().is_some()) => Err(Failure::usage(
            format_args!("{option} is for TLS, and no address begins with tls://"),
        )),
        _ => Ok(()),
    }
}

/// What to do about a handshake that failed, as a clause.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    let failed = HandshakeError::of(error);
    match failed.map(HandshakeError::reason) {
        Some(_) if failed.is_some_and(HandshakeError::is_unknown_issuer) => {
            "; --tls-ca FILE names an authority to believe, #sha256-... behind the address the key itself"
        }
        Some(FailureReason::NotTls | FailureReason::PlainHttp) => {
            "; is that the right port? tcp:// is for peers without TLS"
        }
        _ => "",
    }
}

/// Reads a certificate and its key, which `options` name. The error begins with the option whose
/// file is wrong.
pub(crate) fn read_identity(
    cert: &Path,
    key: &Path,
    options: [&str; 2],
) -> Result<Identity, String> {
    Identity::from_pem_files(cert, key).map_err(|error| {
        let is_about_key = IdentityError::of(&error).is_some_and(IdentityError::is_about_key);
        format!("{}: {error}", options[usize::from(is_about_key)])
    })
}

fn identity(cert: &Path, key: &Path, options: [&str; 2]) -> Result<Identity, Failure> {
    read_identity(cert, key, options).map_err(Failure::failed)
}

/// The system has no authorities.
fn without_roots(error: &io::Error) -> io::Error {
    let told = format!("{error}; install them, or name a file of authorities");
    io::Error::new(error.kind(), told)
}

fn option_failed(option: &str, error: &dyn Display) -> Failure {
    Failure::failed(format_args!("{option}: {error}"))
}

fn shake_hands(
    mut handshake: Handshake,
    socket: BorrowedFd<'_>,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<Arc<dyn Layer>> {
    let limit = timeout.unwrap_or(HANDSHAKE);
    let begun = Instant::now();
    loop {
        let events = match handshake.step(socket.as_fd())? {
            Progress::Done(session) => return Ok(Arc::new(session)),
            Progress::WantRead => PollFlags::IN,
            Progress::WantWrite => PollFlags::OUT,
        };
        let left = limit.saturating_sub(begun.elapsed());
        wait(&[socket], events, Some(left), cancel).map_err(|error| {
            let told = format!("the TLS handshake took longer than {limit:?}");
            match error.kind() {
                io::ErrorKind::TimedOut => io::Error::new(io::ErrorKind::TimedOut, told),
                _ => error,
            }
        })?;
    }
}
