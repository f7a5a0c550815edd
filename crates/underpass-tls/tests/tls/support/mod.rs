//! Two ends of a connection: ours, and rustls's.

mod peer;
mod sys;
mod tap;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::LazyLock;
use std::thread;

use rustls::SupportedCipherSuite;
use underpass_tls::{
    ClientConfig, Handshake, Identity, Mode, Progress, ServerConfig, Session, TlsVersion,
};

pub(crate) use peer::{
    Peer, client_config as peer_client_config, server_config as peer_server_config,
};
#[cfg(target_arch = "x86_64")]
pub(crate) use sys::refuse_option;
pub(crate) use tap::Tap;
pub(crate) use underpass_testing::bytes;

/// The key and the certificate of all tests.
static KEY: LazyLock<rcgen::KeyPair> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap());
static CERTIFICATE: LazyLock<rcgen::Certificate> = LazyLock::new(|| {
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.self_signed(&*KEY).unwrap()
});

/// Both, as ours.
pub(crate) static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let (chain, key) = (CERTIFICATE.pem(), KEY.serialize_pem());
    Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
});

pub(crate) fn certificate_pem() -> String {
    CERTIFICATE.pem()
}

/// Whether the kernel must seal the records.
pub(crate) fn is_kernel_required() -> bool {
    std::env::var("UNDERPASS_TESTS_KERNEL_TLS").is_ok_and(|value| value == "1")
}

/// Whether the kernel seals the records of `session`; checks that it does where it must.
pub(crate) fn is_in_kernel(session: &Session) -> bool {
    let in_kernel = session.info().mode == Mode::Kernel;
    assert!(in_kernel || !is_kernel_required(), "{}", session.info());
    in_kernel
}

/// Two ends of a TCP connection; both block.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Our end of a connection.
pub(crate) struct Ours {
    pub(crate) socket: TcpStream,
    pub(crate) session: Session,
}

/// Steps until the handshake is complete, on a socket that blocks.
pub(crate) fn complete(mut handshake: Handshake, socket: &TcpStream) -> io::Result<Session> {
    match handshake.step(socket.as_fd())? {
        Progress::Done(session) => Ok(session),
        Progress::WantRead | Progress::WantWrite => panic!("the socket does not block"),
    }
}

impl Ours {
    pub(crate) fn accept(socket: TcpStream, config: &ServerConfig) -> io::Result<Self> {
        let handshake = Handshake::server(config, socket.as_fd())?;
        let session = complete(handshake, &socket)?;
        Ok(Self { socket, session })
    }

    pub(crate) fn connect(socket: TcpStream, config: &ClientConfig) -> io::Result<Self> {
        let handshake = Handshake::client(config, "localhost", socket.as_fd())?;
        let session = complete(handshake, &socket)?;
        Ok(Self { socket, session })
    }

    pub(crate) fn send(&self, slices: &[&[u8]]) -> io::Result<usize> {
        let slices: Vec<_> = slices.iter().map(|it| io::IoSlice::new(it)).collect();
        self.session.send(self.socket.as_fd(), &slices, false)
    }

    pub(crate) fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.send(&[bytes])?;
            bytes = &bytes[count..];
        }
        self.session.flush(self.socket.as_fd())
    }

    pub(crate) fn receive(&self, out: &mut [u8]) -> io::Result<usize> {
        self.session.receive(self.socket.as_fd(), out)
    }

    /// Receives to the end of the stream, `size` bytes at a time.
    pub(crate) fn receive_all(&self, size: usize) -> (Vec<u8>, io::Result<()>) {
        let (mut all, mut part) = (Vec::new(), vec![0; size]);
        loop {
            match self.receive(&mut part) {
                Ok(0) => return (all, Ok(())),
                Ok(count) => all.extend_from_slice(&part[..count]),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    /// Receives until `wanted` is there.
    pub(crate) fn expect(&self, wanted: &[u8]) {
        let mut got = vec![0; wanted.len()];
        let mut filled = 0;
        while filled < got.len() {
            let count = self.receive(&mut got[filled..]).unwrap();
            assert!(count > 0, "the stream ended after {filled} bytes");
            filled += count;
        }
        assert!(got == wanted, "{} bytes are not as sent", wanted.len());
    }

    pub(crate) fn close(&self) -> io::Result<()> {
        self.session.close(self.socket.as_fd())?;
        self.socket.shutdown(std::net::Shutdown::Write)
    }
}

pub(crate) fn server_config() -> ServerConfig {
    ServerConfig::new([IDENTITY.clone()]).unwrap()
}

pub(crate) fn client_config() -> ClientConfig {
    ClientConfig::pinned(IDENTITY.fingerprint()).unwrap()
}

/// A server of ours and a client of rustls, which may use only `suite`, if there is one.
pub(crate) fn serve(suite: Option<SupportedCipherSuite>) -> (Ours, Peer) {
    let (near, far) = pair();
    let peer = thread::spawn(move || Peer::client(far, suite));
    let ours = Ours::accept(near, &server_config()).unwrap();
    (ours, peer.join().unwrap())
}

/// A client of ours and a server of rustls.
pub(crate) fn call(suite: Option<SupportedCipherSuite>) -> (Ours, Peer) {
    let (near, far) = pair();
    let peer = thread::spawn(move || Peer::server(far, suite));
    let ours = Ours::connect(near, &client_config()).unwrap();
    (ours, peer.join().unwrap())
}

/// All suites that both ends have.
pub(crate) fn suites() -> Vec<SupportedCipherSuite> {
    let suites = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
    let is_ours = |suite: &SupportedCipherSuite| {
        suite.tls13().is_some() || format!("{:?}", suite.suite()).contains("ECDSA")
    };
    suites.into_iter().filter(is_ours).collect()
}

pub(crate) fn suite(name: &str) -> SupportedCipherSuite {
    let named = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite()) == name;
    suites().into_iter().find(named).unwrap()
}

pub(crate) fn version_of(suite: SupportedCipherSuite) -> TlsVersion {
    match suite.tls13() {
        Some(_) => TlsVersion::Tls13,
        None => TlsVersion::Tls12,
    }
}

/// A TLS 1.2 suite and a TLS 1.3 suite.
pub(crate) fn one_of_each_version() -> [SupportedCipherSuite; 2] {
    [
        suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        suite("TLS13_AES_128_GCM_SHA256"),
    ]
}
