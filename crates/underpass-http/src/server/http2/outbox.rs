//! The frames that are on their way: collected in a turn, sent in a few calls.
//!
//! Memory is copied here, because hyper keeps it only until its write returns. Of files only the
//! place is kept. A frame of a file that has changed can be taken out again, as long as none of it
//! was sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use super::frame::{self, FrameHead, HEAD};
use crate::server::state::Streams;
use crate::sys::mapping::{FileSlice, file_position};

/// The most slices that are sent in one call.
pub(super) const SLICES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// The memory of the pieces, in their order.
    memory: Vec<u8>,
    /// How much of `memory` was sent.
    memory_sent: usize,
    /// How much of the first piece was sent.
    piece_sent: usize,
    len: usize,
    /// How much is to come of the frame that hyper wrote last.
    to_come: usize,
    /// The head of that frame.
    current: Option<FrameHead>,
    /// Whether that frame is left out.
    is_left_out: bool,
    /// Streams whose frames are left out, because their file has changed.
    dead: Vec<u32>,
    /// Data that was left out. The peer will never give it back to the connection's window.
    left_out: u32,
}

/// A part of a frame, or several small frames.
#[derive(Debug)]
struct Piece {
    content: Content,
    /// Whether it begins with the head of a frame.
    is_start: bool,
    /// If this is data: its stream, and the bytes without the head.
    data: Option<(u32, usize)>,
    /// The file that it was copied from, if all of a frame was.
    copied_from: Option<FileSlice>,
    /// What its last byte ends. The last piece of a frame of data has this.
    ends: Option<Ends>,
}

#[derive(Debug)]
enum Content {
    /// The next bytes of the common memory.
    Memory(usize),
    Own(Vec<u8>),
    File(FileSlice),
}

/// What a frame ends, once it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// A part of a response: its stream, and how many bytes of the body.
    Data(u32, usize),
    Response(u32, usize),
    Stream(u32),
    /// GOAWAY: streams above this number are ignored.
    Above(u32),
}

impl Piece {
    fn len(&self) -> usize {
        match &self.content {
            Content::Memory(len) => *len,
            Content::Own(bytes) => bytes.len(),
            Content::File(slice) => slice.as_ref().len(),
        }
    }

    /// The file that its bytes are of.
    fn file(&self) -> Option<&FileSlice> {
        match &self.content {
            Content::File(slice) => Some(slice),
            Content::Memory(_) | Content::Own(_) => self.copied_from.as_ref(),
        }
    }

