//! `lab vm`: runs a command under one of Debian's kernels, in a machine that QEMU emulates. It
//! needs neither KVM nor root.

mod binary;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod report;
mod tools;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use self::initramfs::Contents;
use self::kernel::Version;
use self::machine::{Machine, Outcome};
use crate::error::{Context, Result};
use crate::run::{Invocation, run as run_program};
use crate::{size, testfile};

/// The exit code if the machine itself fails, as for timeout(1).
const FAILED: u8 = 125;

const EXAMPLES: &str = "\
Examples:
  lab vm --kernel 6.1 -- underpass --version
  lab vm --kernel 6.12 -- sh -c 'uname -r; ls /sys/kernel/tracing/events/tcp'

The machine has busybox, underpass, /tmp in memory and an ext4 file system at /mnt, where the command starts, as root. \
What the command leaves running is killed when it ends.

The exit code is the command's, 128 + N when signal N ended it; 124: out of time, 125: the machine failed, \
130: interrupted.

Kernels are kept in target/lab-vm, or in $UNDERPASS_LAB_CACHE; remove one there to have the newest fetched.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Version of Debian's cloud kernel
    #[arg(long, default_value = "6.12")]
    kernel: Version,
    /// The statically linked underpass to use [default: one is built]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Put this file into the machine's /root; may be given more than once
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Load this kernel module too, such as xfs or btrfs; may be given more than once
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// Boot the kernel with this parameter too, such as lockdown=integrity; may be given more than
    /// once
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size::parse)]
    memory: u64,
    /// Processors of the machine
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Size of the file system at /mnt; only what is written to it takes up space here
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size::parse)]
    disk: u64,
    /// End the machine after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
    /// When the machine has ended, show what the kernel printed
    #[arg(long, short)]
    verbose: bool,
    /// The command and its arguments, after --
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command. Failures of the machine are reported here and not returned, because only so
/// can the exit code be chosen.
pub(crate) fn run(options: &Options) -> ExitCode {
    let code = match boot(options) {
        Ok(outcome) => {
            eprint!("{}", report::message(&outcome, options));
            report::code(&outcome.end)
        }
        Err(error) => {
            eprintln!("lab: {error}");
            FAILED
        }
    };
    ExitCode::from(code)
}

fn boot(options: &Options) -> Result<Outcome> {
    let busybox = tools::check()?;
    let workspace = workspace();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |dir| workspace.join(dir));
    let cache = std::env::var_os("UNDERPASS_LAB_CACHE")
        .map_or_else(|| target.join("lab-vm"), PathBuf::from);
    let underpass = match &options.binary {
        Some(path) => path.clone(),
        None => binary::build(workspace, &target)?,
    };
    let kernel = kernel::find(options.kernel, &cache)?;
    let more = options.module.iter().map(String::as_str);
    let modules = modules::in_order(&kernel.modules, modules::ALWAYS.into_iter().chain(more))?;
    let dir = testfile::work_dir(&std::env::temp_dir())?;
    let contents = Contents {
        busybox: &busybox,
        underpass: &underpass,
        modules: &modules,
        files: &options.file,
        command: &options.command,
    };
    let machine = Machine {
        kernel: &kernel.image,
        initramfs: &initramfs::make(dir.path(), &contents)?,
        disk: &make_disk(dir.path(), options.disk)?,
        memory: options.memory,
        cpus: options.cpus,
        talkative: options.verbose,
        parameters: &options.parameter,
        timeout: Duration::from_secs(options.timeout),
    };
    machine::run(&machine, dir.path())
}

/// The workspace that this crate was built from.
fn workspace() -> &'static Path {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab)
}

fn make_disk(dir: &Path, bytes: u64) -> Result<PathBuf> {
    let disk = testfile::make_sparse(dir, "disk", bytes)?;
    run_program(&Invocation::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk))
        .context(|| "cannot make a file system".into())?;
    Ok(disk)
}
