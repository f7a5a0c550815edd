//! Objects that are made or replaced.

use std::future::Future;
use std::time::Instant;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};

use super::exchange::{CURRENT, Exchange};
use super::{Store, field};
use crate::error::{ErrorKind, StoreError};

/// Objects up to here are sent in one request; S3 takes no smaller parts than 5 MiB.
const FIRST_PART: usize = 8 << 20;
/// After as many parts, parts are twice as large: S3 takes 10,000 parts and 5 TiB.
const PARTS_OF_ONE_SIZE: usize = 1000;

/// What is said about an object that is made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutSettings {
    /// `Content-Type`
    pub content_type: Option<String>,
    /// `Cache-Control`
    pub cache_control: Option<String>,
    /// `Content-Encoding`
    pub content_encoding: Option<String>,
    /// Names without `x-amz-meta-`, and their values.
    pub metadata: Vec<(String, String)>,
    /// What must be so for the object to be made.
    pub condition: Condition,
}

/// What must be so for an object to be made. The store decides, when it has all bytes.
///
/// A store that does not know conditions says so, and the upload fails with
/// [`ErrorKind::Unsupported`]. One that ignores them cannot be told from one that found them met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing: an object of this key is replaced.
    #[default]
    None,
    /// There is no object of this key (`If-None-Match: *`).
    Absent,
    /// The object has this entity tag, with its quotes (`If-Match`).
    Matches(String),
}

/// An object that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// In bytes.
    pub len: u64,
    /// Its version, with quotes.
    pub etag: Option<String>,
}

/// An object on its way to the store. It appears whole when [`finish`](Self::finish) returns, or
/// not at all.
///
/// Up to 8 MiB are kept in memory and sent in one request; more is sent in parts. Dropping it
/// before it is finished leaves parts that were sent in the store, invisible, until the bucket's
/// rules remove them; [`abort`](Self::abort) removes them.
pub struct Upload {
    store: Store,
    key: String,
    on: String,
    settings: PutSettings,
    waiting: BytesMut,
    len: u64,
    parts: usize,
    multipart: Option<Box<dyn MultipartUpload>>,
}

impl Store {
    /// Begins to make an object. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`]: the key, or an entity tag, is not valid.
    pub fn upload(&self, key: &str, settings: PutSettings) -> Result<Upload, StoreError> {
        self.path(key)?;
        condition(&settings.condition)?;
        Ok(Upload {
            store: self.clone(),
            key: key.into(),
            on: self.name_of(key),
            settings,
            waiting: BytesMut::new(),
            len: 0,
            parts: 0,
            multipart: None,
        })
    }
}

