//! The certificate of one name, and when something is to be done for it.

use std::time::{Duration, SystemTime};

use instant_acme::CertificateIdentifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use underpass::units;
use underpass_tls::Identity;

use super::error::AcmeError;
use super::schedule;
use super::state::{Certificate, Version};
use crate::values::{DomainName, date};

pub(super) struct Managed {
    pub(super) name: DomainName,
    pub(super) offered: Option<Offered>,
    /// The file that was read last, whether or not it could be used.
    pub(super) version: Option<Version>,
    pub(super) renew_at: SystemTime,
    /// Not before this time.
    pub(super) retry_at: SystemTime,
    /// In a row.
    pub(super) failures: u32,
    /// Whether the state directory has been looked at.
    pub(super) is_known: bool,
    /// Whether it was said that another server has the lock.
    pub(super) waits: bool,
}

/// A certificate that clients get.
pub(super) struct Offered {
    pub(super) identity: Identity,
    /// What the ACME server calls it.
    pub(super) identifier: Option<CertificateIdentifier<'static>>,
    /// When to ask the ACME server when to renew it.
    pub(super) ask_at: SystemTime,
    /// Whether the ACME server has said when to renew it.
    pub(super) is_suggested: bool,
}

impl Managed {
    pub(super) fn new(name: &DomainName) -> Self {
        Self {
            name: name.clone(),
            offered: None,
            version: None,
            renew_at: SystemTime::UNIX_EPOCH,
            retry_at: SystemTime::UNIX_EPOCH,
            failures: 0,
            is_known: false,
            waits: false,
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.due() <= SystemTime::now()
    }

    /// When there is something to do, if nobody else does it before.
    pub(super) fn next(&self) -> SystemTime {
        let asking = self.offered.as_ref();
        let asking = asking.filter(|it| it.identifier.is_some());
        asking.map_or(self.due(), |offered| self.due().min(offered.ask_at))
    }

    fn due(&self) -> SystemTime {
        self.renew_at.max(self.retry_at)
    }

    /// When the certificate that clients get is renewed, and whether the ACME server said so.
    pub(super) fn renewal(&self) -> Option<(SystemTime, bool)> {
        let offered = self.offered.as_ref()?;
        Some((self.renew_at, offered.is_suggested))
    }

    /// Another certificate is asked for, whatever was planned.
    pub(super) fn renew_now(&mut self) {
        self.renew_at = SystemTime::now();
    }

    /// Offers this certificate from now on.
    pub(super) fn offer(&mut self, found: Certificate) {
        let validity = found.identity.validity();
        self.version = Some(found.version);
        self.renew_at = schedule::renewal(validity);
        self.retry_at = SystemTime::UNIX_EPOCH;
        self.failures = 0;
        self.waits = false;
        self.offered = Some(Offered {
            identifier: identifier(&found.pem),
            identity: found.identity,
            ask_at: SystemTime::now(),
            is_suggested: false,
        });
    }

    /// Renews at a moment of this window, which the ACME server suggests.
    pub(super) fn renew_within(&mut self, window: (SystemTime, SystemTime), retry_after: Duration) {
        let now = SystemTime::now();
        let Some(offered) = &mut self.offered else {
            return;
        };
        let validity = offered.identity.validity();
        offered.ask_at = now + schedule::asking(retry_after);
        offered.is_suggested = true;
        self.renew_at = schedule::suggested(window, validity, schedule::random());
        if self.failures == 0 {
            self.retry_at = self.retry_at.min(now + schedule::SUGGESTED_PAUSE);
        }
    }

    /// What is said of the certificate when it has just been read.
    pub(super) fn loaded_line(&self) -> Option<String> {
        let name = &self.name;
        let end = self.offered.as_ref()?.identity.validity().not_after?;
        let shown = date::rfc3339(end);
        if end <= SystemTime::now() {
            let line = format!(
                "the certificate for {name} has expired at {shown}; another one is asked for"
            );
            return Some(line);
        }
        self.is_known.then(|| {
            format!("took the certificate for {name} that another server got, valid until {shown}")
        })
    }

    pub(super) fn failure_line(&self, error: &AcmeError, wait: Duration) -> String {
        let name = &self.name;
        let wait = units::duration(wait);
        let not_after = self.offered.as_ref();
        let not_after = not_after.and_then(|it| it.identity.validity().not_after);
        match not_after {
            None => format!("no certificate for {name}: {error}; next attempt in {wait}"),
            Some(end) => format!(
                "the certificate for {name} was not renewed: {error}; the old one is valid until {}, next attempt in \
                 {wait}",
                date::rfc3339(end)
            ),
        }
    }
}

/// What the ACME server calls the first certificate of `pem` (RFC 9773 section 4.1); `None` if that
/// cannot be told.
fn identifier(pem: &[u8]) -> Option<CertificateIdentifier<'static>> {
    let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    CertificateIdentifier::try_from(&certificate)
        .ok()
        .map(CertificateIdentifier::into_owned)
}
