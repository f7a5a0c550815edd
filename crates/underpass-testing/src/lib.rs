//! Helpers for the tests of all crates: content, and checks of what a machine has.

pub mod needs;
mod program;
pub mod s3;

pub use program::{copy_program, is_static};

/// `length` bytes that depend on `seed` (xorshift): content without repetitions, and the same in
/// every run.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(length);
    content
}
