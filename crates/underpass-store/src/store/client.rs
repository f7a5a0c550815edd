//! The HTTP client below `object_store`: hyper, with rustls where the endpoint says https.
//!
//! All its work is done by the store's own runtime, so that a connection does not end with the
//! runtime of whoever asked first.

use std::error::Error as _;
use std::io::{self, BufReader};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use super::direct::{Answer, Connections};
use super::exchange::{CURRENT, Exchange};
use super::page;
use super::patience::{KEPT_IDLE, Patience, Timeouts, too_long};
use crate::error::{ErrorKind, Failure, StoreError};

/// An explanation of an error is read up to here.
const LONGEST_EXPLANATION: usize = 64 << 10;
/// 1000 keys of 1024 bytes, each of them escaped, and what is said of them.
const LONGEST_PAGE: usize = 16 << 20;
const AGENT: &str = concat!("underpass/", env!("CARGO_PKG_VERSION"));

/// Makes the client for `object_store`, which asks for one for the store and perhaps for another
/// one for credentials.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    client: Http,
}

#[derive(Clone, Debug)]
struct Http {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    direct: Arc<Connections>,
    timeouts: Timeouts,
    runtime: Handle,
    /// Hosts that are asked for credentials.
    authorities: Arc<[String]>,
}

impl Connector {
    /// `authorities` are the hosts that are asked for credentials, not for objects.
    ///
    /// # Errors
    ///
    /// `ca_bundle` cannot be read, or has no certificate.
    pub(crate) fn new(
        timeouts: Timeouts,
        ca_bundle: Option<&Path>,
        runtime: Handle,
        authorities: &[String],
    ) -> Result<Self, StoreError> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeouts.connect));
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StoreError::new(ErrorKind::Internal, error.to_string()))?
            .with_root_certificates(roots(ca_bundle)?)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_IDLE)
            .build(connector);
        Ok(Self {
            client: Http {
                client,
                direct: Arc::default(),
                timeouts,
                runtime,
                authorities: authorities.into(),
            },
        })
    }
}

/// The system's certificates, and those of `AWS_CA_BUNDLE`.
fn roots(ca_bundle: Option<&Path>) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    // Where there are none, an endpoint with https fails with its own error, and http works.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_bundle {
        let wrong = |why: String| {
            let message = format!("cannot read AWS_CA_BUNDLE {}: {why}", path.display());
            StoreError::new(ErrorKind::Invalid, message)
        };
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        let before = roots.len();
        for certificate in CertificateDer::pem_reader_iter(BufReader::new(file)) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| wrong(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(wrong("there is no certificate in it".into()));
        }
    }
    Ok(roots)
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.client.clone()))
    }
}

#[async_trait]
impl HttpService for Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let current = CURRENT.try_with(Clone::clone).unwrap_or_default();
        let host = request.uri().authority().map_or("", Authority::as_str);
        let asked_for = self.authorities.iter().find(|it| *it == host).cloned();
        // What is said of credentials is not the store's answer.
        let exchange = match asked_for {
            None => current.clone(),
            Some(_) => Exchange::default(),
        };
        let (this, seen) = (self.clone(), exchange.clone());
        let task = self
            .runtime
            .spawn(async move { this.exchange(request, &seen).await });
        let aborted = AbortOnDrop(task.abort_handle());
        let answer = match task.await {
            Ok(answer) => answer,
            Err(_) => Err((ErrorKind::Internal, "the store's client was stopped".into())),
        };
        drop(aborted);
        if let Some(host) = asked_for {
            let failure = match (&answer, exchange.status()) {
                (Err((kind, why)), _) => Some((*kind, why.clone())),
                (Ok(_), Some(status)) if !status.is_success() => {
                    let is_theirs = status.is_server_error();
                    let kind = if is_theirs {
                        ErrorKind::Store
                    } else {
                        ErrorKind::Credentials
                    };
                    Some((kind, format!("it says {status}")))
                }
                _ => None,
            };
            let told = |(kind, why)| (kind, format!("no credentials from {host}: {why}"));
            current.credentials(failure.map(told));
            return answer.map_err(|(kind, why)| http_error(kind, why));
        }
        answer.map_err(|(kind, why)| {
            exchange.failed(kind, why.clone());
            http_error(kind, why)
        })
    }
}

fn http_error(kind: ErrorKind, why: String) -> HttpError {
    let theirs = match kind {
        ErrorKind::TimedOut => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Interrupted,
    };
    HttpError::new(theirs, io::Error::other(why))
}

