//! What the fuzz targets reach directly.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;

use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};
use underpass::TlsVersion;

use crate::record::{ContentType, KeyMaterial, Outgoing, TrafficKey};
use crate::session::fuzzing::receive_all;
use crate::{Handshake, Identity, Progress, ServerConfig};

/// A server that a client says `sent` to, and closes. It never completes its handshake.
///
/// # Panics
/// If it does.
pub fn handshake(sent: &[u8]) {
    static CONFIG: LazyLock<ServerConfig> = LazyLock::new(|| {
        let identity = Identity::self_signed(["localhost"]);
        let config = identity.and_then(|identity| ServerConfig::new([identity]));
        config.unwrap_or_else(|error| panic!("{error}"))
    });
    let Ok((mut client, server)) = UnixStream::pair() else {
        return;
    };
    if client.write_all(sent).is_err() {
        return;
    }
    drop(client);
    let Ok(mut handshake) = Handshake::server(&CONFIG, server.as_fd()) else {
        return;
    };
    match handshake.step(server.as_fd()) {
        Ok(Progress::Done(_)) => panic!("a handshake without a peer"),
        Ok(_) | Err(_) => {}
    }
}

/// An established connection whose peer has sealed `records` of these types and contents, and then
/// sent `rest` as it is. Gives the data that was received, and whether the end was a proper one.
pub fn records(is_new: bool, records: &[(u8, &[u8])], rest: &[u8]) -> (Vec<u8>, bool) {
    let version = if is_new {
        TlsVersion::Tls13
    } else {
        TlsVersion::Tls12
    };
    let secrets = ConnectionTrafficSecrets::Aes256Gcm {
        key: AeadKey::from([1; 32]),
        iv: Iv::from([2; 12]),
    };
    let material = KeyMaterial::of(&secrets);
    let key = material.and_then(|it| TrafficKey::new(version, 0, &it).ok());
    let Some(mut key) = key else {
        return Default::default();
    };
    let mut outgoing = Outgoing::take();
    for (content_type, content) in records {
        let _ = outgoing.seal_control(&mut key, ContentType(*content_type), content);
    }
    let mut stream = outgoing.unsent().to_vec();
    stream.extend_from_slice(rest);
    receive_all(version, &secrets, stream)
}
