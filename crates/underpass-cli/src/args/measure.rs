//! The command line of `underpass measure`.

use std::path::PathBuf;
use std::str::FromStr;

use underpass_measure::page::Language;
use underpass_measure::{Link, Stream, Way};

use crate::values::size;

// `underpass measure`
#[derive(Debug, clap::Args)]
pub(crate) struct MeasureArgs {
    /// Take seconds instead of minutes: files up to 16 MiB, three rounds
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only count copies and calls; take no times
    #[arg(long, conflicts_with_all = ["quick", "sizes", "rounds"])]
    pub(crate) counts_only: bool,
    /// Sizes of files, such as 4K,1M,1G [default: seven, from 1K to 1G]
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = size::bytes)]
    pub(crate) sizes: Vec<u64>,
    /// Only these ways to send a file (read-write, mmap-write, sendfile, splice, send-zerocopy,
    /// underpass; with TLS: tls-read-write, tls-seal, tls-sendfile) or to pass a stream on (relay,
    /// fan-out)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) ways: Vec<Measured>,
    /// Only over these links: loopback, veth, veth-no-gather
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) links: Vec<Link>,
    /// Number of timed rounds [default: 7, and 3 with --quick]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Where to create the test file, which has no name [default: the directory for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Compare the claims about copies, encryption and mode switches with the counts. Exit code 0:
    /// all held; 1: one failed; 4: none failed, but not all could be counted here
    #[arg(long)]
    pub(crate) verify: bool,
    /// Swap scatter-gather on the links, so that --verify must fail
    #[arg(long, hide = true)]
    pub(crate) swap_gather: bool,
    /// Also write the report as one self-contained HTML page with diagrams
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The page's language: en, zh
    #[arg(long, value_name = "LANG", default_value = "en", requires = "html")]
    pub(crate) lang: Language,
    /// Measure nothing: print, draw and verify the report of an earlier run with --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "counts_only", "sizes", "ways", "links", "rounds", "dir"])]
    pub(crate) from: Option<PathBuf>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What a name in `--ways` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// A way to send a file.
    File(Way),
    /// A way to pass a stream on.
    Stream(Stream),
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stream = text.parse().map(Self::Stream);
        stream
            .or_else(|_| text.parse().map(Self::File))
            .map_err(|error| {
                let streams = Stream::ALL.map(Stream::name).join(", ");
                format!("{error}, {streams}")
            })
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  underpass measure --quick
  # As root it also counts calls and copies in the kernel:
  sudo underpass measure --quick
  sudo underpass measure --counts-only --verify   # do the claims hold here?
  sudo underpass measure --html measured.html     # pictures, for the browser
  # Encryption in user space and in the kernel:
  sudo underpass measure --ways tls-read-write,tls-seal,tls-sendfile
  # One stream to one and to many, by copying and by splicing:
  underpass measure --ways relay,fan-out
  sudo underpass measure --sizes 4K,1M,1G --json > measured.json
  underpass measure --from measured.json --html measured.html --lang zh

As root it counts inside the kernel: calls by tracepoints, and copies exactly
if the kernel has kprobes. It then also measures over veth pairs that it makes,
one with scatter-gather off. Without root, it says what root would add. It
leaves nothing behind.";
