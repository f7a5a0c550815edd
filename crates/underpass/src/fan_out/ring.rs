//! The part of the stream that was read from the source and that some subscriber still needs. Each
//! byte is kept once.
//!
//! Bookkeeping only, under one lock, without system calls. A subscriber is a position in the
//! stream. Each segment counts the subscribers whose position is in it, and the oldest segment is
//! dropped when its count is 0.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use super::segment::{Segment, Store};
use super::{Alone, FanOutSettings, Slow};

/// Small reads are joined into segments of up to this many bytes.
const JOINED: usize = 16 << 10;

/// What a source and its subscribers share.
#[derive(Debug)]
pub(super) struct Ring {
    /// Consecutive parts of the stream, the oldest first.
    segments: VecDeque<Segment>,
    /// Bytes read from the source, which is the position of the next one.
    end: u64,
    positions: HashMap<u64, Position>,
    next_id: u64,
    /// Subscribers that have not fallen too far behind.
    active: usize,
    /// Subscribers that encrypt in this process, and so need the bytes in its memory.
    in_process: usize,
    /// Subscribers that have everything that was read.
    current: usize,
    /// The sum of the segments' charges, which the lag limits.
    charged: u64,
    lag: u64,
    slow: Slow,
    alone: Alone,
    /// Subscribers to wait for before the first read; 0 once they have come.
    begin_with: usize,
    has_source: bool,
    finish: Option<Finish>,
    source_waker: Option<Waker>,
}

/// Why no more bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// The source ended.
    Whole,
    /// The source broke off: the stream is incomplete.
    Part,
}

#[derive(Debug)]
struct Position {
    at: u64,
    in_process: bool,
    lagged: bool,
    waker: Option<Waker>,
}

/// Whether bytes may be taken from the source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Yes,
    /// Yes, but nobody would get them.
    Discard,
    /// Not before a subscriber has taken some bytes, or one has come.
    No,
}

/// What comes next for a subscriber.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// This segment, and how many of its bytes the subscriber has already.
    Segment(&'a mut Segment, usize),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Finished(Finish),
    /// The subscriber fell too far behind and has lost its position.
    Lagged,
}

impl Ring {
    pub(super) fn new(settings: &FanOutSettings) -> Self {
        Self {
            segments: VecDeque::new(),
            end: 0,
            positions: HashMap::new(),
            next_id: 0,
            active: 0,
            in_process: 0,
            current: 0,
            charged: 0,
            // With a lag of 0 nothing could ever be read.
            lag: settings.lag.max(1),
            slow: settings.slow,
            alone: settings.alone,
            begin_with: settings.begin_with,
            has_source: false,
            finish: None,
            source_waker: None,
        }
    }

    /// Bytes taken from the source.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many subscribers get the next byte.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    /// Whether some subscriber needs the next bytes in memory.
    pub(super) fn needs_memory(&self) -> bool {
        self.in_process > 0
    }

    /// Gives the stream its source; `false` where it has, or had, one.
    pub(super) fn claim_source(&mut self) -> bool {
        !std::mem::replace(&mut self.has_source, true)
    }

