//! `underpass serve --check-config`: everything that a start checks, but for addresses.

use std::sync::Arc;

use underpass_http::ServerStats;

use super::https::Https;
use super::target::Target;
use super::{path_rules, service};
use crate::args::ServeArgs;
use crate::exit::Failure;
use crate::report;

/// Checks the options, and the files that they name. The configuration file was read before.
pub(super) fn check(args: &ServeArgs) -> Result<(), Failure> {
    let target = Target::of(args)?;
    let rules = path_rules::of(&args.config, args.access.has_users())?;
    let stats = Arc::<ServerStats>::default();
    service::build(args, &target, &stats, rules.as_ref())?;
    Https::check(&args.https)?;
    if !args.reporting.monitor.quiet {
        match &args.config.file {
            Some(file) => {
                report::notice(format_args!("{}: nothing is wrong", file.path().display()));
            }
            None => report::notice("nothing is wrong with the options"),
        }
    }
    Ok(())
}
