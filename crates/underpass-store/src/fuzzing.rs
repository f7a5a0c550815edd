//! What the fuzz targets need, and nobody else.

use crate::cache::index;

/// Reads an index: whatever it holds, what is read is what would be written, and no block is beyond
/// the object.
///
/// # Panics
///
/// If it is not so.
pub fn index(bytes: &[u8]) {
    let Some(read) = index::parse(bytes) else {
        return;
    };
    let mut again = read.header.to_bytes();
    let seal = read.header.seal();
    for claim in &read.claims {
        let blocks = read.header.len.div_ceil(u64::from(read.header.block_size));
        assert!(claim.block < blocks);
        again.extend_from_slice(&claim.to_bytes(seal));
    }
    assert_eq!(again, bytes[..read.valid]);
}
