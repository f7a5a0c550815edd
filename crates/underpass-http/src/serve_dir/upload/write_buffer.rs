//! A buffer for frames of an upload, which are written together by a blocking thread.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};

use bytes::Bytes;

/// Bytes that are buffered before they are written, so that many frames need only one blocking
/// task.
const FULL: usize = 1 << 20;

/// Frames of at least this size are kept as they are; smaller ones are copied. A frame keeps the
/// whole buffer alive that it was read into, and those of hyper have up to 400 KiB.
const KEPT_FROM: usize = 64 << 10;

/// The most frames that are kept as they are. Their buffers take not much more memory than
/// [`FULL`].
const MOST_KEPT: usize = 8;

#[derive(Default)]
pub(super) struct WriteBuffer {
    pieces: Vec<Piece>,
    kept: usize,
    bytes: usize,
}

enum Piece {
    Kept(Bytes),
    Copied(Vec<u8>),
}

impl WriteBuffer {
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        if frame.len() >= KEPT_FROM {
            self.kept += 1;
            self.pieces.push(Piece::Kept(frame));
        } else if let Some(Piece::Copied(bytes)) = self.pieces.last_mut() {
            bytes.extend_from_slice(&frame);
        } else {
            self.pieces.push(Piece::Copied(frame.to_vec()));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL || self.kept >= MOST_KEPT
    }

    /// # Errors
    /// Those of write(2).
    pub(super) fn write_to(&self, file: &mut File) -> io::Result<()> {
        let slices = self.pieces.iter().map(|piece| match piece {
            Piece::Kept(bytes) => IoSlice::new(bytes),
            Piece::Copied(bytes) => IoSlice::new(bytes),
        });
        let mut slices: Vec<_> = slices.collect();
        let mut slices = slices.as_mut_slice();
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    /// A frame that counts how many frames of its kind exist.
    struct Frame {
        content: Vec<u8>,
        _life: Arc<()>,
    }

    impl AsRef<[u8]> for Frame {
        fn as_ref(&self) -> &[u8] {
            &self.content
        }
    }

    #[test]
    fn frames_of_any_size_hold_little() {
        let (lives, content) = (Arc::new(()), underpass_testing::bytes(1, 3 * FULL));
        for sizes in [
            &[1][..],
            &[KEPT_FROM],
            &[KEPT_FROM, 1],
            &[1000, KEPT_FROM - 1],
            &[FULL],
        ] {
            let (mut buffer, mut at) = (WriteBuffer::default(), 0);
            for size in sizes.iter().cycle() {
                if buffer.is_full() {
                    break;
                }
                let frame = Frame {
                    content: content[at..at + size].to_vec(),
                    _life: Arc::clone(&lives),
                };
                buffer.push(Bytes::from_owner(frame));
                at += size;
            }
            assert!(Arc::strong_count(&lives) <= 1 + MOST_KEPT, "{sizes:?}");
            assert!(buffer.pieces.len() <= 1 + 2 * MOST_KEPT, "{sizes:?}");
            let copied = |piece: &Piece| match piece {
                Piece::Kept(_) => 0,
                Piece::Copied(bytes) => bytes.capacity(),
            };
            assert!(buffer.pieces.iter().map(copied).sum::<usize>() <= 2 * FULL);
            let mut file = tempfile::tempfile().unwrap();
            buffer.write_to(&mut file).unwrap();
            let mut written = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut written).unwrap();
            assert!(written == content[..at], "{sizes:?}");
        }
    }
}
