//! A receiver for the fuzz targets.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};
use underpass::TlsVersion;

use super::control::{ControlReader, Event};
use super::receiving::{Receiver, Receiving};
use super::user_receiver::UserReceiver;

/// Receives `stream` to its end: the data, and whether it ended by `close_notify`.
pub(crate) fn receive_all(
    version: TlsVersion,
    secrets: &ConnectionTrafficSecrets,
    stream: Vec<u8>,
) -> (Vec<u8>, bool) {
    let (Ok((_, socket)), Ok(receiver)) = (
        UnixStream::pair(),
        UserReceiver::new(version, 0, secrets, stream),
    ) else {
        return Default::default();
    };
    let control = ControlReader::new(version, true);
    let mut receiving = Receiving::new(Receiver::User(Box::new(receiver)), control);
    let mut handle = |event| match event {
        Ok(Event::KeyUpdate { .. }) => Ok(Some(ConnectionTrafficSecrets::Aes256Gcm {
            key: AeadKey::from([3; 32]),
            iv: Iv::from([4; 12]),
        })),
        Ok(Event::FatalAlert(_)) | Err(_) => Err(std::io::ErrorKind::InvalidData.into()),
        Ok(_) => Ok(None),
    };
    let (mut all, mut part) = (Vec::new(), [0; 100]);
    loop {
        match receiving.receive(socket.as_fd(), &mut part, &mut handle) {
            Ok(0) => return (all, true),
            Ok(count) => all.extend_from_slice(&part[..count]),
            Err(_) => return (all, false),
        }
    }
}
