//! Sealed records that are on their way to the socket.

use std::cell::RefCell;
use std::io::IoSlice;

use super::key::{KeyError, MAX_BEHIND, MAX_PLAIN, TrafficKey};
use super::{ContentType, HEADER_LEN};

/// How many full records are sealed for one send(2). 4 and 8 cost the same; 16 and 32 cost a third
/// more processor time, because a batch and what it is made from leave the second-level cache
/// (lab/runs/2026-11-26-tls-sealing).
const BATCH: usize = 8;

/// A slice of this length is sealed from where it is: to copy it costs more than another record.
const LARGE: usize = MAX_PLAIN / 2;

/// The bytes of a full record with the largest overhead, rounded up.
const RECORD_ROOM: usize = MAX_PLAIN + HEADER_LEN + 64;

/// Room for a batch, and for a few control records behind it.
const CAPACITY: usize = BATCH * RECORD_ROOM + 1024;

/// Sealed records that the socket has not taken yet.
pub(crate) struct Outgoing {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where each record of data ends, and how many bytes of data it has.
    data: Vec<(usize, usize)>,
}

/// How many empty buffers a thread keeps.
const SPARE_BUFFERS: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Outgoing>> = const { RefCell::new(Vec::new()) };
}

impl Outgoing {
    /// An empty buffer of this thread.
    pub(crate) fn take() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        spare.unwrap_or_else(|| Self {
            bytes: vec![0; CAPACITY].into(),
            start: 0,
            end: 0,
            data: Vec::with_capacity(BATCH + 1),
        })
    }

    /// Gives an empty buffer back to this thread.
    pub(crate) fn give_back(mut self) {
        (self.start, self.end) = (0, 0);
        self.data.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS && self.bytes.len() == CAPACITY {
                spare.push(self);
            }
        });
    }

    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn sent(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// How many bytes of data are in records that the socket has not taken whole.
    pub(crate) fn unsent_data(&self) -> usize {
        let unsent = self.data.iter().filter(|(end, _)| *end > self.start);
        unsent.map(|(_, len)| len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Seals as much of `slices` as there is room for, and says how much that is. Small slices
    /// share a record, and large ones are sealed from where they are.
    pub(crate) fn seal_data(
        &mut self,
        key: &mut TrafficKey,
        slices: &[IoSlice<'_>],
    ) -> Result<usize, KeyError> {
        let mut input = Input::new(slices);
        while !input.is_empty()
            && self.bytes.len() - self.end >= RECORD_ROOM
            && key.records_left() > 1
        {
            let next = input.next_record();
            let len = next.len();
            let record = &mut self.bytes[self.end..][..len + key.overhead()];
            match next {
                Record::Copied(len) => {
                    gather(input.rest(), &mut record[key.content_at()..][..len]);
                    key.seal_in_place(ContentType::APPLICATION_DATA, record)?;
                }
                Record::InPlace(part, behind) => {
                    let mut small = [0; MAX_BEHIND];
                    gather(input.rest().skip(1), &mut small[..behind]);
                    let small = &small[..behind];
                    key.seal(ContentType::APPLICATION_DATA, part, small, record)?;
                }
            }
            input.advance(len);
            self.end += len + key.overhead();
            self.data.push((self.end, len));
        }
        Ok(input.taken)
    }

    /// Seals a record that is not application data. The buffer always has room for a few of them.
    pub(crate) fn seal_control(
        &mut self,
        key: &mut TrafficKey,
        content_type: ContentType,
        content: &[u8],
    ) -> Result<(), KeyError> {
        let len = content.len() + key.overhead();
        if self.bytes.len() - self.end < len {
            let mut larger = self.bytes[..self.end].to_vec();
            larger.resize(self.end + len, 0);
            self.bytes = larger.into();
        }
        let record = &mut self.bytes[self.end..][..len];
        key.seal(content_type, content, &[], record)?;
        self.end += len;
        Ok(())
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("unsent", &self.unsent().len())
            .finish_non_exhaustive()
    }
}

/// The slices that are left to seal.
struct Input<'a> {
    slices: &'a [IoSlice<'a>],
    /// How much of the first slice is sealed.
    offset: usize,
    taken: usize,
}

impl<'a> Input<'a> {
    fn new(slices: &'a [IoSlice<'a>]) -> Self {
        let mut input = Self {
            slices,
            offset: 0,
            taken: 0,
        };
        input.advance(0);
        input
    }

    fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// The parts of the slices that are left.
    fn rest(&self) -> impl Iterator<Item = &'a [u8]> {
        let slices = self.slices;
        let offset = self.offset;
        let all = slices.iter().enumerate();
        all.map(move |(at, slice)| &slice[if at == 0 { offset } else { 0 }..])
    }

    fn next_record(&self) -> Record<'a> {
        let first = self.rest().next().unwrap_or_default();
        if first.len() >= LARGE {
            let part = &first[..first.len().min(MAX_PLAIN)];
            return Record::InPlace(part, self.small_len_behind(part));
        }
        match self.shared_len() {
            len if len > first.len() => Record::Copied(len),
            len => Record::InPlace(&first[..len], 0),
        }
    }

    /// How much shares a record that begins with a small slice: all that is left, if it fits. Else
    /// a large slice begins its own, so that it need not be copied.
    fn shared_len(&self) -> usize {
        let mut before_large = None;
        let mut len = 0;
        for part in self.rest() {
            if part.len() >= LARGE {
                before_large.get_or_insert(len);
            }
            len += part.len();
            if len > MAX_PLAIN {
                return before_large.unwrap_or(MAX_PLAIN);
            }
        }
        len
    }

    /// How many bytes of small slices follow `part` and find room in its record. So the head of a
    /// frame of HTTP/2 shares a record with the data of the frame before it.
    fn small_len_behind(&self, part: &[u8]) -> usize {
        let mut parts = self.rest();
        if parts.next().is_none_or(|first| first.len() > part.len()) {
            return 0;
        }
        let room = MAX_BEHIND.min(MAX_PLAIN - part.len());
        let mut len = 0;
        for part in parts.take_while(|part| part.len() < LARGE) {
            if len + part.len() > room {
                break;
            }
            len += part.len();
        }
        len
    }

    fn advance(&mut self, len: usize) {
        self.taken += len;
        self.offset += len;
        while let Some(first) = self.slices.first()
            && self.offset >= first.len()
        {
            self.offset -= first.len();
            self.slices = &self.slices[1..];
        }
    }
}

/// What the next record is made of.
enum Record<'a> {
    /// The next bytes of several slices, which are copied together.
    Copied(usize),
    /// One slice, or a part of it, from where it is; and so many bytes of small slices behind it.
    InPlace(&'a [u8], usize),
}

impl Record<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Copied(len) => *len,
            Self::InPlace(part, behind) => part.len() + behind,
        }
    }
}

fn gather<'a>(parts: impl Iterator<Item = &'a [u8]>, mut out: &mut [u8]) {
    for part in parts {
        let len = part.len().min(out.len());
        let (now, later) = out.split_at_mut(len);
        now.copy_from_slice(&part[..len]);
        out = later;
    }
}
