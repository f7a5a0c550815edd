//! The rules for paths of a configuration file.

use underpass_http::PathRules;

use crate::args::{ConfigArgs, ConfigFile};
use crate::exit::Failure;

/// The rules, if there is a file: later it may have some.
pub(super) fn of(args: &ConfigArgs, has_users: bool) -> Result<Option<PathRules>, Failure> {
    let read = |file| read(file, has_users);
    args.file.as_ref().map(read).transpose()
}

/// The rules of a file. Refuses those that would let nobody in.
pub(super) fn read(file: &ConfigFile, has_users: bool) -> Result<PathRules, Failure> {
    // They were checked when they were read.
    let rules = PathRules::new(file.rules().iter().cloned()).map_err(Failure::usage)?;
    if !has_users && rules.need_authentication() {
        return Err(Failure::usage(format_args!(
            "{}: access = \"auth\" needs --auth or --auth-file to say who that is",
            file.path().display()
        )));
    }
    Ok(rules)
}
