//! Looks after the certificates: offers those in the state directory, and gets new ones in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use underpass::units;
use underpass_tls::{Identity, ServerConfig, Validity};

use super::Shared;
use super::account::{self, state};
use super::client::Client;
use super::error::{AcmeError, ErrorKind};
use super::order::{self, Method};
use super::schedule;
use super::state::{FailureRecord, Version};
use crate::report;
use crate::values::{DomainName, date};

pub(super) struct Keeper {
    shared: Arc<Shared>,
    client: Client,
    /// What offers the certificates.
    config: ServerConfig,
    quiet: bool,
    account: Option<Account>,
    names: Vec<Managed>,
    /// Failures before are forgotten: whoever starts the server again may have cured their cause.
    started: SystemTime,
}

/// The certificate of one name.
struct Managed {
    name: DomainName,
    offered: Option<Offered>,
    /// The file that was read last, whether or not it could be used.
    version: Option<Version>,
    renew_at: SystemTime,
    /// Not before this time.
    retry_at: SystemTime,
    /// In a row.
    failures: u32,
}

/// A certificate that clients get.
struct Offered {
    identity: Identity,
    /// What the ACME server calls it.
    identifier: Option<CertificateIdentifier<'static>>,
    /// When to ask the ACME server when to renew it.
    ask_at: SystemTime,
    /// Whether the ACME server has said when to renew it.
    is_suggested: bool,
}

/// The longest time between two looks at the state directory, which other servers may change.
const LOOK: Duration = Duration::from_secs(60);

