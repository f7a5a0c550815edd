//! Certificates and keys as PEM files have them, and what people get wrong with them.

use std::fmt::Display;
use std::io;
use std::path::Path;

use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The most that is read of a file: chains and keys have a few KiB.
const MOST: usize = 1 << 20;

/// The sections of a PEM file that matter here.
pub(super) struct Sections {
    certificates: Vec<CertificateDer<'static>>,
    keys: Vec<PrivateKeyDer<'static>>,
    /// How it can be that there is neither.
    otherwise: &'static str,
}

/// Reads a whole file, if it can be PEM.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    underpass::read_small_file(path, MOST).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            wrong(&path.display(), "is too large to be a certificate or a key")
        }
        kind => io::Error::new(kind, format!("{}: {error}", path.display())),
    })
}

impl Sections {
    /// Parses what is called `name` in errors.
    pub(super) fn parse(name: &str, bytes: &[u8]) -> io::Result<Self> {
        let mut this = Self {
            certificates: Vec::new(),
            keys: Vec::new(),
            otherwise: otherwise(bytes),
        };
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            let (kind, der) = section.map_err(|error| {
                // Its headers of encryption stand where other PEM has base64.
                if is_encrypted(bytes) {
                    return wrong(&name, ENCRYPTED);
                }
                wrong(&name, &format!("is not PEM: {error}"))
            })?;
            match kind {
                SectionKind::Certificate => this.certificates.push(der.into()),
                kind => this.keys.extend(PrivateKeyDer::from_pem(kind, der)),
            }
        }
        Ok(this)
    }

    /// The certificates of `name`, at least one.
    pub(super) fn certificates(self, name: &str) -> io::Result<Vec<CertificateDer<'static>>> {
        match (self.certificates.is_empty(), self.keys.is_empty()) {
            (false, _) => Ok(self.certificates),
            (true, false) => Err(wrong(
                &name,
                "has a key and no certificate: were the certificate and the key swapped?",
            )),
            (true, true) => Err(wrong(&name, self.otherwise)),
        }
    }

    /// The only key of `name`.
    pub(super) fn key(mut self, name: &str) -> io::Result<PrivateKeyDer<'static>> {
        match (self.keys.pop(), self.keys.len()) {
            (Some(key), 0) => Ok(key),
            (Some(_), others) => Err(wrong(
                &name,
                &format!("has {} keys: leave the one of the certificate", others + 1),
            )),
            (None, _) if !self.certificates.is_empty() => Err(wrong(
                &name,
                "has a certificate and no key: were the certificate and the key swapped?",
            )),
            (None, _) => Err(wrong(&name, self.otherwise)),
        }
    }
}

/// Why a file has neither a certificate nor a key.
fn otherwise(bytes: &[u8]) -> &'static str {
    const SEQUENCE: u8 = 0x30;
    if bytes.is_empty() {
        "is empty"
    } else if is_encrypted(bytes) {
        ENCRYPTED
    } else if bytes[0] == SEQUENCE {
        "is DER, and must be PEM: openssl x509 (or pkey) -inform DER -in FILE -out NEW_FILE converts it"
    } else {
        "has neither a certificate nor a key in PEM"
    }
}

const ENCRYPTED: &str = "is encrypted, and nobody is here to give its password: openssl pkey -in KEY -out NEW_KEY takes it off";

fn is_encrypted(bytes: &[u8]) -> bool {
    let has = |text: &str| memmem(bytes, text.as_bytes());
    has("ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED")
}

fn memmem(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// One line: what is wrong, and how.
pub(super) fn wrong(what: &dyn Display, how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} {how}"))
}