    /// Adds a subscriber at the next byte, and returns its id. `in_process`: it encrypts in this
    /// process.
    pub(super) fn join(&mut self, in_process: bool) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let position = Position {
            at: self.end,
            in_process,
            lagged: false,
            waker: None,
        };
        self.positions.insert(id, position);
        self.in_process += usize::from(in_process);
        self.active += 1;
        self.current += 1;
        self.wake_source();
        id
    }

    /// Removes a subscriber, and returns how many bytes it had not taken.
    pub(super) fn leave(&mut self, id: u64) -> u64 {
        let Some(position) = self.positions.remove(&id) else {
            return 0;
        };
        self.in_process -= usize::from(position.in_process);
        if !position.lagged {
            self.active -= 1;
            *self.count_at(position.at) -= 1;
            self.drop_unneeded();
            self.wake_source();
        }
        self.end - position.at
    }

    /// Wakes the source when there may be room.
    #[cfg(feature = "tokio")]
    pub(super) fn register_source(&mut self, waker: &Waker) {
        register(&mut self.source_waker, waker);
    }

    /// Wakes this subscriber when there may be something for it.
    #[cfg(feature = "tokio")]
    pub(super) fn register(&mut self, id: u64, waker: &Waker) {
        if let Some(position) = self.positions.get_mut(&id) {
            register(&mut position.waker, waker);
        }
    }

    /// Whether the source may be read. With [`Slow::Drop`], subscribers that are too far behind
    /// lose their position.
    pub(super) fn room(&mut self) -> Room {
        if self.active < self.begin_with {
            return Room::No;
        }
        self.begin_with = 0;
        while self.charged >= self.lag {
            match self.slow {
                Slow::Wait => return Room::No,
                Slow::Drop => self.drop_laggards(),
            }
        }
        match self.alone {
            _ if self.active > 0 => Room::Yes,
            Alone::Wait => Room::No,
            Alone::Discard => Room::Discard,
        }
    }

    /// Drops the subscribers that still need the oldest segment.
    fn drop_laggards(&mut self) {
        let Some(oldest) = self.segments.front_mut() else {
            return;
        };
        self.active -= std::mem::take(&mut oldest.subscribers);
        let border = oldest.end();
        for position in self.positions.values_mut() {
            if !position.lagged && position.at < border {
                position.lagged = true;
                wake(&mut position.waker);
            }
        }
        self.drop_unneeded();
    }

    /// Adds a segment for all subscribers; `false` if there are none.
    pub(super) fn publish(&mut self, store: Store) -> bool {
        let mut segment = Segment::new(self.end, store);
        self.end = segment.end();
        if self.active == 0 {
            return false;
        }
        segment.subscribers = std::mem::take(&mut self.current);
        self.charged += segment.charge();
        self.segments.push_back(segment);
        self.wake_subscribers();
        true
    }

    /// As [`publish`](Self::publish), for a few bytes: they are appended to the last segment if it
    /// has room.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let last = self.segments.back_mut();
        let Some(last) = last.and_then(|last| last.append(bytes, JOINED).then_some(last)) else {
            let mut memory = Vec::with_capacity(JOINED.max(bytes.len()));
            memory.extend_from_slice(bytes);
            return self.publish(Store::Memory(Arc::new(memory)));
        };
        last.subscribers += std::mem::take(&mut self.current);
        self.end = last.end();
        self.wake_subscribers();
        true
    }

    /// Ends the stream. Only the first call counts.
    pub(super) fn finish(&mut self, how: Finish) {
        self.finish.get_or_insert(how);
        self.wake_subscribers();
    }

    pub(super) fn next(&mut self, id: u64) -> Next<'_> {
        let Some(at) = self.position_of(id) else {
            return Next::Lagged;
        };
        match self.index_of(at) {
            None => self.finish.map_or(Next::Nothing, Next::Finished),
            Some(index) => {
                let segment = &mut self.segments[index];
                let taken = (at - segment.start()) as usize;
                Next::Segment(segment, taken)
            }
        }
    }

    /// Removes the next segment for this subscriber, if it was spliced and nobody else needs it, so
    /// that it can be moved instead of shared with tee(2).
    pub(super) fn take_unshared(&mut self, id: u64) -> Option<Segment> {
        let at = self.position_of(id)?;
        let oldest = self.segments.front()?;
        if !oldest.is_piped() || oldest.start() != at || oldest.subscribers > 1 {
            return None;
        }
        let segment = self.pop()?;
        self.set_position(id, segment.end());
        self.drop_unneeded();
        Some(segment)
    }

    fn position_of(&self, id: u64) -> Option<u64> {
        let position = self.positions.get(&id).filter(|position| !position.lagged);
        position.map(|position| position.at)
    }

    /// Whether this subscriber fell too far behind.
    pub(super) fn is_lagged(&self, id: u64) -> bool {
        self.position_of(id).is_none()
    }

    /// Moves a subscriber's position on by `bytes`, which are all of one segment.
    pub(super) fn advance(&mut self, id: u64, bytes: u64) {
        if let Some(at) = self.position_of(id) {
            *self.count_at(at) -= 1;
            self.set_position(id, at + bytes);
            self.drop_unneeded();
        }
    }

    /// Sets the position of a subscriber that no segment counts.
    fn set_position(&mut self, id: u64, at: u64) {
        if let Some(position) = self.positions.get_mut(&id) {
            position.at = at;
            *self.count_at(at) += 1;
        }
    }

    /// The count that includes a subscriber at this position.
    fn count_at(&mut self, at: u64) -> &mut usize {
        match self.index_of(at) {
            Some(index) => &mut self.segments[index].subscribers,
            None => &mut self.current,
        }
    }

    /// The index of the segment that contains this position; `None` at the end of the stream.
    fn index_of(&self, at: u64) -> Option<usize> {
        let index = self.segments.partition_point(|segment| segment.end() <= at);
        (index < self.segments.len()).then_some(index)
    }

    /// Drops the oldest segments that nobody needs.
    fn drop_unneeded(&mut self) {
        while self
            .segments
            .front()
            .is_some_and(|oldest| oldest.subscribers == 0)
        {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Segment> {
        let oldest = self.segments.pop_front()?;
        self.charged -= oldest.charge();
        self.wake_source();
        Some(oldest)
    }

    fn wake_source(&mut self) {
        wake(&mut self.source_waker);
    }

    fn wake_subscribers(&mut self) {
        for position in self.positions.values_mut() {
            wake(&mut position.waker);
        }
    }
}

#[cfg(feature = "tokio")]
fn register(slot: &mut Option<Waker>, waker: &Waker) {
    match slot {
        Some(known) if known.will_wake(waker) => {}
        _ => *slot = Some(waker.clone()),
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}
