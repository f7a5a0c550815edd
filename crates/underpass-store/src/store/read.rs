//! Bytes of an object, all of one version.

use std::future::Future;
use std::ops::{ControlFlow, Range};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use http::header;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore};

use super::circuit::Pass;
use super::direct::Body;
use super::exchange::{CURRENT, Exchange};
use super::patience::PORTION;
use super::{ObjectInfo, Store, Tries, field};
use crate::error::{ErrorKind, Failure, StoreError};

/// An answer to a request for a range, whose body has not been read.
pub(crate) struct Begun {
    exchange: Exchange,
    answer: GetResult,
    range: Range<u64>,
}

/// Takes the bytes of a range, in order.
pub(crate) trait Sink: Send {
    /// Whether it reads bodies itself, where that is possible.
    const READS: bool = false;

    /// Takes the next bytes. Both an error and a break end the reading.
    fn take(
        &mut self,
        bytes: Bytes,
    ) -> impl Future<Output = Result<ControlFlow<()>, StoreError>> + Send;

    /// Takes the bytes of a body, which it reads itself, all of them unless that fails or it needs
    /// no more. Returns how many it took, and what failed of the body. An error is its own.
    fn take_all(
        &mut self,
        body: Body,
    ) -> impl Future<Output = Result<(u64, Result<(), Failure>), StoreError>> + Send {
        drop(body);
        async { Ok((0, Ok(()))) }
    }
}

impl Store {
    /// Reads a range into memory. All of it is of the version that `info` is of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Changed`]: the object was replaced or removed. [`ErrorKind::Unsupported`]: the
    /// store ignores ranges. Otherwise what the store said, or what broke, after retries.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the request.
    pub async fn read(&self, info: &ObjectInfo, range: Range<u64>) -> Result<Bytes, StoreError> {
        struct Memory(BytesMut);
        impl Sink for Memory {
            async fn take(&mut self, bytes: Bytes) -> Result<ControlFlow<()>, StoreError> {
                self.0.extend_from_slice(&bytes);
                Ok(ControlFlow::Continue(()))
            }
        }
        let mut memory = Memory(BytesMut::new());
        self.read_into(info, range, None, &mut memory).await?;
        Ok(memory.0.freeze())
    }

    /// What the store says of an object, as [`head`](Self::head), and its first `count` bytes, if
    /// it gives both by one request. An empty object has no such range, and some stores have none:
    /// then they are asked once more.
    pub(crate) async fn begin(
        &self,
        key: &str,
        count: u64,
    ) -> Result<(ObjectInfo, Option<Begun>), StoreError> {
        let (path, on) = (self.path(key)?, self.name_of(key));
        let ask = || async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(0..count)),
                ..GetOptions::default()
            };
            let asked = self.0.reader.get_opts(&path, options).await;
            let exchange = CURRENT.with(Exchange::clone);
            match (asked, exchange.status()) {
                (Ok(answer), _) => Ok(Some((answer, exchange))),
                (Err(_), Some(StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE)) => Ok(None),
                (Err(error), _) => Err(error),
            }
        };
        let Some((answer, exchange)) = self.attempt("read", &on, Exchange::direct, ask).await?
        else {
            return Ok((self.head(key).await?, None));
        };
        let info = ObjectInfo::new(key, answer.meta.clone(), &answer.attributes);
        let range = 0..count.min(info.len);
        let begun = Begun {
            exchange,
            answer,
            range,
        };
        Ok((info, Some(begun)))
    }

    /// Reads a range, of which the first request may be `begun`. After a failure in the middle, it
    /// goes on from the byte it failed at.
    pub(crate) async fn read_into<S: Sink>(
        &self,
        info: &ObjectInfo,
        range: Range<u64>,
        mut begun: Option<Begun>,
        sink: &mut S,
    ) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut at = range.start;
        let mut tries = Tries::new(self);
        let mut since = at;
        loop {
            let on = self.name_of(&info.key);
            let (pass, answer) = if let Some(begun) = begun.take().filter(|it| it.range == range) {
                // It was admitted when it was sent.
                (Pass::default(), Ok(begun))
            } else {
                let pass = tries.admit("read", &on)?;
                (pass, self.ask::<S>(info, &on, at..range.end).await)
            };
            let poured = match answer {
                Ok(begun) => pour_answer(begun, &on, &mut at, sink).await,
                Err(error) => Err(error),
            };
            match poured {
                Ok(()) => {
                    self.0.circuit.succeeded();
                    return Ok(());
                }
                Err(error) => {
                    if at - since >= PORTION {
                        // As much as another request could have been for.
                        (tries, since) = (Tries::new(self), at);
                    }
                    tries.failed(pass, error).await?;
                }
            }
        }
    }

    async fn ask<S: Sink>(
        &self,
        info: &ObjectInfo,
        on: &str,
        range: Range<u64>,
    ) -> Result<Begun, StoreError> {
        // The whole object needs no range: a store that ignores ranges can serve that.
        let whole = range == (0..info.len);
        let mut exchange = Exchange::with(precondition(info)?);
        exchange.is_direct = S::READS;
        let options = GetOptions {
            range: (!whole).then_some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let path = self.path(&info.key)?;
        let asked = CURRENT.scope(exchange.clone(), self.0.reader.get_opts(&path, options));
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(error) => return Err(refused(on, whole, &exchange, &error)),
        };
        same_version(info, on, &answer)?;
        Ok(Begun {
            exchange,
            answer,
            range,
        })
    }
}