    fn is_of(&self, stream: u32) -> bool {
        self.data.is_some_and(|(of, _)| of == stream)
    }
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes what hyper writes: frames, or the next part of one.
    pub(super) fn put(&mut self, slices: &[IoSlice<'_>], streams: &Streams) -> usize {
        for slice in slices {
            let mut at = 0;
            while at < slice.len() {
                at += self.put_some(&slice[at..], streams);
            }
        }
        slices.iter().map(|slice| slice.len()).sum()
    }

    /// Takes the rest of the current frame, or the next frame as far as it is here.
    fn put_some(&mut self, bytes: &[u8], streams: &Streams) -> usize {
        let (head, is_start) = match self.current {
            Some(head) if self.to_come > 0 => (head, false),
            _ => {
                // hyper writes heads whole.
                let Some(head) = bytes.first_chunk::<HEAD>() else {
                    self.put_own(bytes, None);
                    return bytes.len();
                };
                let head = FrameHead::parse(head);
                self.to_come = HEAD + head.len;
                self.current = Some(head);
                self.is_left_out = self.is_of_dead(head);
                (head, true)
            }
        };
        let len = self.to_come.min(bytes.len());
        self.to_come -= len;
        if !self.is_left_out {
            self.put_piece(head, is_start, &bytes[..len], streams);
        }
        len
    }

    /// Whether a frame is data of a dead stream. Where such a stream would have ended, it is reset.
    fn is_of_dead(&mut self, head: FrameHead) -> bool {
        let Some(at) = self.dead.iter().position(|dead| *dead == head.stream) else {
            return false;
        };
        if head.kind == frame::DATA {
            self.left_out += head.len as u32;
        }
        if head.ends_stream() || head.kind == frame::RST_STREAM {
            self.dead.swap_remove(at);
        }
        if head.ends_stream() {
            self.reset(head.stream);
        }
        head.kind != frame::RST_STREAM
    }

    fn reset(&mut self, stream: u32) {
        let reset = frame::with_number(frame::RST_STREAM, stream, frame::INTERNAL_ERROR);
        self.put_own(&reset, Some(Ends::Stream(stream)));
    }

    /// Puts a frame of ours between hyper's.
    pub(super) fn put_own(&mut self, frame: &[u8], ends: Option<Ends>) {
        self.memory.extend_from_slice(frame);
        self.push(Piece {
            content: Content::Memory(frame.len()),
            is_start: true,
            data: None,
            copied_from: None,
            ends,
        });
    }

    fn put_piece(&mut self, head: FrameHead, is_start: bool, bytes: &[u8], streams: &Streams) {
        let ends = match head.kind {
            _ if self.to_come > 0 => None,
            frame::DATA if head.ends_stream() => Some(Ends::Response(head.stream, head.len)),
            _ if head.ends_stream() => Some(Ends::Response(head.stream, 0)),
            frame::DATA => Some(Ends::Data(head.stream, head.len)),
            frame::RST_STREAM => Some(Ends::Stream(head.stream)),
            frame::GOAWAY => above(bytes).map(Ends::Above),
            _ => None,
        };
        let payload = bytes.len() - if is_start { HEAD } else { 0 };
        // h2 copies small frames.
        let is_copy = is_start && head.kind == frame::DATA && self.to_come == 0 && payload > 0;
        let copied_from = is_copy.then(|| streams.source(head.stream)).flatten();
        let slice = file_position(bytes).and_then(|position| position.slice(bytes.len()));
        let content = if let Some(slice) = slice {
            Content::File(slice)
        } else {
            self.memory.extend_from_slice(bytes);
            Content::Memory(bytes.len())
        };
        self.push(Piece {
            content,
            is_start,
            data: (head.kind == frame::DATA).then_some((head.stream, payload)),
            copied_from,
            ends,
        });
    }

    fn push(&mut self, piece: Piece) {
        self.len += piece.len();
        // Frames without data share a piece, up to one that ends something.
        if let Some(last) = self.pieces.back_mut()
            && let (Content::Memory(before), Content::Memory(len)) =
                (&mut last.content, &piece.content)
            && (&last.data, &piece.data, last.ends) == (&None, &None, None)
        {
            *before += len;
            last.ends = piece.ends;
            return;
        }
        self.pieces.push_back(piece);
    }

    /// The first slices, up to a limit in bytes. Memory that lies together is one slice.
    pub(super) fn slices<'a>(&'a self, most: usize, out: &mut Vec<IoSlice<'a>>) {
        let mut memory = self.memory_sent..self.memory_sent;
        let (mut total, mut skip) = (0, self.piece_sent);
        for piece in &self.pieces {
            if total >= most || out.len() + 2 > SLICES {
                break;
            }
            let other = match &piece.content {
                Content::Memory(_) => None,
                Content::Own(bytes) => Some(&bytes[..]),
                Content::File(slice) => Some(slice.as_ref()),
            };
            match other {
                None => memory.end += piece.len() - skip,
                Some(bytes) => {
                    if !memory.is_empty() {
                        out.push(IoSlice::new(&self.memory[memory.clone()]));
                        memory.start = memory.end;
                    }
                    out.push(IoSlice::new(&bytes[skip..]));
                }
            }
            total += piece.len() - skip;
            skip = 0;
        }
        if !memory.is_empty() {
            out.push(IoSlice::new(&self.memory[memory]));
        }
    }

    /// `count` bytes were sent. Calls `ended` for what ends with them, and returns how many of them
    /// were slices of files.
    pub(super) fn advance(&mut self, mut count: usize, mut ended: impl FnMut(Ends)) -> usize {
        let mut of_files = 0;
        self.len -= count;
        while let Some(piece) = self.pieces.front() {
            let left = piece.len() - self.piece_sent;
            let now = left.min(count);
            match piece.content {
                Content::Memory(_) => self.memory_sent += now,
                Content::File(_) => of_files += now,
                Content::Own(_) => {}
            }
            count -= now;
            if now < left {
                self.piece_sent += now;
                break;
            }
            self.piece_sent = 0;
            if let Some(ends) = piece.ends {
                ended(ends);
            }
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            self.memory.clear();
            self.memory_sent = 0;
        }
        of_files
    }

