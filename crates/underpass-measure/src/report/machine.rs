//! The machine that is measured.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// Operating system, release and architecture, as `uname -srm` prints them.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// Number of processors that this process may use.
    pub processors: usize,
    /// Size of the physical memory.
    pub memory_bytes: u64,
    /// The file system of the test file, such as `ext4`.
    pub file_system: String,
}

impl Machine {
    pub(crate) fn here(processors: usize, file_system: &str) -> Self {
        let uname = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        let words = [uname.sysname(), uname.release(), uname.machine()];
        Self {
            kernel: words.map(|word| word.to_string_lossy()).join(" "),
            processor: processor(),
            processors,
            memory_bytes: memory.totalram as u64 * u64::from(memory.mem_unit),
            file_system: file_system.to_owned(),
        }
    }
}

/// The `model name` of /proc/cpuinfo (proc(5)); some architectures have none.
fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim())
        .to_owned()
}
