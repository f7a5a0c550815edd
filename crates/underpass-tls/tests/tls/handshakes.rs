//! Handshakes: what is agreed on, who is believed, and how they fail.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use underpass_tls::{
    ClientConfig, FailureReason, Handshake, Identity, Mode, ServerConfig, UserReason,
};

use crate::support::{
    Ours, Peer, certificate_pem, client_config, complete, one_of_each_version, pair,
    peer_client_config, server_config,
};

/// How a server's handshake fails with a client that does this.
fn server_fails(
    config: &ServerConfig,
    client: impl FnOnce(TcpStream) + Send + 'static,
) -> io::Error {
    let (near, far) = pair();
    let client = thread::spawn(move || client(far));
    let error = Ours::accept(near, config).map(drop).unwrap_err();
    client.join().unwrap();
    error
}

#[test]
fn what_is_not_tls_is_named() {
    let cases: [(&[u8], FailureReason); 6] = [
        (b"GET / HTTP/1.1\r\n\r\n", FailureReason::PlainHttp),
        (b"POST /", FailureReason::PlainHttp),
        (b"SSH-2.0-OpenSSH_9.2\r\n", FailureReason::NotTls),
        (b"\x00\x01\x02\x03\x04\x05", FailureReason::NotTls),
        (b"\x80\x2e\x01\x00\x02\x00\x15", FailureReason::NotTls),
        (b"", FailureReason::Closed),
    ];
    for (sent, reason) in cases {
        let error = server_fails(&server_config(), move |mut socket| {
            socket.write_all(sent).unwrap();
            // The server may be gone already.
            let _ = socket.shutdown(Shutdown::Write);
        });
        assert_eq!(FailureReason::of(&error), reason, "{error} after {sent:?}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[test]
fn half_a_record_and_then_the_end_is_an_error() {
    let mut hello = Vec::new();
    let (_near, far) = pair();
    let mut peer = Peer::without_handshake(far, None);
    peer.connection.write_tls(&mut hello).unwrap();
    for len in [1, 4, 5, 6, hello.len() - 1, hello.len()] {
        let part = hello[..len].to_vec();
        let error = server_fails(&server_config(), move |mut socket| {
            socket.write_all(&part).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(FailureReason::of(&error), FailureReason::Closed, "{error}");
    }
}

/// A ClientHello in pieces of one byte is as good as another.
#[test]
fn records_may_come_in_pieces() {
    let (near, far) = pair();
    far.set_nodelay(true).unwrap();
    let peer = thread::spawn(move || {
        let mut peer = Peer::without_handshake(far, None);
        for byte in peer.records() {
            peer.socket.write_all(&[byte]).unwrap();
        }
        while peer.connection.is_handshaking() {
            peer.connection.complete_io(&mut peer.socket).unwrap();
        }
        peer.send(b"hello");
        peer
    });
    let ours = Ours::accept(near, &server_config()).unwrap();
    ours.expect(b"hello");
    drop(peer.join().unwrap());
}

#[test]
fn garbage_in_a_handshake_gets_an_alert() {
    let error = server_fails(&server_config(), |mut socket| {
        socket
            .write_all(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff")
            .unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        // An alert, in plain text, as no key exists yet.
        assert_eq!(answer[..5], [21, 3, 3, 0, 2]);
        assert_eq!(answer[5], 2);
    });
    assert_eq!(
        FailureReason::of(&error),
        FailureReason::Protocol,
        "{error}"
    );
}

/// Pitfall 37: a connection that the client has already closed is not prepared for the kernel, and
/// fails as it would without.
#[test]
fn pitfall_37_a_client_that_is_gone_already_is_closed() {
    let (near, far) = pair();
    far.shutdown(Shutdown::Write).unwrap();
    let mut byte = [0];
    assert_eq!((&near).read(&mut byte).unwrap(), 0, "the end has arrived");
    let mode = Handshake::server(&server_config(), near.as_fd())
        .unwrap()
        .mode();
    if crate::support::is_kernel_required() {
        let expected = UserReason::RefusedSocket(libc::ENOTCONN);
        assert_eq!(mode, Mode::User(expected));
    }
    let error = Ours::accept(near, &server_config()).map(drop).unwrap_err();
    assert_eq!(FailureReason::of(&error), FailureReason::Closed, "{error}");
}

#[test]
fn the_kernel_is_not_asked_where_it_is_not_wanted() {
    let (near, far) = pair();
    let peer = thread::spawn(move || Peer::client(far, None));
    let ours = Ours::accept(near, &server_config().ktls(false)).unwrap();
    let reason = Mode::User(UserReason::Configured);
    assert_eq!(ours.session.info().mode, reason);
    drop(peer.join().unwrap());
}

#[test]
fn a_unix_socket_stays_in_user_space() {
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let client = thread::spawn(move || {
        let mut handshake = Handshake::client(&client_config(), "localhost", far.as_fd()).unwrap();
        while !matches!(
            handshake.step(far.as_fd()).unwrap(),
            underpass_tls::Progress::Done(_)
        ) {}
        far
    });
    let mut handshake = Handshake::server(&server_config(), near.as_fd()).unwrap();
    let underpass_tls::Progress::Done(session) = handshake.step(near.as_fd()).unwrap() else {
        panic!("the socket does not block");
    };
    assert!(matches!(session.info().mode, Mode::User(_)));
    drop(client.join().unwrap());
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let named = |name: &str| Identity::self_signed([name]).unwrap();
    let identities = ["first.test", "second.test", "*.wild.test"].map(named);
    let config = ServerConfig::new(identities.clone()).unwrap();
    let cases = [
        ("first.test", 0),
        ("second.test", 1),
        ("SECOND.test", 1),
        ("any.wild.test", 2),
        ("one.too.wild.test", 0),
        ("other.test", 0),
        ("192.0.2.1", 0),
    ];
    for (name, expected) in cases {
        let (near, far) = pair();
        let client = peer_client_config(None);
        let peer = thread::spawn(move || Peer::with(far, client, name).unwrap());
        let ours = Ours::accept(near, &config).unwrap();
        let peer = peer.join().unwrap();
        let shown = peer.connection.peer_certificates().unwrap();
        let expected = &identities[expected];
        let fingerprint = underpass_tls::Fingerprint::of(&shown[0]).unwrap();
        assert_eq!(fingerprint, expected.fingerprint(), "{name}");
        let asked = ours.session.info().server_name.clone();
        let is_name = name.ends_with("test");
        assert_eq!(asked, is_name.then(|| name.to_lowercase()));
    }
}

/// Pitfall 46: a pair that does not match is refused, and what is served stays.
#[test]
fn pitfall_46_a_key_of_another_certificate_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (Pem::new(), Pem::new());
    let path = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        fs::write(&path, pem).unwrap();
        path
    };
    let chain = path("chain.pem", &one.certificate);
    let (right, wrong) = (path("right.pem", &one.key), path("wrong.pem", &other.key));
    let error = Identity::from_pem_files(&chain, &wrong).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("wrong.pem") && told.contains("chain.pem"),
        "{told}"
    );
    let config = ServerConfig::new([Identity::from_pem_files(&chain, &right).unwrap()]).unwrap();
    assert!(config.replace_identities([]).is_err());
    assert_eq!(config.identities().len(), 1);
    let next = Identity::self_signed(["localhost"]).unwrap();
    config.replace_identities([next.clone()]).unwrap();
    let (near, far) = pair();
    let peer = thread::spawn(move || Peer::client(far, None));
    drop(Ours::accept(near, &config).unwrap());
    let peer = peer.join().unwrap();
    let shown = &peer.connection.peer_certificates().unwrap()[0];
    assert_eq!(
        underpass_tls::Fingerprint::of(shown).unwrap(),
        next.fingerprint()
    );
}

#[test]
fn files_that_are_no_identity_are_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let pem = Pem::new();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        ("", pem.key.as_str(), "is empty"),
        (&pem.certificate, "", "is empty"),
        (&pem.certificate, "text", "neither a certificate nor a key"),
        (&pem.certificate, encrypted, "is encrypted"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &pem.key,
            "certificate",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
            &pem.key,
            "is not PEM",
        ),
        (
            "\u{0}\u{1}binary",
            "\u{0}",
            "neither a certificate nor a key",
        ),
    ];
    for (chain, key, expected) in cases {
        let (chain_path, key_path) = (dir.path().join("chain"), dir.path().join("key"));
        fs::write(&chain_path, chain).unwrap();
        fs::write(&key_path, key).unwrap();
        let told = Identity::from_pem_files(&chain_path, &key_path)
            .unwrap_err()
            .to_string();
        assert!(
            told.contains(expected) && told.lines().count() == 1,
            "{told}"
        );
        assert!(told.starts_with(dir.path().to_str().unwrap()), "{told}");
    }
    let missing = dir.path().join("missing");
    let told = Identity::from_pem_files(&missing, &missing)
        .unwrap_err()
        .to_string();
    assert!(told.contains("missing"), "{told}");
}

#[test]
fn a_client_believes_only_whom_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let connect = |config: ClientConfig, name: &'static str| {
        let (near, far) = pair();
        let server = thread::spawn(move || Ours::accept(far, &server_config()).map(drop));
        let handshake = Handshake::client(&config, name, near.as_fd()).unwrap();
        let connected = complete(handshake, &near).map(drop);
        (connected, server.join().unwrap())
    };
    // The certificate that signed itself is its own authority.
    fs::write(&path, certificate_pem()).unwrap();
    connect(ClientConfig::ca_file(&path).unwrap(), "localhost")
        .0
        .unwrap();
    connect(client_config(), "whatever.test").0.unwrap();
    fs::write(&path, Pem::new().certificate).unwrap();
    let other = Identity::self_signed(["localhost"]).unwrap();
    let refusing = [
        (ClientConfig::ca_file(&path).unwrap(), "localhost"),
        (
            ClientConfig::pinned(other.fingerprint()).unwrap(),
            "localhost",
        ),
    ];
    for (config, name) in refusing {
        let (connected, served) = connect(config, name);
        let error = connected.unwrap_err();
        assert_eq!(
            FailureReason::of(&error),
            FailureReason::CertificateRejected,
            "{error}"
        );
        let error = served.unwrap_err();
        assert_eq!(
            FailureReason::of(&error),
            FailureReason::PeerAlert,
            "{error}"
        );
    }
}

