//! An upload that arrives in pieces, of which little is in memory.

use bytes::Bytes;
use http::HeaderMap;

use super::UploadError;
use super::object::ObjectUpload;
use super::temporary_file::{Outcome, TemporaryFile};
use super::write_buffer::WriteBuffer;
use crate::changes;
use crate::serve_dir::lookup::blocking;

pub(super) struct Receiving {
    sink: Sink,
    total: u64,
    limit: u64,
}

/// Where the bytes go.
enum Sink {
    File(TemporaryFile, WriteBuffer),
    Object(ObjectUpload),
}

impl Receiving {
    pub(super) fn of_file(pending: TemporaryFile, limit: u64) -> Self {
        Self::new(Sink::File(pending, WriteBuffer::default()), limit)
    }

    pub(super) fn of_object(upload: ObjectUpload, limit: u64) -> Self {
        Self::new(Sink::Object(upload), limit)
    }

    fn new(sink: Sink, limit: u64) -> Self {
        Self {
            sink,
            total: 0,
            limit,
        }
    }

    /// Takes the next bytes.
    pub(super) async fn push(mut self, bytes: Bytes) -> Result<Self, UploadError> {
        self.total += bytes.len() as u64;
        if self.total > self.limit {
            return Err(UploadError::too_large(self.limit));
        }
        self.sink = match self.sink {
            Sink::File(pending, mut batch) => {
                batch.push(bytes);
                if batch.is_full() {
                    Sink::File(write(pending, batch).await?, WriteBuffer::default())
                } else {
                    Sink::File(pending, batch)
                }
            }
            Sink::Object(upload) => Sink::Object(upload.write(bytes).await?),
        };
        Ok(self)
    }

    /// Gives it its name, if the preconditions still hold. It is durable when this returns.
    pub(super) async fn publish(self, headers: HeaderMap) -> Result<Outcome, UploadError> {
        let outcome = match self.sink {
            Sink::File(pending, batch) => {
                let pending = write(pending, batch).await?;
                blocking(move || Ok(pending.publish(&headers))).await?
            }
            Sink::Object(upload) => upload.publish().await,
        };
        // Also after a failure, because the file may have been replaced all the same.
        changes::changed();
        outcome
    }
}

async fn write(
    mut pending: TemporaryFile,
    batch: WriteBuffer,
) -> Result<TemporaryFile, UploadError> {
    let written = blocking(move || {
        batch.write_to(&mut pending.file)?;
        Ok(pending)
    });
    Ok(written.await?)
}
