//! Java's rivals are compiled before they are run; their classes lie beside the lab's own program.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::error::{Context, Error, Result};
use crate::program;
use crate::run::{Invocation, run};

/// The directory of the classes.
pub(super) fn classes() -> Result<PathBuf> {
    let lab = program::lab().map_err(Error::new)?;
    Ok(lab.with_file_name("lab-java"))
}

/// Compiles a source file, once per process.
pub(super) fn compile(name: &str, text: &str) -> Result<()> {
    static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut done = DONE.lock().map_err(|error| Error::new(error.to_string()))?;
    if done.iter().any(|known| known == name) {
        return Ok(());
    }
    let classes = classes()?;
    let source = classes.join(name);
    let written = fs::create_dir_all(&classes).and_then(|()| fs::write(&source, text));
    written.context(|| format!("cannot write {}", source.display()))?;
    let javac = program::on_path("javac").ok_or_else(|| Error::new("no javac on PATH"))?;
    run(&Invocation::new(javac).arg("-d").arg(&classes).arg(&source))?;
    done.push(name.to_owned());
    Ok(())
}
