//! The statically linked `underpass` that runs in a machine without libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Context, Error, Result};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "static";

/// Builds it in a directory of its own in `target`. If nothing has changed, this returns at once.
pub(super) fn build(workspace: &Path, target: &Path) -> Result<PathBuf> {
    let dir = target.join("static");
    let binary = dir.join(TARGET).join(PROFILE).join("underpass");
    if !binary.is_file() {
        eprintln!("lab: building a static underpass into {}", dir.display());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--quiet", "-p", "underpass-cli"])
        .args(["--target", TARGET, "--profile", PROFILE, "--target-dir"])
        .arg(&dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context(|| "cannot start cargo".into())?;
    if !status.success() {
        return Err(Error::new(format!("cargo build failed ({status})")));
    }
    Ok(binary)
}
