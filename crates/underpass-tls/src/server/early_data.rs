//! Clients that send early data to a server that does not take any: an earlier one did.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::ServerConfig;
use crate::{Handshake, Identity, Progress, crypto};

/// The most early data that servers usually accept.
const ACCEPTED: u32 = 16 << 10;

/// A client that trusts `identity` and has tickets for early data.
fn client_with_tickets(identity: &Identity) -> Arc<ClientConfig> {
    let certified = &identity.certified;
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert[0].clone()).unwrap();
    let client = ClientConfig::builder_with_provider(crypto::provider());
    let client = client.with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.enable_early_data = true;
    let issuer = rustls::ServerConfig::builder_with_provider(crypto::provider());
    let issuer = issuer.with_safe_default_protocol_versions().unwrap();
    let certificates = SingleCertAndKey::from((**certified).clone());
    let issuer = issuer.with_no_client_auth();
    let mut issuer = issuer.with_cert_resolver(Arc::new(certificates));
    issuer.max_early_data_size = ACCEPTED;
    let client = Arc::new(client);
    visit(&client, Arc::new(issuer));
    client
}

fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap()
}

/// Connects once.
fn visit(config: &Arc<ClientConfig>, issuer: Arc<rustls::ServerConfig>) {
    let (mut client, mut server) = (connection(config), ServerConnection::new(issuer).unwrap());
    while client.wants_write() || server.wants_write() {
        let mut records = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut records).unwrap();
        }
        server.read_tls(&mut records.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut records = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut records).unwrap();
        }
        client.read_tls(&mut records.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
}

#[test]
fn early_data_is_skipped_however_it_is_cut() {
    let identity = Identity::self_signed(["localhost"]).unwrap();
    let config = ServerConfig::new([identity.clone()]).unwrap();
    for pieces in [1, 2, 5, 100] {
        let client = client_with_tickets(&identity);
        let (mut near, far) = UnixStream::pair().unwrap();
        let config = config.clone();
        let serving = thread::spawn(move || {
            let mut handshake = Handshake::server(&config, far.as_fd()).unwrap();
            let session = loop {
                if let Progress::Done(session) = handshake.step(far.as_fd()).unwrap() {
                    break session;
                }
            };
            let mut received = [0; 100];
            let count = session.receive(far.as_fd(), &mut received).unwrap();
            received[..count].to_vec()
        });
        let mut client = connection(&client);
        let mut early = client.early_data().expect("a ticket for early data");
        for _ in 0..pieces {
            let piece = vec![b'e'; ACCEPTED as usize / pieces];
            early.write_all(&piece).unwrap();
        }
        client.complete_io(&mut near).unwrap();
        assert!(!client.is_early_data_accepted());
        client.writer().write_all(b"not early").unwrap();
        client.complete_io(&mut near).unwrap();
        assert_eq!(serving.join().unwrap(), b"not early", "{pieces} pieces");
    }
}