#[test]
fn a_server_can_ask_for_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let (known, unknown) = (Pem::new(), Pem::new());
    fs::write(&path, &known.certificate).unwrap();
    let config = server_config().client_ca_file(&path).unwrap();
    for suite in one_of_each_version() {
        let with = |pem: Option<&Pem>| {
            let client = peer_client_config(Some(suite));
            let client = match pem {
                Some(pem) => pem.show(client),
                None => client,
            };
            let (near, far) = pair();
            let peer = thread::spawn(move || {
                let mut peer = Peer::with(far, client, "localhost")?;
                // In TLS 1.3 the refusal comes after the client's handshake.
                peer.receive_all()
            });
            let ours = Ours::accept(near, &config);
            let certificates = ours.map(|ours| {
                ours.close().unwrap();
                ours.session.info().peer_certificates.len()
            });
            (certificates, peer.join().unwrap())
        };
        let (accepted, received) = with(Some(&known));
        assert_eq!(accepted.unwrap(), 1);
        received.unwrap();
        for (pem, reason) in [
            (None, FailureReason::CertificateMissing),
            (Some(&unknown), FailureReason::CertificateRejected),
        ] {
            let (accepted, received) = with(pem);
            let error = accepted.unwrap_err();
            assert_eq!(FailureReason::of(&error), reason, "{error}");
            received.unwrap_err();
        }
    }
}

