//! Reads the configuration file again, and uses what can be changed while the server runs.

use std::sync::Arc;

use underpass_http::PathRules;

use super::auth::Authenticator;
use super::path_rules;
use crate::args::{ConfigArgs, ConfigFile, ServeArgs};
use crate::server::ReloadAction;

/// The option whose value can be changed while the server runs.
const AUTH: &str = "auth";

struct Reload {
    /// The file as it was when the server was started.
    started: ConfigFile,
    authenticator: Option<Arc<Authenticator>>,
    rules: Option<PathRules>,
}

/// What reads the file again, if there is one. If it is wrong, everything stays as it is.
pub(super) fn action(
    args: &ConfigArgs,
    authenticator: Option<Arc<Authenticator>>,
    rules: Option<PathRules>,
) -> Option<ReloadAction> {
    let reload = Reload {
        started: args.file.clone()?,
        authenticator,
        rules,
    };
    Some(Box::new(move || {
        let name = reload.started.path().display().to_string();
        reload.run().map_err(|failure| {
            format!("{failure}; the configuration that {name} had before stays in use")
        })
    }))
}

impl Reload {
    fn run(&self) -> Result<String, String> {
        let args = ServeArgs::again(&self.started).map_err(|failure| failure.to_string())?;
        let name = self.started.path().display();
        let Some(file) = &args.config.file else {
            return Err(format!("{name}: it is not read any more"));
        };
        let mut later = self.started.differences(file);
        let mut new_users = None;
        // Everything is checked before anything is used.
        if let Some(authenticator) = &self.authenticator {
            let given = &args.access.auth;
            let users = authenticator.read(given);
            let users = users.map_err(|failure| failure.to_string())?;
            // Without users nobody would be asked any more: that takes a restart.
            if !users.is_empty() {
                new_users = Some((authenticator, users));
                later.retain(|key| key != AUTH);
            }
        }
        let has_users = self.authenticator.is_some();
        path_rules::read(file, has_users).map_err(|failure| failure.to_string())?;
        if let Some(rules) = &self.rules {
            // They were checked when they were read.
            let replaced = rules.replace(file.rules().iter().cloned());
            replaced.map_err(|error| error.to_string())?;
        }
        if let Some((authenticator, users)) = new_users {
            authenticator.replace(users, args.access.auth.clone());
        }
        let note = match later.as_slice() {
            [] => String::new(),
            changed => format!("; a change of {} needs a restart", changed.join(", ")),
        };
        Ok(format!("{name} is read again{note}"))
    }
}
