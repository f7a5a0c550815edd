//! TLS 1.3 records with AES-128-GCM, written for the load: opened where they were received, and
//! thrown away. It shares nothing with the server that is measured, so that both cannot be wrong
//! alike.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

use crate::error::{Context, Error, Result};

/// Type, version and length.
pub(super) const HEAD: usize = 5;
/// The most that a record holds behind its head (RFC 8446, 5.2).
pub(super) const MOST: usize = (16 << 10) + 256;
/// What one recv(2) can get: some records, so that calls are few, in the processor's second cache.
const BUFFER: usize = 256 << 10;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// The one handshake message that may come late without a change of keys.
const NEW_SESSION_TICKET: u8 = 4;

/// The records of one connection whose handshake is done.
pub(crate) struct Records {
    opening: Key,
    sealing: Key,
    /// What was received and not opened: less than a record, between two calls.
    buffer: Vec<u8>,
    held: usize,
    sealed: Vec<u8>,
}

impl Records {
    pub(super) fn new(secrets: ExtractedSecrets) -> Result<Self> {
        Ok(Self {
            opening: Key::new(secrets.rx)?,
            sealing: Key::new(secrets.tx)?,
            buffer: vec![0; BUFFER],
            held: 0,
            sealed: Vec::new(),
        })
    }

    /// Sends a message in one record. The socket has room for it.
    pub(crate) fn send(&mut self, mut socket: &TcpStream, message: &[u8]) -> Result<()> {
        let length = message.len() + 1 + MAX_TAG_LEN;
        let [high, low] = (length as u16).to_be_bytes();
        let head = [DATA, 3, 3, high, low];
        self.sealed.clear();
        self.sealed.extend_from_slice(&head);
        self.sealed.extend_from_slice(message);
        self.sealed.push(DATA);
        self.sealing.seal(head, &mut self.sealed)?;
        socket
            .write_all(&self.sealed)
            .context(|| "the load cannot ask".into())
    }

    /// Receives once, and shows `take` the bytes of each record that is whole.
    pub(crate) fn receive(
        &mut self,
        mut socket: &TcpStream,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match socket.read(&mut self.buffer[self.held..]) {
            Ok(0) => return Err(Error::new("the server closed a connection")),
            Ok(got) => self.held += got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).context(|| "the load cannot receive".into()),
        }
        let mut start = 0;
        while let Some((head, rest)) = self.buffer[start..self.held].split_first_chunk_mut::<HEAD>()
        {
            let length = length(*head)?;
            let Some(record) = rest.get_mut(..length) else {
                break;
            };
            let (kind, plain) = self.opening.open(*head, record)?;
            match (kind, plain.first()) {
                (DATA, _) => take(plain)?,
                (HANDSHAKE, Some(&NEW_SESSION_TICKET)) => {}
                (HANDSHAKE, _) => return Err(Error::new("the server wants to change keys")),
                (ALERT, _) => return Err(Error::new("the server closed a connection")),
                _ => return Err(Error::new(format!("a record of type {kind}"))),
            }
            start += HEAD + length;
        }
        self.buffer.copy_within(start..self.held, 0);
        self.held -= start;
        Ok(())
    }
}

/// How long the record behind this head is.
pub(super) fn length(head: [u8; HEAD]) -> Result<usize> {
    let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
    if length > MOST {
        return Err(Error::new(format!("a record of {length} bytes")));
    }
    Ok(length)
}

/// The key of one direction, and how many records it has had.
struct Key {
    aead: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Key {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self> {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            return Err(Error::new("the cipher is not AES-128-GCM"));
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref());
        let key = key.map_err(|_| Error::new("a key of the wrong length"))?;
        let iv = iv.as_ref().try_into();
        Ok(Self {
            aead: LessSafeKey::new(key),
            iv: iv.context(|| "an IV of the wrong length".into())?,
            sequence,
        })
    }

    /// Encrypts what is behind the head, and appends the tag.
    fn seal(&mut self, head: [u8; HEAD], sealed: &mut Vec<u8>) -> Result<()> {
        let nonce = self.next();
        let inside = &mut sealed[HEAD..];
        let tag = self
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(head), inside)
            .map_err(|_| Error::new("cannot seal a record"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The type and the bytes inside.
    fn open<'a>(&mut self, head: [u8; HEAD], record: &'a mut [u8]) -> Result<(u8, &'a [u8])> {
        let nonce = self.next();
        let plain = self
            .aead
            .open_in_place(nonce, Aad::from(head), record)
            .map_err(|_| Error::new("a record that cannot be opened"))?;
        // Zeros behind the type are padding.
        let end = plain.iter().rposition(|&byte| byte != 0);
        let end = end.ok_or_else(|| Error::new("a record without a type"))?;
        Ok((plain[end], &plain[..end]))
    }

    /// The IV, its end mixed with the sequence number (RFC 8446, 5.3).
    fn next(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, count) in nonce[NONCE_LEN - 8..]
            .iter_mut()
            .zip(self.sequence.to_be_bytes())
        {
            *byte ^= count;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}