/// The time between two looks while another server gets a certificate.
const LOOK_OFTEN: Duration = Duration::from_secs(1);

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// When to ask again when to renew, after an answer that cannot be used.
const ASK_LATER: Duration = Duration::from_secs(6 * 3600);

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, config: ServerConfig, quiet: bool) -> Self {
        let managed = |name: &DomainName| Managed {
            name: name.clone(),
            offered: None,
            version: None,
            renew_at: SystemTime::UNIX_EPOCH,
            retry_at: SystemTime::UNIX_EPOCH,
            failures: 0,
        };
        Self {
            client: Client::new(shared.connector.clone()),
            names: shared.names.iter().map(managed).collect(),
            shared,
            config,
            quiet,
            account: None,
            started: SystemTime::now(),
        }
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        loop {
            let mut next = SystemTime::now() + LOOK;
            for index in 0..self.names.len() {
                next = next.min(self.check(index).await);
            }
            let wait = next.duration_since(SystemTime::now());
            tokio::time::sleep(wait.unwrap_or_default().max(PAUSE)).await;
        }
    }

    /// Does what is to be done for one name. Returns when to look again.
    async fn check(&mut self, index: usize) -> SystemTime {
        self.look(index);
        if !self.names[index].is_due() {
            self.ask(index).await;
        }
        if self.names[index].is_due() {
            match self.shared.state.try_lock() {
                Ok(None) => return SystemTime::now() + LOOK_OFTEN,
                Ok(Some(_lock)) => {
                    // Another server may just have done it, or tried.
                    self.look(index);
                    self.heed_failures(index);
                    if self.names[index].is_due() {
                        self.renew(index).await;
                    }
                }
                Err(error) => self.failed(index, &state(&self.shared, &error)),
            }
        }
        self.names[index].next()
    }

    /// Offers the certificate in the state directory, if it is another one than before. If there is
    /// none, or it cannot be used, the one before stays.
    fn look(&mut self, index: usize) {
        let managed = &mut self.names[index];
        let state = &self.shared.state;
        let version = state.version(&managed.name).ok().flatten();
        if version.is_none() || version == managed.version {
            return;
        }
        managed.version = version;
        let found = match state.certificate(&managed.name) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                report::notice(format_args!("{error}; another certificate is asked for"));
                return;
            }
        };
        managed.version = Some(found.version);
        let validity = found.identity.validity();
        managed.renew_at = schedule::renewal(validity);
        managed.retry_at = SystemTime::UNIX_EPOCH;
        managed.failures = 0;
        managed.offered = Some(Offered {
            identifier: identifier(&found.pem),
            identity: found.identity,
            ask_at: SystemTime::now(),
            is_suggested: false,
        });
        self.shared.status.of(index).loaded(validity.not_after);
        self.offer();
    }

    fn offer(&self) {
        let offered = self.names.iter().filter_map(|it| it.offered.as_ref());
        let identities = offered.map(|it| it.identity.clone());
        // There is one, so it does not fail.
        let _ = self.config.replace_identities(identities);
    }

    /// Asks the ACME server when to renew (RFC 9773), if it is time to ask. Whatever goes wrong,
    /// two thirds of the lifetime hold.
    async fn ask(&mut self, index: usize) {
        let now = SystemTime::now();
        let Some(offered) = &self.names[index].offered else {
            return;
        };
        let (Some(identifier), true) = (&offered.identifier, now >= offered.ask_at) else {
            return;
        };
        let (identifier, validity) = (identifier.clone(), offered.identity.validity());
        let suggested = match self.account().await {
            Ok(Some(account)) => account.renewal_info(&identifier).await.ok(),
            Ok(None) | Err(_) => None,
        };
        let managed = &mut self.names[index];
        let Some(offered) = &mut managed.offered else {
            return;
        };
        let Some((info, retry_after)) = suggested else {
            offered.ask_at = now + ASK_LATER;
            return;
        };
        let window = info.suggested_window;
        let window = (window.start.into(), window.end.into());
        managed.renew_at = schedule::suggested(window, validity, schedule::random());
        offered.ask_at = now + schedule::asking(retry_after);
        offered.is_suggested = true;
    }

    /// Waits as long as another server does that failed.
    fn heed_failures(&mut self, index: usize) {
        let managed = &mut self.names[index];
        let record = self.shared.state.failure(&managed.name);
        if let Some(record) = record.filter(|record| record.is_since(self.started)) {
            managed.failures = record.failures;
            managed.retry_at = record.retry_at();
        }
    }

    /// Gets a certificate. The state directory is locked.
    async fn renew(&mut self, index: usize) {
        let name = self.names[index].name.clone();
        let obtained = match self.obtain(index).await {
            Err(error) if error.kind == ErrorKind::UnknownAccount => {
                // Such as a test server that was started again.
                self.account = None;
                match self.shared.state.forget_account() {
                    Ok(()) => self.obtain(index).await,
                    Err(error) => Err(state(&self.shared, &error)),
                }
            }
            obtained => obtained,
        };
        match obtained.and_then(|pem| self.save(&name, &pem)) {
            Ok(validity) => self.renewed(index, validity),
            Err(mut error) => {
                error.retry_after = self.client.take_retry_after();
                self.failed(index, &error);
            }
        }
    }

    /// The key and the certificate, in PEM. A challenge that failed for the first time is followed
    /// by the other one; after that they take turns, since failures are limited.
    async fn obtain(&mut self, index: usize) -> Result<String, AcmeError> {
        let account = match self.account().await? {
            Some(account) => account,
            None => account::create(&self.shared, &self.client).await?,
        };
        self.account = Some(account.clone());
        let managed = &self.names[index];
        let mut methods = self.shared.methods.clone();
        let turn = managed.failures as usize % methods.len();
        methods.rotate_left(turn);
        if managed.failures > 0 {
            methods.truncate(1);
        }
        let mut lines = Vec::new();
        for method in methods {
            let error = match self.order(&account, managed, method).await {
                Err(error) if error.kind == ErrorKind::Challenge => error,
                other => return other,
            };
            lines.push(format!("{}: {error}", method.name()));
        }
        Err(AcmeError::new(ErrorKind::Challenge, lines.join("; ")))
    }

    async fn order(
        &self,
        account: &Account,
        managed: &Managed,
        method: Method,
    ) -> Result<String, AcmeError> {
        let offered = managed.offered.as_ref().filter(|it| it.is_suggested);
        let replaces = offered.and_then(|it| it.identifier.clone());
        let (shared, name) = (&*self.shared, &managed.name);
        if replaces.is_some() {
            let ordered = order::certificate(shared, account, name, method, replaces).await;
            match ordered {
                // Such as that another certificate has replaced it already.
                Err(error) if error.kind == ErrorKind::Refused => {}
                ordered => return ordered,
            }
        }
        order::certificate(shared, account, name, method, None).await
    }

    /// The account, if there is one.
    async fn account(&mut self) -> Result<Option<Account>, AcmeError> {
        if self.account.is_none() {
            self.account = account::load(&self.shared, &self.client).await?;
        }
        Ok(self.account.clone())
    }

    fn save(&self, name: &DomainName, pem: &str) -> Result<Validity, AcmeError> {
        let identity = Identity::from_pem(pem.as_bytes(), pem.as_bytes()).map_err(|error| {
            let line = format!("what the ACME server sent cannot be used: {error}");
            AcmeError::new(ErrorKind::Refused, line)
        })?;
        let saved = self.shared.state.save_certificate(name, pem.as_bytes());
        saved.map_err(|error| state(&self.shared, &error))?;
        self.shared.state.clear_failure(name);
        Ok(identity.validity())
    }

    fn renewed(&mut self, index: usize, validity: Validity) {
        let is_first = self.names[index].offered.is_none();
        self.look(index);
        let managed = &mut self.names[index];
        managed.retry_at = SystemTime::now() + schedule::pause(validity);
        self.shared.status.of(index).renewals.add(1);
        if !self.quiet {
            let what = if is_first { "got" } else { "renewed" };
            let until = validity.not_after.map(date::rfc3339).unwrap_or_default();
            report::notice(format_args!(
                "{what} the certificate for {}, valid until {until}",
                managed.name
            ));
        }
    }

    fn failed(&mut self, index: usize, error: &AcmeError) {
        let managed = &mut self.names[index];
        let now = SystemTime::now();
        managed.failures = managed.failures.saturating_add(1);
        let wait = schedule::backoff(
            managed.failures,
            self.shared.retry,
            error.retry_after,
            schedule::random(),
        );
        managed.retry_at = now + wait;
        let record = FailureRecord::new(managed.failures, now, managed.retry_at);
        // It only keeps other servers from trying, too.
        let _ = self.shared.state.save_failure(&managed.name, &record);
        self.shared.status.of(index).failed(error.kind);
        report::notice(managed.failure_line(error, wait));
    }
}

impl Managed {
    fn is_due(&self) -> bool {
        self.renew_at.max(self.retry_at) <= SystemTime::now()
    }

    /// When there is something to do, if nobody else does it before.
    fn next(&self) -> SystemTime {
        let due = self.renew_at.max(self.retry_at);
        let asking = self.offered.as_ref();
        let asking = asking.filter(|it| it.identifier.is_some());
        asking.map_or(due, |offered| due.min(offered.ask_at))
    }

    fn failure_line(&self, error: &AcmeError, wait: Duration) -> String {
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
