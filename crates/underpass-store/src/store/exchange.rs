//! What one exchange with the store was, as the HTTP client saw it, and what its failure means.
//!
//! `object_store` turns answers into its own errors, which lose some of what is in them: the code
//! of S3, `Retry-After`, the store's date. So the client writes them down here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::direct::Body;
use super::page;
use crate::error::{ErrorKind, StoreError};

tokio::task_local! {
    /// The exchange that the current task waits for.
    pub(crate) static CURRENT: Exchange;
}

/// Clocks that differ by more than this make signatures invalid, as S3 documents.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// One exchange. Clones are of the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    seen: Arc<Mutex<Seen>>,
    /// A field that `object_store` cannot be told to send.
    pub(crate) condition: Option<(header::HeaderName, HeaderValue)>,
    /// Whoever asks can read the body himself.
    pub(crate) is_direct: bool,
    body: Arc<Mutex<Option<Body>>>,
}

#[derive(Debug, Default)]
struct Seen {
    status: Option<StatusCode>,
    code: String,
    message: String,
    retry_after: Option<Duration>,
    clock_off: Option<Duration>,
    anonymous: bool,
    failure: Option<(ErrorKind, String)>,
}

impl Exchange {
    /// An exchange whose request has one more field.
    pub(crate) fn with(condition: Option<(header::HeaderName, HeaderValue)>) -> Self {
        Self {
            condition,
            ..Self::default()
        }
    }

    /// An exchange whose body is read by whoever asks.
    pub(crate) fn direct() -> Self {
        Self {
            is_direct: true,
            ..Self::default()
        }
    }

