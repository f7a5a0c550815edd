//! Conversions to and from other bodies.

use std::borrow::Cow;
use std::io;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use super::FileBody;

macro_rules! from_bytes {
    ($($type:ty),*) => {
        $(impl From<$type> for FileBody {
            fn from(bytes: $type) -> Self {
                Self::full(bytes)
            }
        })*
    };
}

from_bytes!(Bytes, Vec<u8>, String, &'static [u8], &'static str);

impl From<()> for FileBody {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Cow<'static, str>> for FileBody {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

/// As tower-http's bodies are converted.
impl From<FileBody> for UnsyncBoxBody<Bytes, io::Error> {
    fn from(body: FileBody) -> Self {
        Self::new(body)
    }
}