/// A request that nobody waits for any more is not worth its connection.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http {
    async fn exchange(
        &self,
        mut request: HttpRequest,
        exchange: &Exchange,
    ) -> Result<HttpResponse, Failure> {
        let patience = Patience::new(&self.timeouts);
        let is_list = request
            .uri()
            .query()
            .is_some_and(|it| it.contains("list-type=2"));
        let fields = request.headers_mut();
        exchange.asked(fields);
        fields.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some((name, value)) = &exchange.condition {
            // Not signed, and need not be: only `host` and `x-amz-…` must.
            fields.insert(name.clone(), value.clone());
        }
        // A body is sent before the answer, and may take all the time that there is.
        let limit = match request.body().size_hint().upper() {
            Some(0) => self.timeouts.answer,
            _ => self.timeouts.request,
        };
        let is_plain = request.uri().scheme() == Some(&http::uri::Scheme::HTTP);
        let asking = async {
            if exchange.is_direct && is_plain {
                let connect = self.timeouts.connect;
                return self.direct.ask(&request, connect, patience.clone()).await;
            }
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| why_unreachable(&error))?;
            Ok(Answer::Other(answer))
        };
        let answer = tokio::time::timeout(limit, asking).await;
        let (head, body) = match answer.map_err(|_| too_long("no answer", limit))?? {
            Answer::Other(answer) => answer.into_parts(),
            Answer::Plain(head, body) => {
                exchange.answered(head.status(), head.headers(), SystemTime::now());
                exchange.came(body);
                return Ok(head.map(|()| Bytes::new().into()));
            }
        };
        exchange.answered(head.status, &head.headers, SystemTime::now());
        let body = Watched::new(body, patience);
        if head.status.is_success() {
            let body = if is_list {
                list(body).await?.into()
            } else {
                HttpResponseBody::new(body)
            };
            return Ok(HttpResponse::from_parts(head, body));
        }
        let explanation = Limited::new(body, LONGEST_EXPLANATION).collect().await;
        let explanation = explanation.map(http_body_util::Collected::to_bytes);
        let explanation = explanation.unwrap_or_default();
        exchange.explained(&explanation);
        Ok(HttpResponse::from_parts(head, explanation.into()))
    }
}

/// A page of a list, which must be one: any XML or HTML would read as an empty page.
async fn list(body: Watched<hyper::body::Incoming>) -> Result<Bytes, Failure> {
    let page = Limited::new(body, LONGEST_PAGE).collect().await;
    let page = page
        .map_err(|error| (ErrorKind::Unreachable, error.to_string()))?
        .to_bytes();
    let begins = String::from_utf8_lossy(&page[..page.len().min(512)]);
    if !begins.contains("<ListBucketResult") {
        let why = "the answer is not as S3 has it; check AWS_ENDPOINT_URL";
        return Err((ErrorKind::Store, why.into()));
    }
    let page = String::from_utf8_lossy(&page);
    Ok(page::servable(&page).into())
}

fn why_unreachable(error: &hyper_util::client::legacy::Error) -> Failure {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    let mut is_of_certificate = false;
    while let Some(inner) = cause.source() {
        cause = inner;
        is_of_certificate |= refuses_certificate(cause);
    }
    let timed_out = cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
    let what = match (error.is_connect(), error.source()) {
        (true, _) => "no connection to the store",
        (false, _) => "the connection to the store broke",
    };
    let kind = if timed_out {
        ErrorKind::TimedOut
    } else {
        ErrorKind::Unreachable
    };
    let advice = if is_of_certificate {
        "; AWS_CA_BUNDLE names the file of an authority of your own"
    } else {
        ""
    };
    (kind, format!("{what}: {cause}{advice}"))
}

/// Whether rustls does not believe a certificate. Its errors are in those of I/O, which are no
/// source of themselves.
fn refuses_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return true;
    }
    let inner = error.downcast_ref().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| refuses_certificate(inner))
}

/// A body that ends with an error if it stops for too long, or takes too long in all.
struct Watched<B> {
    body: Pin<Box<B>>,
    pause: Pin<Box<Sleep>>,
    patience: Patience,
}

impl<B> Watched<B> {
    fn new(body: B, patience: Patience) -> Self {
        Self {
            body: Box::pin(body),
            pause: Box::pin(tokio::time::sleep_until(patience.until().into())),
            patience,
        }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error>> Body for Watched<B> {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        match this.body.as_mut().poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                if this.patience.came(count) {
                    let until = this.patience.until().into();
                    this.pause.as_mut().reset(until);
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Interrupted, error))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => std::task::ready!(this.pause.as_mut().poll(context)),
        }
        let (_, why) = this.patience.over();
        let error = io::Error::new(io::ErrorKind::TimedOut, why);
        Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
