//! The options of archives of directories.

use clap::builder::BoolishValueParser;

use crate::values::size;

// Directories as tar and zip archives.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Archives")]
pub(crate) struct ArchiveArgs {
    /// Do not send directories as archives. Otherwise those that are listed are sent as one file
    /// for /DIRECTORY/?archive=tar or zip, and the listing has links
    #[arg(long, env = "UNDERPASS_NO_ARCHIVE", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) no_archive: bool,
    /// The opposite of --no-archive, and the default
    #[arg(long, overrides_with = "no_archive", hide = true)]
    pub(crate) archive: bool,
    /// Refuse archives of more files and directories
    #[arg(
        long,
        value_name = "N",
        env = "UNDERPASS_ARCHIVE_MAX_FILES",
        hide_env = true
    )]
    #[arg(default_value = "2000000", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) archive_max_files: u64,
    /// Refuse archives of more bytes
    #[arg(
        long,
        value_name = "SIZE",
        env = "UNDERPASS_ARCHIVE_MAX_SIZE",
        hide_env = true
    )]
    #[arg(value_parser = size::bytes)]
    pub(crate) archive_max_size: Option<u64>,
}

impl ArchiveArgs {
    pub(crate) fn wanted(&self) -> bool {
        self.archive || !self.no_archive
    }
}
