//! Which file of a certificate and its key is wrong.

use std::fmt;
use std::io;

/// A certificate chain or a key that cannot be used. It is inside the [`io::Error`] that is
/// returned; [`IdentityError::of`] finds it.
///
/// ```
/// use underpass_tls::{Identity, IdentityError};
///
/// let error = Identity::from_pem(b"no PEM", b"no PEM").unwrap_err();
/// assert!(IdentityError::of(&error).is_some_and(|it| !it.is_about_key()));
/// ```
#[derive(Debug)]
pub struct IdentityError {
    is_about_key: bool,
    told: String,
}

impl IdentityError {
    /// The error inside `error`, if it is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether it is about the key; otherwise it is about the certificate chain.
    pub fn is_about_key(&self) -> bool {
        self.is_about_key
    }

    #[allow(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn about_chain(error: io::Error) -> io::Error {
        Self::inside(&error, false)
    }

    #[allow(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn about_key(error: io::Error) -> io::Error {
        Self::inside(&error, true)
    }

    fn inside(error: &io::Error, is_about_key: bool) -> io::Error {
        let told = error.to_string();
        io::Error::new(error.kind(), Self { is_about_key, told })
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl std::error::Error for IdentityError {}
