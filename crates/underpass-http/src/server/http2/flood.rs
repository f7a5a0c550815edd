//! A limit on frames that cost a server something and a client nothing: PING, SETTINGS, RST_STREAM
//! and their like.

use super::frame::{self, FrameHead};

/// What a connection may spend at once. Browsers that leave a page with hundreds of images cancel
/// as many streams.
const MOST: u32 = 10_000;

/// What is given back every second.
const EACH_SECOND: u64 = 1_000;

/// The cost of a stream that the client cancels, relative to a PING: it was opened and answered.
const RESET: u32 = 5;

/// What a frame of data that was sent gives back. Clients answer one by up to two WINDOW_UPDATEs.
const SENT_DATA: u32 = 2;

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct FloodLimit {
    left: u32,
    /// When tokens were last given back, in milliseconds.
    filled_at: u64,
}

impl FloodLimit {
    pub(super) fn new(now: u64) -> Self {
        Self {
            left: MOST,
            filled_at: now,
        }
    }

    /// Takes the cost of a frame that has arrived. False if there were too many.
    pub(super) fn take(&mut self, head: FrameHead, now: u64) -> bool {
        let cost = cost(head);
        if self.left < cost {
            self.fill(now);
        }
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    pub(super) fn sent_data(&mut self) {
        self.left = (self.left + SENT_DATA).min(MOST);
    }

    fn fill(&mut self, now: u64) {
        let passed = now.saturating_sub(self.filled_at);
        let tokens = (passed * EACH_SECOND / 1000).min(u64::from(MOST)) as u32;
        if tokens > 0 {
            self.left = (self.left + tokens).min(MOST);
            self.filled_at = now;
        }
    }
}

fn cost(head: FrameHead) -> u32 {
    match head.kind {
        // Streams are limited in number, and so are the frames of a head.
        frame::HEADERS | frame::CONTINUATION => 0,
        // A frame of a byte or two costs as much as an empty one.
        frame::DATA => u32::from(head.len < 16 && !head.has(frame::END_STREAM)),
        frame::RST_STREAM => RESET,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn head(kind: u8, len: usize) -> FrameHead {
        FrameHead {
            len,
            kind,
            flags: 0,
            stream: 1,
        }
    }

    fn taken(limit: &mut FloodLimit, head: FrameHead, now: u64) -> u32 {
        let taken = (0..=2 * MOST).take_while(|_| limit.take(head, now)).count();
        taken as u32
    }

    #[test]
    fn floods_end_and_what_is_given_back_may_be_spent_again() {
        for (kind, cost) in [(PING, 1), (frame::RST_STREAM, RESET), (0xbe, 1)] {
            let mut limit = FloodLimit::new(0);
            assert_eq!(
                taken(&mut limit, head(kind, 8), 500),
                MOST / cost + 500 / cost
            );
            assert_eq!(taken(&mut limit, head(kind, 8), 1_500), 1_000 / cost);
        }
    }

    #[test]
    fn a_download_pays_for_its_window_updates() {
        let mut limit = FloodLimit::new(0);
        for _ in 0..3 * MOST {
            limit.sent_data();
            assert!(limit.take(head(frame::WINDOW_UPDATE, 4), 0));
            assert!(limit.take(head(frame::WINDOW_UPDATE, 4), 0));
        }
    }

    #[test]
    fn uploads_are_no_floods_and_drops_of_them_are() {
        let mut limit = FloodLimit::new(0);
        assert_eq!(taken(&mut limit, head(frame::DATA, 1000), 0), 2 * MOST + 1);
        assert_eq!(taken(&mut limit, head(frame::DATA, 1), 0), MOST);
    }
}
