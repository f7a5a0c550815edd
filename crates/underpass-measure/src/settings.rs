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
    /// The ways, in the order of the tables. The others are compared with [`Way::ReadWrite`].
    pub ways: Vec<Way>,
    /// The streams to measure, over loopback.
    pub streams: Vec<Stream>,
    /// The links. A link that cannot be set up is reported as missing.
    pub links: Vec<Link>,
    /// Sizes of files in bytes; none may be 0.
    pub sizes: Vec<u64>,
    /// Number of timed rounds.
    pub rounds: u32,
    /// Whether to sample where the sending thread's CPU time goes.
    pub profile: bool,
    /// Bytes that one sample moves. A smaller file is sent several times, at most 1000 times.
    pub sample_bytes: u64,
    /// Bytes over which the exact counts are taken: a multiple of 64 KiB.
    pub counted_bytes: u64,
    /// The directory of the test file, which has no name.
    pub directory: PathBuf,
    /// Sets scatter-gather of the veth pairs to the opposite of what their names say, so that
    /// checks can be seen to fail.
    pub swap_gather: bool,
}

impl MeasureSettings {
    /// Sizes from 1 KiB to 1 GiB: takes a few minutes.
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

    /// Only counts, no times.
    pub fn counts_only() -> Self {
        Self {
            sizes: Vec::new(),
            rounds: 0,
            profile: false,
            ..Self::thorough()
        }
    }

    /// Sizes up to 16 MiB, and fewer rounds: takes a few seconds.
    pub fn quick() -> Self {
        Self {
            sizes: vec![4 << 10, 64 << 10, 1 << 20, 16 << 20],
            rounds: 3,
            sample_bytes: 4 << 20,
            ..Self::thorough()
        }
    }
}
