//! Requests to the ACME server: HTTP/1.1 over our own TLS, one connection each.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HOST, RETRY_AFTER, USER_AGENT};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::net::TcpStream;
use underpass_tls::Connector;

/// How long a request may take, from looking up the name to the end of the response.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest response. A certificate chain has some ten KiB.
const LARGEST: usize = 1 << 20;

const HTTPS_PORT: u16 = 443;

/// Clones share what was learned.
#[derive(Clone)]
pub(super) struct Client {
    connector: Connector,
    /// Until when the ACME server wants to be left alone.
    busy_until: Arc<Mutex<Option<SystemTime>>>,
}

impl Client {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            connector,
            busy_until: Arc::default(),
        }
    }

    /// How long the ACME server wants to be left alone, if it said so since this was called last.
    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        let mut until = self
            .busy_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.take()?.duration_since(SystemTime::now()).ok()
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> io::Result<BytesResponse> {
        let is_get = *request.method() == Method::GET;
        let (request, authority) = in_origin_form(request)?;
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(HTTPS_PORT);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let socket = TcpStream::connect((address, port)).await?;
        let stream = self.connector.connect(address, socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // It ends when `sender` is dropped.
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(io::Error::other)?.into_parts();
        self.note(head.status, head.headers.get(RETRY_AFTER));
        if is_get && !head.status.is_success() {
            let told = format!("it answered {}", head.status);
            return Err(io::Error::other(told));
        }
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        Ok(Response::from_parts(head, Full::new(body)).into())
    }

    /// Remembers how long the ACME server wants to be left alone.
    fn note(&self, status: StatusCode, retry_after: Option<&HeaderValue>) {
        let is_busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let value = retry_after.and_then(|value| value.to_str().ok());
        if let (true, Some(value)) = (is_busy, value) {
            let mut until = self
                .busy_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *until = time_of(value, SystemTime::now());
        }
    }
}

/// The time that `Retry-After` means: seconds, or a date.
fn time_of(value: &str, now: SystemTime) -> Option<SystemTime> {
    match value.trim().parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value.trim()).ok(),
    }
}

/// The request as it is sent to the server itself, and where that is.
fn in_origin_form(
    mut request: Request<BodyWrapper<Bytes>>,
) -> io::Result<(Request<BodyWrapper<Bytes>>, Authority)> {
    let wrong = || {
        let told = format!("{} is not an https URL", request.uri());
        io::Error::new(io::ErrorKind::InvalidInput, told)
    };
    if request.uri().scheme_str() != Some("https") {
        return Err(wrong());
    }
    let authority = request.uri().authority().cloned().ok_or_else(wrong)?;
    let path = request.uri().path_and_query().cloned().ok_or_else(wrong)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().insert(HOST, host);
    let agent = concat!("underpass/", env!("CARGO_PKG_VERSION"), " instant-acme");
    let agent = HeaderValue::from_static(agent);
    request.headers_mut().insert(USER_AGENT, agent);
    Ok((request, authority))
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let exchange = tokio::time::timeout(PATIENCE, client.exchange(request));
            let exchanged = exchange.await.unwrap_or_else(|_| {
                let told = format!("no answer within {} s", PATIENCE.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, told))
            });
            exchanged.map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        let minute = Some(now + Duration::from_secs(60));
        assert_eq!(time_of("60", now), minute);
        assert_eq!(time_of("Sun, 06 Nov 1994 08:49:37 GMT", now), minute);
        for value in ["", "soon", "-1", "18446744073709551615"] {
            assert_eq!(time_of(value, now), None, "{value}");
        }
    }
}
