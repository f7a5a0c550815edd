//! What the kernel supports of TLS. This is tried once, on connections that are made for it.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

use rustix::io::Errno;
use underpass::{TlsCipher, TlsVersion};

use super::CryptoInfo;
use crate::record::KeyMaterial;
use crate::sys::{Direction, set_key, set_ulp};

/// What the kernel supports of TLS.
#[derive(Clone, Debug)]
pub(crate) struct Support {
    /// The errno of `TCP_ULP`.
    ulp: Result<(), i32>,
    /// The errno of `TLS_TX` or `TLS_RX`, by version and cipher.
    ciphers: [[Result<(), i32>; 3]; 2],
    /// Whether a key can be replaced (since Linux 6.14).
    pub(crate) rekeys: bool,
}

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
const CIPHERS: [TlsCipher; 3] = [
    TlsCipher::Aes128Gcm,
    TlsCipher::Aes256Gcm,
    TlsCipher::ChaCha20Poly1305,
];

/// What this kernel supports of TLS. The first call tries it. A cipher whose module is missing
/// fails only when a key is set, and by then a handshake has chosen that cipher.
pub(crate) fn support() -> &'static Support {
    static SUPPORT: OnceLock<Support> = OnceLock::new();
    SUPPORT.get_or_init(Support::probe)
}

impl Support {
    /// Whether a socket can be prepared for TLS at all; else the errno.
    pub(crate) fn ulp(&self) -> Result<(), i32> {
        self.ulp
    }

    /// Whether the kernel can seal and open such records; else the errno.
    pub(crate) fn cipher(&self, version: TlsVersion, cipher: TlsCipher) -> Result<(), i32> {
        let place = |found: Option<usize>| found.ok_or(libc::EINVAL);
        let version = place(VERSIONS.iter().position(|it| *it == version))?;
        let cipher = place(CIPHERS.iter().position(|it| *it == cipher))?;
        self.ciphers[version][cipher]
    }

    fn probe() -> Self {
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::EIO);
        let ulp = pair()
            .map_err(errno)
            .and_then(|(one, _)| set_ulp(one.as_fd()).map_err(Errno::raw_os_error));
        let try_one = |version, cipher| match ulp {
            Ok(()) => try_cipher(version, cipher).map_err(errno),
            Err(errno) => Err(errno),
        };
        let tried = VERSIONS.map(|version| CIPHERS.map(|cipher| try_one(version, cipher)));
        Self {
            ulp,
            ciphers: tried.map(|row| row.map(|it| it.map(|_| ()))),
            rekeys: tried[1].contains(&Ok(true)),
        }
    }
}

/// Sets the keys of both directions. Returns whether the kernel can replace a key.
fn try_cipher(version: TlsVersion, cipher: TlsCipher) -> io::Result<bool> {
    let (one, other) = pair()?;
    // No record is ever sealed with this key.
    let key = [0; 32];
    let key = match cipher {
        TlsCipher::Aes128Gcm => &key[..16],
        _ => &key[..],
    };
    let iv = &[0; 12];
    let info = CryptoInfo::new(version, 0, &KeyMaterial { cipher, key, iv });
    set_ulp(one.as_fd())?;
    set_ulp(other.as_fd())?;
    set_key(one.as_fd(), Direction::Sending, info.bytes())?;
    set_key(other.as_fd(), Direction::Receiving, info.bytes())?;
    Ok(set_key(one.as_fd(), Direction::Sending, info.bytes()).is_ok())
}

/// A connection of this process with itself.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    Ok((one, other))
}
