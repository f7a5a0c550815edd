//! Gets one certificate: an order, the challenge that proves the name, and the certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Identifier, NewOrder,
    Order, OrderStatus, RetryPolicy,
};

use super::Shared;
use super::account::{refused, state};
use super::challenges::PendingChallenge;
use super::error::{AcmeError, ErrorKind};
use crate::values::DomainName;

/// How it is proved that a name leads here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// TLS-ALPN-01 (RFC 8737), at port 443.
    Tls,
    /// HTTP-01 (RFC 8555 section 8.3), at port 80.
    Http,
}

/// How long the ACME server may take to check, and then to sign.
const DECISION: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls-alpn-01",
            Self::Http => "http-01",
        }
    }

    fn challenge(self) -> ChallengeType {
        match self {
            Self::Tls => ChallengeType::TlsAlpn01,
            Self::Http => ChallengeType::Http01,
        }
    }
}

/// A certificate for `name`, with its key before it, in PEM. `replaces` is the certificate that it
/// is a renewal of, if the ACME server wants to know (RFC 9773 section 5). The state directory is
/// locked.
pub(super) async fn certificate(
    shared: &Shared,
    account: &Account,
    name: &DomainName,
    method: Method,
    replaces: Option<CertificateIdentifier<'_>>,
) -> Result<String, AcmeError> {
    let failed = |error| refused(shared, &error);
    let identifiers = [Identifier::Dns(name.to_string())];
    let mut wanted = NewOrder::new(&identifiers);
    if let Some(replaced) = replaces {
        wanted = wanted.replaces(replaced);
    }
    let mut order = account.new_order(&wanted).await.map_err(failed)?;
    // They are answered until this function returns.
    let _pending = answer(shared, &mut order, name, method).await?;
    let status = order.poll_ready(&DECISION).await;
    if !matches!(status, Ok(OrderStatus::Ready)) {
        // Why is in the challenge, not in the order.
        if let Some(reason) = reason(&mut order).await {
            return Err(reason);
        }
        status.map_err(failed)?;
        let line = "the ACME server refused, and gave no reason";
        return Err(AcmeError::new(ErrorKind::Challenge, line));
    }
    let key = order.finalize().await.map_err(failed)?;
    let chain = order.poll_certificate(&DECISION).await.map_err(failed)?;
    Ok(format!("{key}{chain}"))
}

/// Answers the challenges of an order, and says so.
async fn answer(
    shared: &Shared,
    order: &mut Order,
    name: &DomainName,
    method: Method,
) -> Result<Vec<PendingChallenge>, AcmeError> {
    let failed = |error| refused(shared, &error);
    let (challenges, mut pending) = (shared.state.challenges(), Vec::new());
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        // An earlier proof may still count.
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(method.challenge()) else {
            let line = format!("the ACME server does not offer {}", method.name());
            return Err(AcmeError::new(ErrorKind::Challenge, line));
        };
        let proof = challenge.key_authorization();
        let answered = match method {
            Method::Tls => challenges.answer_tls(name.as_str(), proof.as_str()),
            Method::Http => challenges.answer_http(&challenge.token, proof.as_str()),
        };
        pending.push(answered.map_err(|error| state(shared, &error))?);
        challenge.set_ready().await.map_err(failed)?;
    }
    Ok(pending)
}

/// Why a challenge failed.
async fn reason(order: &mut Order) -> Option<AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(found) = authorization.refresh().await else {
            continue;
        };
        let errors = found.challenges.iter().filter_map(|it| it.error.as_ref());
        if let Some(problem) = errors.into_iter().next() {
            let mut error = AcmeError::of_problem(problem);
            if error.kind == ErrorKind::Refused {
                error.kind = ErrorKind::Challenge;
            }
            return Some(error);
        }
    }
    None
}