/// Has `sink` take the body of an answer. `at` is where it goes on.
async fn pour_answer(
    begun: Begun,
    on: &str,
    at: &mut u64,
    sink: &mut impl Sink,
) -> Result<(), StoreError> {
    let end = begun.range.end;
    let GetResultPayload::Stream(stream) = begun.answer.payload;
    let poured = match begun.exchange.body() {
        Some(body) => pour_all(body, at, end, sink).await,
        None => pour(stream, at, end, sink).await,
    };
    let Err(ended) = poured else {
        return Ok(());
    };
    let (kind, why) = match ended {
        Ended::Sink(error) => return Err(error),
        Ended::Body(object_store::Error::Generic { source, .. }) => body_failure(source.as_ref()),
        Ended::Body(error) => (ErrorKind::Unreachable, error.to_string()),
        Ended::Failed(failure) => failure,
        Ended::Short => (ErrorKind::Unreachable, "the body ended early".into()),
        Ended::TooLong => (ErrorKind::Store, "more bytes came than asked for".into()),
    };
    let message = format!("cannot read {on} from byte {at}: {why}");
    Err(StoreError::new(kind, message))
}

/// Why a body was not taken to its end.
enum Ended {
    Sink(StoreError),
    Body(object_store::Error),
    Failed(Failure),
    Short,
    TooLong,
}

async fn pour(
    mut body: impl Stream<Item = object_store::Result<Bytes>> + Unpin,
    at: &mut u64,
    end: u64,
    sink: &mut impl Sink,
) -> Result<(), Ended> {
    while *at < end {
        let bytes = match body.next().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(Ended::Body(error)),
            None => return Err(Ended::Short),
        };
        let count = bytes.len() as u64;
        if count > end - *at {
            return Err(Ended::TooLong);
        }
        let taken = sink.take(bytes).await.map_err(Ended::Sink)?;
        if taken.is_break() {
            break;
        }
        *at += count;
    }
    Ok(())
}

async fn pour_all(body: Body, at: &mut u64, end: u64, sink: &mut impl Sink) -> Result<(), Ended> {
    let (left, wanted) = (body.left(), end - *at);
    if left > wanted {
        return Err(Ended::TooLong);
    }
    let (count, read) = sink.take_all(body).await.map_err(Ended::Sink)?;
    *at += count;
    read.map_err(Ended::Failed)?;
    if count == left && left < wanted {
        return Err(Ended::Short);
    }
    Ok(())
}

/// The client's own words are in the innermost error, and its kind in the one around it.
fn body_failure(error: &(dyn std::error::Error + 'static)) -> (ErrorKind, String) {
    let mut kind = ErrorKind::Unreachable;
    let mut cause = error;
    loop {
        if let Some(http) = cause.downcast_ref::<HttpError>()
            && http.kind() == HttpErrorKind::Timeout
        {
            kind = ErrorKind::TimedOut;
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => return (kind, cause.to_string()),
        }
    }
}

/// The condition that makes the store refuse another version. A weak tag cannot be one.
fn precondition(
    info: &ObjectInfo,
) -> Result<Option<(header::HeaderName, header::HeaderValue)>, StoreError> {
    match (&info.etag, info.modified) {
        (Some(tag), _) if !tag.starts_with("W/") => field(header::IF_MATCH, tag).map(Some),
        (_, Some(modified)) => {
            let date = httpdate::fmt_http_date(modified);
            field(header::IF_UNMODIFIED_SINCE, &date).map(Some)
        }
        _ => Ok(None),
    }
}

/// The store may ignore the condition, or a proxy may have an older answer: then this sees it.
fn same_version(info: &ObjectInfo, on: &str, answer: &GetResult) -> Result<(), StoreError> {
    let now = ObjectInfo::new(&info.key, answer.meta.clone(), &answer.attributes);
    let tags_differ = now.etag.is_some() && now.etag != info.etag;
    let times_differ = info.etag.is_none() && now.modified != info.modified;
    if now.len != info.len || tags_differ || times_differ {
        return Err(changed(on));
    }
    Ok(())
}

fn changed(on: &str) -> StoreError {
    let message = format!("{on} was replaced while it was being read");
    StoreError::new(ErrorKind::Changed, message)
}

fn refused(on: &str, whole: bool, exchange: &Exchange, error: &object_store::Error) -> StoreError {
    if !whole && exchange.status() == Some(StatusCode::OK) {
        let why = "it answers a request for a range with the whole object";
        let message = format!("cannot read a part of {on}: the store ignores ranges: {why}");
        return StoreError::new(ErrorKind::Unsupported, message);
    }
    let refused = exchange.error("read", on, error);
    match refused.kind() {
        ErrorKind::NotFound | ErrorKind::Precondition | ErrorKind::Changed => changed(on),
        _ => refused,
    }
}
