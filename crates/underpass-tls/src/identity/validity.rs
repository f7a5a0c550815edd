//! From when until when a certificate is valid.

use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::crypto;

/// The days of a certificate. A day that cannot be read, or is before 1970, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validity {
    /// It is not valid before.
    pub not_before: Option<SystemTime>,
    /// It is not valid afterwards.
    pub not_after: Option<SystemTime>,
}

impl Validity {
    /// webpki has no accessor for the two days. But it has them in its errors, and looks at them
    /// before anything else.
    pub(super) fn of(certificate: &EndEntityCert<'_>) -> Self {
        let at = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            let algorithms = crypto::provider().signature_verification_algorithms.all;
            let usage = KeyUsage::server_auth();
            let verified =
                certificate.verify_for_usage(algorithms, &[], &[], time, usage, None, None);
            verified.map(|_| ())
        };
        let time = |time: UnixTime| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()))
        };
        Self {
            not_before: match at(0) {
                Err(Error::CertNotValidYet { not_before, .. }) => time(not_before),
                _ => None,
            },
            not_after: match at(u64::MAX) {
                Err(Error::CertExpired { not_after, .. }) => time(not_after),
                _ => None,
            },
        }
    }
}
