//! The options of serving a bucket.

use std::path::PathBuf;
use std::time::Duration;

use crate::values::{duration, size};

// A bucket of a store that speaks S3.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bucket (s3://BUCKET/PREFIX)")]
pub(crate) struct BucketArgs {
    /// Keep objects in this directory, which a bucket needs. It is made if it is not there, and
    /// what is in it is used again after a restart
    #[arg(long, value_name = "DIR", env = "UNDERPASS_CACHE", hide_env = true)]
    pub(crate) cache: Option<PathBuf>,
    /// Use this much of the disk for it. What was used least recently is removed. Without it 10GiB
    #[arg(
        long,
        value_name = "SIZE",
        env = "UNDERPASS_CACHE_SIZE",
        hide_env = true
    )]
    #[arg(value_parser = size::bytes)]
    pub(crate) cache_size: Option<u64>,
    /// Remove what nobody asked for in this time
    #[arg(
        long,
        value_name = "TIME",
        env = "UNDERPASS_CACHE_MAX_AGE",
        hide_env = true
    )]
    #[arg(value_parser = duration::parse)]
    pub(crate) cache_max_age: Option<Duration>,
    /// Ask the store for an object's version at most this often: so long may an object still be
    /// served that was replaced. Without it 10s
    #[arg(
        long,
        value_name = "TIME",
        env = "UNDERPASS_REVALIDATE",
        hide_env = true
    )]
    #[arg(value_parser = duration::parse_or_zero)]
    pub(crate) revalidate: Option<Duration>,
    /// While the store does not answer, serve what it last confirmed in this time. Without it,
    /// nothing older than --revalidate
    #[arg(
        long,
        value_name = "TIME",
        env = "UNDERPASS_STALE_IF_ERROR",
        hide_env = true
    )]
    #[arg(value_parser = duration::parse)]
    pub(crate) stale_if_error: Option<Duration>,
}

impl BucketArgs {
    /// The first option that was given, which is for buckets only.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let table = [
            ("--cache", self.cache.is_some()),
            ("--cache-size", self.cache_size.is_some()),
            ("--cache-max-age", self.cache_max_age.is_some()),
            ("--revalidate", self.revalidate.is_some()),
            ("--stale-if-error", self.stale_if_error.is_some()),
        ];
        let mut given = table.iter().filter(|(_, given)| *given);
        given.next().map(|(option, _)| *option)
    }
}
