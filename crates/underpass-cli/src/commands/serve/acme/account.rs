//! The account at the ACME server.

use instant_acme::{Account, AccountCredentials, Error, NewAccount};

use super::Shared;
use super::client::Client;
use super::error::{AcmeError, ErrorKind};

/// The account in the state directory, if there is one.
pub(super) async fn load(shared: &Shared, client: &Client) -> Result<Option<Account>, AcmeError> {
    let stored = shared
        .state
        .account()
        .map_err(|error| state(shared, &error))?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let credentials: AccountCredentials = serde_json::from_slice(&stored).map_err(|error| {
        // Not the error itself: it could quote the key.
        let place = format!("line {}, column {}", error.line(), error.column());
        damaged(shared, &place)
    })?;
    let account = Account::builder_with_http(Box::new(client.clone()))
        .from_credentials(credentials)
        .await;
    account.map(Some).map_err(|error| match error {
        Error::KeyRejected | Error::Crypto => damaged(shared, &"its key cannot be used"),
        Error::Str(told) => damaged(shared, &told),
        error => refused(shared, &error),
    })
}

fn damaged(shared: &Shared, what: &dyn std::fmt::Display) -> AcmeError {
    let path = shared.state.account_path();
    let line = format!("{} is no ACME account ({what})", path.display());
    AcmeError::new(ErrorKind::DamagedAccount, line)
}

/// Makes an account and keeps it. The state directory is locked.
pub(super) async fn create(shared: &Shared, client: &Client) -> Result<Account, AcmeError> {
    let contact = shared.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let created = Account::builder_with_http(Box::new(client.clone()))
        .create(&wanted, shared.directory.clone(), None)
        .await;
    let (account, credentials) = created.map_err(|error| refused(shared, &error))?;
    let credentials = serde_json::to_vec(&credentials).map_err(|error| state(shared, &error))?;
    let saved = shared.state.save_account(&credentials);
    saved.map_err(|error| state(shared, &error))?;
    Ok(account)
}

pub(super) fn state(shared: &Shared, error: &dyn std::fmt::Display) -> AcmeError {
    let root = shared.state.root().display();
    AcmeError::new(
        ErrorKind::State,
        format_args!("the state directory {root} cannot be used: {error}"),
    )
}

pub(super) fn refused(shared: &Shared, error: &instant_acme::Error) -> AcmeError {
    AcmeError::of(error, &shared.directory)
}