#[test]
fn application_protocols_are_agreed_on() {
    let config = server_config().alpn(["h2", "http/1.1"]);
    let cases: [(&[&str], Option<&str>); 4] = [
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["spdy/1"], None),
        (&[], Some("")),
    ];
    for (offered, expected) in cases {
        let mut client = peer_client_config(None);
        client.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
        let (near, far) = pair();
        let peer = thread::spawn(move || Peer::with(far, client, "localhost").map(drop));
        let ours = Ours::accept(near, &config);
        if let Some(expected) = expected {
            let agreed = ours.unwrap().session.info().alpn.clone();
            assert_eq!(agreed.unwrap_or_default(), expected.as_bytes());
        } else {
            let error = ours.map(drop).unwrap_err();
            let reason = FailureReason::of(&error);
            assert_eq!(reason, FailureReason::Incompatible, "{error}");
        }
        let _ = peer.join().unwrap();
    }
}

/// A certificate that signed itself, and its key, as text.
struct Pem {
    certificate: String,
    key: String,
}

impl Pem {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that shows this certificate.
    fn show(&self, config: rustls::ClientConfig) -> rustls::ClientConfig {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider).unwrap();
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut config = config;
        config.client_auth_cert_resolver = std::sync::Arc::new(resolver);
        config
    }
}
