//! What was taken from the source and not yet by every subscriber: one copy of each byte, whoever
//! still wants it.
//!
//! Bookkeeping under one lock, without a system call of its own. A subscriber is a place in the
//! stream; each segment counts the places that lie in it, so that the oldest is let go of when its
//! count is 0, and nobody has to be asked.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use super::segment::{Segment, Store};
use super::{Alone, FanOutSettings, Slow};

/// Bytes that come in small pieces are joined up to this.
const JOINED: usize = 16 << 10;

/// What a source and its subscribers share.
#[derive(Debug)]
pub(super) struct Ring {
    /// Consecutive, the oldest first.
    segments: VecDeque<Segment>,
    /// Bytes taken from the source, which is the place of the next one.
    end: u64,
    takers: HashMap<u64, Taker>,
    next_id: u64,
    /// Takers that are counted in a segment, or are at the end.
    active: usize,
    /// Takers at the end: they have everything.
    current: usize,
    /// The segments' charges, held against the lag.
    charged: u64,
    lag: u64,
    slow: Slow,
    alone: Alone,
    /// Takers to be waited for before the first byte is taken; 0 once they were there.
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
    /// It broke off: what was taken is not all.
    Part,
}

#[derive(Debug)]
struct Taker {
    at: u64,
    lagged: bool,
    waker: Option<Waker>,
}

/// Whether bytes may be taken from the source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Yes,
    /// Nobody would get them.
    Discard,
    /// Somebody has to take some first, or to come.
    No,
}

/// What is there for a taker.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// This segment, of which it has so many bytes already.
    Segment(&'a mut Segment, usize),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Finished(Finish),
    /// It fell too far behind, and is not waited for any more.
    Lagged,
}

impl Ring {
    pub(super) fn new(settings: &FanOutSettings) -> Self {
        Self {
            segments: VecDeque::new(),
            end: 0,
            takers: HashMap::new(),
            next_id: 0,
            active: 0,
            current: 0,
            charged: 0,
            // A lag of 0 would have room for nothing, ever.
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

    /// How many get the next byte.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    /// Gives the stream its source; `false` where it has, or had, one.
    pub(super) fn claim_source(&mut self) -> bool {
        !std::mem::replace(&mut self.has_source, true)
    }

    /// A new taker, from the next byte on.
    pub(super) fn join(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let taker = Taker {
            at: self.end,
            lagged: false,
            waker: None,
        };
        self.takers.insert(id, taker);
        self.active += 1;
        self.current += 1;
        self.wake_source();
        id
    }

    /// The bytes that this taker has not taken; they are kept for it no longer.
    pub(super) fn leave(&mut self, id: u64) -> u64 {
        let Some(taker) = self.takers.remove(&id) else {
            return 0;
        };
        if !taker.lagged {
            self.active -= 1;
            *self.count_at(taker.at) -= 1;
            self.let_go();
            self.wake_source();
        }
        self.end - taker.at
    }

    /// Wakes the source when there may be room.
    #[cfg(feature = "tokio")]
    pub(super) fn register_source(&mut self, waker: &Waker) {
        register(&mut self.source_waker, waker);
    }

    /// Wakes this taker when there may be something for it.
    #[cfg(feature = "tokio")]
    pub(super) fn register(&mut self, id: u64, waker: &Waker) {
        if let Some(taker) = self.takers.get_mut(&id) {
            register(&mut taker.waker, waker);
        }
    }

    /// Asks for room for more bytes; where the policy has it so, those who are in the way lose
    /// their places.
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

    /// Those who still need the oldest segment.
    fn drop_laggards(&mut self) {
        let Some(oldest) = self.segments.front_mut() else {
            return;
        };
        self.active -= std::mem::take(&mut oldest.takers);
        let border = oldest.end();
        for taker in self.takers.values_mut() {
            if !taker.lagged && taker.at < border {
                taker.lagged = true;
                wake(&mut taker.waker);
            }
        }
        self.let_go();
    }

    /// Gives bytes to all who are there, and says whether somebody is.
    pub(super) fn publish(&mut self, store: Store) -> bool {
        let mut segment = Segment::new(self.end, store);
        self.end = segment.end();
        if self.active == 0 {
            return false;
        }
        segment.takers = std::mem::take(&mut self.current);
        self.charged += segment.charge();
        self.segments.push_back(segment);
        self.wake_takers();
        true
    }

    /// As [`publish`](Self::publish), for a few bytes: they are joined to those before them while
    /// there is room.
    pub(super) fn append(&mut self, bytes: &[u8]) -> bool {
        let joined = self.segments.back_mut();
        let Some(last) = joined.filter(|last| last.has_room(bytes.len(), JOINED)) else {
            let mut memory = Vec::with_capacity(JOINED.max(bytes.len()));
            memory.extend_from_slice(bytes);
            return self.publish(Store::Memory(memory));
        };
        last.append(bytes);
        last.takers += std::mem::take(&mut self.current);
        self.end = last.end();
        self.wake_takers();
        true
    }

    /// No more bytes come; the first word counts.
    pub(super) fn finish(&mut self, how: Finish) {
        self.finish.get_or_insert(how);
        self.wake_takers();
    }

    pub(super) fn next(&mut self, id: u64) -> Next<'_> {
        let Some(at) = self.place_of(id) else {
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

    /// The spliced segment that is next for this taker, if nobody else needs it: it need not be
    /// shared.
    pub(super) fn take_last(&mut self, id: u64) -> Option<Segment> {
        let at = self.place_of(id)?;
        let oldest = self.segments.front()?;
        if !oldest.is_piped() || oldest.start() != at || oldest.takers > 1 {
            return None;
        }
        let segment = self.pop()?;
        self.place(id, segment.end());
        self.let_go();
        Some(segment)
    }

    fn place_of(&self, id: u64) -> Option<u64> {
        let taker = self.takers.get(&id).filter(|taker| !taker.lagged);
        taker.map(|taker| taker.at)
    }

    /// This taker fell too far behind.
    pub(super) fn is_lagged(&self, id: u64) -> bool {
        self.place_of(id).is_none()
    }

    /// The taker has so many bytes more, of one segment.
    pub(super) fn advance(&mut self, id: u64, bytes: u64) {
        if let Some(at) = self.place_of(id) {
            *self.count_at(at) -= 1;
            self.place(id, at + bytes);
            self.let_go();
        }
    }

    /// Puts a taker that is counted nowhere at a place.
    fn place(&mut self, id: u64, at: u64) {
        if let Some(taker) = self.takers.get_mut(&id) {
            taker.at = at;
            *self.count_at(at) += 1;
        }
    }

    /// The count that a taker at this place is in.
    fn count_at(&mut self, at: u64) -> &mut usize {
        match self.index_of(at) {
            Some(index) => &mut self.segments[index].takers,
            None => &mut self.current,
        }
    }

    /// The segment that has the byte at this place; at the end there is none.
    fn index_of(&self, at: u64) -> Option<usize> {
        let index = self.segments.partition_point(|segment| segment.end() <= at);
        (index < self.segments.len()).then_some(index)
    }

    /// Drops what nobody needs any more.
    fn let_go(&mut self) {
        while self
            .segments
            .front()
            .is_some_and(|oldest| oldest.takers == 0)
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

    fn wake_takers(&mut self) {
        for taker in self.takers.values_mut() {
            wake(&mut taker.waker);
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