    /// Takes out the frames of files that have changed, and has their streams reset. Calls
    /// `changed` with each stream and why. The first frame must not have begun to be sent, or must
    /// have been [kept](Self::keep_first).
    pub(super) fn check(&mut self, mut changed: impl FnMut(u32, &io::Error)) {
        let mut dead = Vec::new();
        let mut last: Option<(&FileSlice, io::Result<()>)> = None;
        for piece in &self.pieces {
            let (Some(slice), Some((stream, _))) = (piece.file(), piece.data) else {
                continue;
            };
            let (_, checked) = match last.take() {
                Some((before, checked)) if before.is_of_same_file(slice) => {
                    last.insert((slice, checked))
                }
                _ => last.insert((slice, slice.check())),
            };
            if let Err(error) = checked
                && !dead.contains(&stream)
            {
                dead.push(stream);
                changed(stream, error);
            }
        }
        for stream in dead {
            self.take_out(stream);
        }
    }

    /// Takes out the data of a stream.
    fn take_out(&mut self, stream: u32) {
        self.compact();
        let pieces = std::mem::take(&mut self.pieces);
        let memory = std::mem::take(&mut self.memory);
        let (mut at, mut is_end) = (0, false);
        for piece in pieces {
            let is_out = piece.is_of(stream);
            if let Content::Memory(len) = piece.content {
                if !is_out {
                    self.memory.extend_from_slice(&memory[at..at + len]);
                }
                at += len;
            }
            if is_out {
                self.len -= piece.len();
                self.left_out += piece.data.map_or(0, |(_, payload)| payload as u32);
                is_end |= matches!(piece.ends, Some(Ends::Response(..)));
            } else {
                self.pieces.push_back(piece);
            }
        }
        if let Some(head) = self.current
            && head.stream == stream
            && self.to_come > 0
        {
            self.is_left_out = true;
            self.left_out += self.to_come as u32;
            is_end |= head.ends_stream();
        }
        if is_end {
            self.reset(stream);
        } else {
            self.dead.push(stream);
        }
    }

    /// Forgets what was sent.
    fn compact(&mut self) {
        self.memory.drain(..std::mem::take(&mut self.memory_sent));
        let sent = std::mem::take(&mut self.piece_sent);
        match self.pieces.front_mut().map(|piece| &mut piece.content) {
            Some(Content::Memory(len)) => *len -= sent,
            Some(Content::Own(bytes)) => drop(bytes.drain(..sent)),
            // What is left of a file is memory: see `keep_first`.
            Some(Content::File(_)) | None => {}
        }
    }

    /// If the first frame has begun to be sent, its rest becomes memory. Then a change of its file
    /// does not reach it any more.
    ///
    /// # Errors
    /// Those of a file that has changed already.
    pub(super) fn keep_first(&mut self) -> io::Result<()> {
        let is_begun = |piece: &Piece| self.piece_sent > 0 || !piece.is_start;
        if !self.pieces.front().is_some_and(is_begun) {
            return Ok(());
        }
        let mut sent = self.piece_sent;
        for piece in &mut self.pieces {
            if let Content::File(slice) = &piece.content {
                let bytes = slice.as_ref()[sent..].to_vec();
                slice.check()?;
                piece.content = Content::Own(bytes);
                self.piece_sent -= sent;
            }
            // Only of the first piece some was sent.
            sent = 0;
            piece.copied_from = None;
            if piece.ends.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Data that was left out since this was called last.
    pub(super) fn take_left_out(&mut self) -> u32 {
        std::mem::take(&mut self.left_out)
    }
}

/// The highest number of a stream that a GOAWAY says was looked at.
fn above(frame: &[u8]) -> Option<u32> {
    let number = frame.get(HEAD..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number) & (u32::MAX >> 1))
}

#[cfg(test)]
mod tests;
