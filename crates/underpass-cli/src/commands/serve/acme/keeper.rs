//! Looks after the certificates: offers those in the state directory, and gets new ones in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::Account;
use underpass_tls::{Identity, ServerConfig, Validity};

use super::Shared;
use super::account::{self, state};
use super::client::Client;
use super::error::{AcmeError, ErrorKind};
use super::managed::Managed;
use super::order::{self, Method};
use super::schedule;
use super::state::FailureRecord;
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
        Self {
            client: Client::new(shared.connector.clone()),
            names: shared.names.iter().map(Managed::new).collect(),
            shared,
            config,
            quiet,
            account: None,
            started: SystemTime::now(),
        }
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        // If an internal error ends this at one name each time, the others still have their turn.
        let first = self.shared.status.restarts.get() as usize;
        let count = self.names.len();
        loop {
            let mut next = SystemTime::now() + LOOK;
            for index in (first..first + count).map(|index| index % count) {
                next = next.min(self.check(index).await);
            }
            let wait = next.duration_since(SystemTime::now());
            tokio::time::sleep(wait.unwrap_or_default().max(PAUSE)).await;
        }
    }

    /// Does what is to be done for one name. Returns when to look again.
    async fn check(&mut self, index: usize) -> SystemTime {
        self.look(index);
        self.names[index].is_known = true;
        if !self.names[index].is_due() {
            self.ask(index).await;
        }
        let mut next = None;
        if self.names[index].is_due() {
            match self.shared.state.try_lock() {
                Ok(None) => {
                    self.wait(index);
                    next = Some(SystemTime::now() + LOOK_OFTEN);
                }
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
        let managed = &self.names[index];
        self.shared.status.of(index).scheduled(managed.renewal());
        next.unwrap_or_else(|| managed.next())
    }

    /// Offers the certificate in the state directory, if it is another one than before. If it is
    /// gone or cannot be used, the one before stays, and another one is due.
    fn look(&mut self, index: usize) {
        if self.load(index)
            && let Some(line) = self.names[index].loaded_line()
        {
            self.say(line);
        }
    }

    /// As [`look`](Self::look), but says nothing of a certificate that can be used. Returns whether
    /// there is a new one.
    fn load(&mut self, index: usize) -> bool {
        let managed = &mut self.names[index];
        let state = &self.shared.state;
        // Where no file can be read, the lock cannot be taken, which is reported.
        let Ok(version) = state.version(&managed.name) else {
            return false;
        };
        if version == managed.version {
            return false;
        }
        managed.version = version;
        let unusable = match state.certificate(&managed.name) {
            Ok(Some(found)) => {
                let not_after = found.identity.validity().not_after;
                managed.offer(found);
                self.shared.status.of(index).loaded(not_after);
                self.offer();
                return true;
            }
            Ok(None) => format!("the certificate for {} is gone", managed.name),
            Err(error) => error.to_string(),
        };
        managed.renew_now();
        report::notice(format_args!("{unusable}; another certificate is asked for"));
        false
    }

    /// Another server has the lock.
    fn wait(&mut self, index: usize) {
        let managed = &mut self.names[index];
        if !std::mem::replace(&mut managed.waits, true) {
            let line = format!(
                "another server on this state directory is asking for a certificate; {} waits for it",
                managed.name
            );
            self.say(line);
        }
    }

    /// Reports what is no failure.
    fn say(&self, line: String) {
        if !self.quiet {
            report::notice(line);
        }
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
        let identifier = identifier.clone();
        let suggested = match self.account().await {
            Ok(Some(account)) => account.renewal_info(&identifier).await.ok(),
            Ok(None) | Err(_) => None,
        };
        let managed = &mut self.names[index];
        match (suggested, &mut managed.offered) {
            (Some((info, retry_after)), _) => {
                let window = info.suggested_window;
                managed.renew_within((window.start.into(), window.end.into()), retry_after);
            }
            (None, Some(offered)) => offered.ask_at = now + ASK_LATER,
            (None, None) => {}
        }
    }

    /// Waits as long as another server does that failed.
    fn heed_failures(&mut self, index: usize) {
        let managed = &mut self.names[index];
        let record = self.shared.state.failure(&managed.name);
        if let Some(record) = record.filter(|record| record.is_since(self.started)) {
            managed.failures = record.failures;
            managed.retry_at = record
                .retry_at()
                .min(SystemTime::now() + schedule::LONGEST_WAIT);
        }
    }

    /// Gets a certificate. The state directory is locked.
    async fn renew(&mut self, index: usize) {
        let name = self.names[index].name.clone();
        let obtained = match self.obtain(index).await {
            // Such as a test server that was started again, or a disk that was full.
            Err(error) if error.kind.is_of_account() => match self.replace_account(&error) {
                Ok(()) => self.obtain(index).await,
                Err(error) => Err(error),
            },
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

    /// Puts the account aside, so that the next attempt makes another one.
    fn replace_account(&mut self, error: &AcmeError) -> Result<(), AcmeError> {
        self.account = None;
        let aside = self.shared.state.put_account_aside();
        let aside = aside.map_err(|error| state(&self.shared, &error))?;
        report::notice(format_args!(
            "{error}; another account is made, and this one is kept as {}",
            aside.display()
        ));
        Ok(())
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
                // Such as that another certificate has replaced it already, or that the ACME server
                // does not repeat which one is replaced.
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
        self.load(index);
        let managed = &mut self.names[index];
        managed.retry_at = SystemTime::now() + schedule::pause(validity);
        self.shared.status.of(index).renewals.add(1);
        let what = if is_first { "got" } else { "renewed" };
        let until = validity.not_after.map(date::rfc3339).unwrap_or_default();
        let name = &managed.name;
        let line = format!("{what} the certificate for {name}, valid until {until}");
        self.say(line);
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
