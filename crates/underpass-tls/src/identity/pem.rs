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
    /// What to tell if the file has neither a certificate nor a key.
    otherwise: &'static str,
}

/// Reads a whole file, if it can be PEM.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    underpass::read_small_file(path, MOST).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => wrong(
            &path.display(),
            "is too large to be a certificate or a key: give a file in PEM",
        ),
        _ => unreadable(path, &error),
    })
}

/// The error for a file that cannot be read, with what to do about it.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => {
            "; let the user who runs this program read it, or use LoadCredential= of systemd"
        }
        io::ErrorKind::IsADirectory => "; name the file in it",
        _ => "",
    };
    let told = format!("{}: {error}{advice}", path.display());
    io::Error::new(error.kind(), told)
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
                // An encrypted key has headers where other PEM has base64.
                if is_encrypted(bytes) {
                    return wrong(&name, ENCRYPTED);
                }
                let how = format!("is not PEM, or not the whole of it: {error}");
                wrong(&name, &how)
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
pub(crate) fn otherwise(bytes: &[u8]) -> &'static str {
    const SEQUENCE: u8 = 0x30;
    if bytes.is_empty() {
        "is empty: it must have the certificate or the key, in PEM"
    } else if is_encrypted(bytes) {
        ENCRYPTED
    } else if bytes[0] == SEQUENCE {
        "is DER, and must be PEM: \
         openssl x509 (or pkey) -inform DER -in FILE -out NEW_FILE converts it"
    } else {
        NO_PEM
    }
}

/// What is told of a file that has nothing of PEM.
pub(crate) const NO_PEM: &str =
    "has neither a certificate nor a key in PEM: such begin with -----BEGIN";

const ENCRYPTED: &str = "is encrypted, and nobody is here to give its password: \
    openssl pkey -in KEY -out NEW_KEY takes it off";

fn is_encrypted(bytes: &[u8]) -> bool {
    let has = |text: &str| memmem(bytes, text.as_bytes());
    has("ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED")
}

fn memmem(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// An error of one line: `what`, and what is wrong with it.
pub(crate) fn wrong(what: &dyn Display, how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} {how}"))
}
