//! Follows the frames that arrive, and has each request say which stream it came on.
//!
//! hyper does not tell its service the number of a request's stream. So a field with the number is
//! added to each request's head, in a CONTINUATION frame of its own: a literal that is not indexed,
//! so it leaves the compression's state alone. It is the last field, and the service takes it off.

use super::PREFACE;
use super::flood::FloodLimit;
use super::frame::{self, FrameHead, HEAD};
use crate::server::state::Streams;

/// The static table's name of the field: `proxy-authenticate`, which no request has a use for.
const NAME: [u8; 2] = [0x0f, 48 - 0x0f];

/// The field that carries the number of a stream.
pub(super) const NUMBER: http::HeaderName = http::header::PROXY_AUTHENTICATE;

#[derive(Debug)]
pub(super) struct Incoming {
    /// How much of the current frame, or of the preface, is to come.
    left: usize,
    /// The beginning of a frame's head.
    partial: Vec<u8>,
    /// A stream that the current frame opens; its number follows the frame.
    opens: Option<u32>,
    /// The stream whose head is being received, and whether it opens that stream.
    head_of: Option<(u32, bool)>,
    /// The highest number of a stream.
    last: u32,
    flood: FloodLimit,
    is_flood: bool,
    begun: bool,
}

impl Incoming {
    pub(super) fn new(now: u64) -> Self {
        Self {
            left: PREFACE.len(),
            partial: Vec::new(),
            opens: None,
            head_of: None,
            last: 0,
            flood: FloodLimit::new(now),
            is_flood: false,
            begun: false,
        }
    }

    /// Whether a head has begun and is not complete, or the first frame did not come.
    pub(super) fn is_in_head(&self) -> bool {
        !self.begun || self.head_of.is_some() || self.opens.is_some() || !self.partial.is_empty()
    }

    /// Whether the last frame is complete, so that another may be put behind it.
    pub(super) fn is_between_frames(&self) -> bool {
        self.left == 0 && !self.is_in_head()
    }

    pub(super) fn is_flood(&self) -> bool {
        self.is_flood
    }

    /// The highest number of a stream that was opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.last
    }

    pub(super) fn sent_data(&mut self) {
        self.flood.sent_data();
    }

    pub(super) fn has_partial_head(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Follows the first of `bytes` and returns how many may be passed on as they are. What comes
    /// behind them is put into `rest`.
    pub(super) fn follow(
        &mut self,
        bytes: &mut [u8],
        streams: &Streams,
        now: u64,
        rest: &mut Vec<u8>,
    ) -> usize {
        let first = self.follow_frames(bytes, streams, now);
        let mut at = first;
        while let Some(stream) = self.opens.take_if(|_| self.left == 0) {
            put_number(rest, stream);
            let count = self.follow_frames(&mut bytes[at..], streams, now);
            rest.extend_from_slice(&bytes[at..at + count]);
            at += count;
        }
        if !self.is_flood {
            self.partial.extend_from_slice(&bytes[at..]);
        }
        first
    }

    /// Follows bytes that come behind the beginning of a frame's head, and puts all into `out`.
    pub(super) fn follow_partial(
        &mut self,
        bytes: &[u8],
        streams: &Streams,
        now: u64,
        out: &mut Vec<u8>,
    ) {
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let mut rest = Vec::new();
        let count = self.follow(&mut joined, streams, now, &mut rest);
        out.extend_from_slice(&joined[..count]);
        out.append(&mut rest);
    }

    /// Follows frames up to the next place where a number has to be put, or to a partial head.
    fn follow_frames(&mut self, bytes: &mut [u8], streams: &Streams, now: u64) -> usize {
        let mut at = 0;
        loop {
            let skipped = self.left.min(bytes.len() - at);
            at += skipped;
            self.left -= skipped;
            if self.left > 0 || self.opens.is_some() || self.is_flood {
                return at;
            }
            let Some(head) = bytes[at..].first_chunk_mut::<HEAD>() else {
                return at;
            };
            if !self.begin(head, streams, now) {
                self.is_flood = true;
                return at;
            }
            at += HEAD;
        }
    }

    /// A frame begins. False if it is one too many.
    fn begin(&mut self, bytes: &mut [u8; HEAD], streams: &Streams, now: u64) -> bool {
        let head = FrameHead::parse(bytes);
        self.begun = true;
        self.left = head.len;
        match head.kind {
            frame::HEADERS => {
                let opens = head.stream > self.last && head.stream % 2 == 1;
                if opens {
                    self.last = head.stream;
                    streams.announce(head.stream);
                }
                self.head_of = Some((head.stream, opens));
            }
            frame::CONTINUATION => {}
            frame::DATA => streams.received(head.stream, now),
            frame::RST_STREAM => streams.reset(head.stream),
            _ => {}
        }
        if matches!(head.kind, frame::HEADERS | frame::CONTINUATION)
            && head.has(frame::END_HEADERS)
            && let Some((stream, true)) = self.head_of
            && stream == head.stream
        {
            bytes[frame::FLAGS_AT] &= !frame::END_HEADERS;
            self.opens = Some(stream);
        }
        if head.has(frame::END_HEADERS)
            || !matches!(head.kind, frame::HEADERS | frame::CONTINUATION)
        {
            self.head_of = None;
        }
        self.flood.take(head, now)
    }
}

/// Appends a CONTINUATION frame with the number of a stream.
fn put_number(out: &mut Vec<u8>, stream: u32) {
    let mut digits = [0; 10];
    let mut first = digits.len();
    let mut left = stream;
    while left > 0 {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let digits = &digits[first..];
    let head = FrameHead {
        len: NAME.len() + 1 + digits.len(),
        kind: frame::CONTINUATION,
        flags: frame::END_HEADERS,
        stream,
    };
    out.extend_from_slice(&head.bytes());
    out.extend_from_slice(&NAME);
    out.push(digits.len() as u8);
    out.extend_from_slice(digits);
}