impl Upload {
    /// Takes the next bytes, and sends a part if there are enough.
    ///
    /// # Errors
    ///
    /// What the store said, after retries. The upload cannot go on then; abort it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the upload must be aborted.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.len += bytes.len() as u64;
        let mut left = bytes;
        while !left.is_empty() {
            let size = part_size(self.parts);
            let now = left.len().min(size - self.waiting.len());
            self.waiting.extend_from_slice(&left[..now]);
            left = &left[now..];
            // The last part is sent by `finish`, which knows that it is the last.
            if self.waiting.len() == size && (self.multipart.is_some() || !left.is_empty()) {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Sends what is left, and makes the object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Precondition`]: the condition was not met. If an answer was lost, that can be
    /// because of the request whose answer it was. Otherwise what the store said, after retries;
    /// parts that were sent are removed then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it is ready, the object may be made or not.
    pub async fn finish(mut self) -> Result<Stored, StoreError> {
        let made = if self.multipart.is_some() {
            self.complete().await
        } else {
            self.send_whole().await
        };
        match made {
            Ok(made) => Ok(Stored {
                len: self.len,
                etag: made.e_tag,
            }),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    /// Gives up: removes the parts that were sent, as far as the store can be reached.
    pub async fn abort(mut self) {
        if let Some(mut multipart) = self.multipart.take() {
            // If this fails too, the bucket's rules remove them.
            let _ = multipart.abort().await;
        }
    }

    async fn send_whole(&mut self) -> Result<PutResult, StoreError> {
        let path = self.store.path(&self.key)?;
        let options = PutOptions {
            attributes: attributes(&self.settings),
            ..PutOptions::default()
        };
        let payload = PutPayload::from_bytes(self.waiting.split().freeze());
        let sent = self.store.0.writer.put_opts(&path, payload, options);
        let condition = condition(&self.settings.condition)?;
        watched(&self.store, &self.on, sent, condition).await
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        if self.multipart.is_none() {
            let path = self.store.path(&self.key)?;
            let options = PutMultipartOptions {
                attributes: attributes(&self.settings),
                ..PutMultipartOptions::default()
            };
            let begun = self.store.0.writer.put_multipart_opts(&path, options);
            self.multipart = Some(watched(&self.store, &self.on, begun, None).await?);
        }
        let payload = self.waiting.split().freeze();
        if let Some(multipart) = &mut self.multipart {
            let sent = multipart.put_part(PutPayload::from_bytes(payload));
            watched(&self.store, &self.on, sent, None).await?;
        }
        self.parts += 1;
        Ok(())
    }

    async fn complete(&mut self) -> Result<PutResult, StoreError> {
        if !self.waiting.is_empty() {
            self.send_part().await?;
        }
        let condition = condition(&self.settings.condition)?;
        let Some(mut multipart) = self.multipart.take() else {
            return Err(StoreError::new(ErrorKind::Internal, "no part was sent"));
        };
        let made = watched(&self.store, &self.on, multipart.complete(), condition).await;
        if made.is_err() {
            // For `abort`.
            self.multipart = Some(multipart);
        }
        made
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload")
            .field("to", &self.on)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Runs one request, whose retries are made by `object_store`.
async fn watched<T>(
    store: &Store,
    on: &str,
    request: impl Future<Output = object_store::Result<T>>,
    condition: Option<(HeaderName, HeaderValue)>,
) -> Result<T, StoreError> {
    let circuit = &store.0.circuit;
    let pass = super::Tries::new(store).admit("write", on)?;
    let exchange = Exchange::with(condition);
    match CURRENT.scope(exchange.clone(), request).await {
        Ok(answer) => {
            circuit.succeeded();
            Ok(answer)
        }
        Err(error) => {
            let error = exchange.error("write", on, &error);
            if error.is_transient() {
                circuit.failed(pass, Instant::now());
            } else {
                circuit.succeeded();
            }
            Err(error)
        }
    }
}

fn part_size(parts: usize) -> usize {
    FIRST_PART << (parts / PARTS_OF_ONE_SIZE).min(9)
}

fn condition(condition: &Condition) -> Result<Option<(HeaderName, HeaderValue)>, StoreError> {
    match condition {
        Condition::None => Ok(None),
        Condition::Absent => field(header::IF_NONE_MATCH, "*").map(Some),
        Condition::Matches(tag) => field(header::IF_MATCH, tag).map(Some),
    }
}

fn attributes(settings: &PutSettings) -> Attributes {
    let known = [
        (Attribute::ContentType, &settings.content_type),
        (Attribute::CacheControl, &settings.cache_control),
        (Attribute::ContentEncoding, &settings.content_encoding),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)));
    let metadata = settings.metadata.iter();
    let metadata =
        metadata.map(|(name, value)| (Attribute::Metadata(name.clone().into()), value.clone()));
    let mut attributes = Attributes::new();
    for (name, value) in known.chain(metadata) {
        attributes.insert(name, value.into());
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_object_of_s3_fits_into_its_parts() {
        let all: u64 = (0..10_000).map(|part| part_size(part) as u64).sum();
        assert!(all >= 5 << 40, "{all}");
        assert!(part_size(9_999) <= 5 << 30);
    }
}
