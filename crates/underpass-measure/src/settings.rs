//! What is to be measured.

use std::path::PathBuf;

use crate::network::Link;
use crate::stream::Stream;
use crate::way::Way;

/// What is to be measured, and how thoroughly.
///
/// ```
/// use underpass_measure::{MeasureSettings, Way};
///
/// let mut settings = MeasureSettings::quick();
/// settings.ways = vec![Way::ReadWrite, Way::Sendfile];
/// assert!(settings.sizes.iter().all(|&bytes| bytes <= 64 << 20));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MeasureSettings {
    /// The ways, in the order of the tables. [`Way::ReadWrite`] is what the others are compared
    /// with.
    pub ways: Vec<Way>,
    /// What is done with streams, over loopback.
    pub streams: Vec<Stream>,
    /// The links; one that cannot be set up is reported as missing.
    pub links: Vec<Link>,
    /// Sizes of files in bytes, none 0.
    pub sizes: Vec<u64>,
    /// Rounds that are timed.
    pub rounds: u32,
    /// Also look where the sending thread's CPU time goes.
    pub profile: bool,
    /// Bytes that one sample moves; a smaller file is sent again and again, but at most 1000 times.
    pub sample_bytes: u64,
    /// Bytes that the exact counts are taken over: a multiple of 64 KiB.
    pub counted_bytes: u64,
    /// Where the test file is made; it never has a name.
    pub directory: PathBuf,
    /// Scatter-gather of the veth pairs is the contrary of what they are called after, to see
    /// checks fail.
    pub swap_gather: bool,
}

impl MeasureSettings {
    /// From 1 KiB to 1 GiB: some minutes.
    pub fn thorough() -> Self {
        Self {
            ways: Way::ALL.to_vec(),
            streams: Stream::ALL.to_vec(),
            links: Link::ALL.to_vec(),
            sizes: vec![
                1 << 10,
                4 << 10,
                16 << 10,
                64 << 10,
                1 << 20,
                16 << 20,
                1 << 30,
            ],
            rounds: 7,
            profile: true,
            sample_bytes: 64 << 20,
            counted_bytes: 64 << 20,
            directory: std::env::temp_dir(),
            swap_gather: false,
        }
    }

    /// What is counted, and nothing that is timed.
    pub fn counts_only() -> Self {
        Self {
            sizes: Vec::new(),
            rounds: 0,
            profile: false,
            ..Self::thorough()
        }
    }

    /// Up to 16 MiB, fewer rounds: some seconds.
    pub fn quick() -> Self {
        Self {
            sizes: vec![4 << 10, 64 << 10, 1 << 20, 16 << 20],
            rounds: 3,
            sample_bytes: 4 << 20,
            ..Self::thorough()
        }
    }
}