    /// The head of an answer came, whose body is to be read.
    pub(crate) fn came(&self, body: Body) {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    /// The body, if whoever asks is to read it.
    pub(crate) fn body(&self) -> Option<Body> {
        self.body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// The head of an answer.
    pub(crate) fn answered(&self, status: StatusCode, headers: &HeaderMap, now: SystemTime) {
        let mut seen = self.lock();
        seen.status = Some(status);
        seen.retry_after = retry_after(headers, now);
        seen.clock_off = date(headers, header::DATE).map(|theirs| distance(theirs, now));
    }

    /// The body of an answer that is an error.
    pub(crate) fn explained(&self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let mut seen = self.lock();
        seen.code = element(&text, "Code").unwrap_or_default();
        seen.message = element(&text, "Message").unwrap_or_default();
    }

    /// Whether the request is one that nobody signed.
    pub(crate) fn asked(&self, headers: &HeaderMap) {
        self.lock().anonymous = !headers.contains_key(header::AUTHORIZATION);
    }

    /// There was no answer.
    pub(crate) fn failed(&self, kind: ErrorKind, why: String) {
        self.lock().failure = Some((kind, why));
    }

    /// How asking for credentials ended, before the store was asked: why there are none, if so.
    pub(crate) fn credentials(&self, failure: Option<(ErrorKind, String)>) {
        self.lock().failure = failure;
    }

    /// Whether the store gave any answer at all.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.lock().status
    }

    /// The error that an exchange ended with, `what` and `on` being what was tried.
    pub(crate) fn error(&self, what: &str, on: &str, other: &object_store::Error) -> StoreError {
        let seen = self.lock();
        let failed = format!("cannot {what} {on}");
        if let Some((kind, why)) = &seen.failure {
            return StoreError::new(*kind, format!("{failed}: {why}"));
        }
        match seen.status {
            Some(status) if !status.is_success() => seen.refusal(&failed, status),
            Some(_) => {
                let why = format!("the store's answer is not as S3 has it: {}", root(other));
                StoreError::new(ErrorKind::Store, format!("{failed}: {why}"))
            }
            None => StoreError::new(ErrorKind::Credentials, format!("{failed}: {}", root(other))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn refusal(&self, failed: &str, status: StatusCode) -> StoreError {
        let told = match (self.code.as_str(), self.message.as_str()) {
            ("", _) => status.to_string(),
            (code, "") => format!("{} {code}", status.as_u16()),
            (code, message) => format!("{} {code}: {message}", status.as_u16()),
        };
        let kind = self.kind(status);
        let advice = match kind {
            ErrorKind::NoSuchBucket => "; check the name of the bucket, and AWS_ENDPOINT_URL",
            ErrorKind::Credentials => "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ErrorKind::ClockSkew => "; set the clock of this machine, for example by NTP",
            ErrorKind::Denied if self.anonymous => {
                "; requests are anonymous: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY \
                 (the files of AWS_PROFILE are not read)"
            }
            ErrorKind::Denied => "; these credentials may not do it",
            ErrorKind::Unsupported => "; the store does not have what was asked for",
            ErrorKind::Store if status.is_redirection() => "; check AWS_REGION",
            _ => "",
        };
        let off = match (kind, self.clock_off) {
            (ErrorKind::ClockSkew, Some(off)) => {
                format!(
                    " (this clock and the store's are {} minutes apart)",
                    off.as_secs() / 60
                )
            }
            _ => String::new(),
        };
        let message = format!("{failed}: the store says {told}{off}{advice}");
        match kind {
            ErrorKind::Throttled => StoreError::throttled(message, self.retry_after),
            kind => StoreError::new(kind, message),
        }
    }

    fn kind(&self, status: StatusCode) -> ErrorKind {
        let skewed = self.clock_off.is_some_and(|off| off > CLOCK_TOLERANCE);
        match self.code.as_str() {
            "NoSuchBucket" => return ErrorKind::NoSuchBucket,
            "RequestTimeTooSkewed" => return ErrorKind::ClockSkew,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "AuthorizationHeaderMalformed" => return ErrorKind::Credentials,
            "SlowDown" | "RequestTimeout" => return ErrorKind::Throttled,
            "NotImplemented" => return ErrorKind::Unsupported,
            _ => {}
        }
        match status.as_u16() {
            401 => ErrorKind::Credentials,
            // The answer to HEAD has no body that could say so.
            403 if skewed => ErrorKind::ClockSkew,
            403 => ErrorKind::Denied,
            404 | 410 => ErrorKind::NotFound,
            304 | 409 | 412 => ErrorKind::Precondition,
            408 | 429 | 503 => ErrorKind::Throttled,
            400 | 405 | 501 => ErrorKind::Unsupported,
            416 => ErrorKind::Changed,
            _ => ErrorKind::Store,
        }
    }
}

/// The innermost cause, which is the one that says something.
fn root(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// No answer of a store silences an object for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        at.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(LONGEST_PAUSE))
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other)
        .unwrap_or_else(|before| before.duration())
}

/// The text of the first element of this name, without control characters, and not long.
fn element(xml: &str, name: &str) -> Option<String> {
    let text = page::text(xml, name)?;
    let text = quick_xml::escape::unescape(text).unwrap_or(text.into());
    let plain = text.chars().filter(|it| !it.is_control());
    Some(plain.take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_says_is_told() {
        let xml = b"<Error><Code>NoSuchBucket</Code><Message>The bucket&#39;s\n &lt;gone&gt;&#10;</Message></Error>";
        let exchange = Exchange::default();
        exchange.answered(StatusCode::NOT_FOUND, &HeaderMap::new(), SystemTime::now());
        exchange.explained(xml);
        let other = object_store::Error::NotImplemented {
            operation: String::new(),
            implementer: String::new(),
        };
        let error = exchange.error("list", "s3://b", &other);
        assert_eq!(error.kind(), ErrorKind::NoSuchBucket);
        assert_eq!(
            error.to_string(),
            "cannot list s3://b: the store says 404 NoSuchBucket: The bucket's <gone>; \
             check the name of the bucket, and AWS_ENDPOINT_URL"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let told = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers, now)
        };
        let date = httpdate::fmt_http_date(now + Duration::from_secs(9));
        assert_eq!(told("120"), Some(Duration::from_secs(120)));
        assert_eq!(told(&date), Some(Duration::from_secs(9)));
        assert_eq!(told("soon"), None);
        assert_eq!(told("18446744073709551615"), Some(LONGEST_PAUSE));
        assert_eq!(told("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_PAUSE));
    }
}
