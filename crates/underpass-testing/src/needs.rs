//! Checks what this machine has. A test that cannot run says so visibly, or fails if everything is
//! required.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::is_static;

/// Whether `program` can be run.
pub fn tool(program: &str) -> bool {
    place_of(program).is_some()
        || lacking(&format!(
            "{program} is not installed (scripts/install-test-tools)"
        ))
}

/// Whether `program` can be run, for a test that may also be left out where everything is required:
/// to install it would take longer than what the test shows is worth.
pub fn optional_tool(program: &str) -> bool {
    let is_there = place_of(program).is_some();
    if !is_there {
        print(&format!("{program} is not installed, and need not be"));
    }
    is_there
}

/// Whether `program` can be run, and needs no libraries, for use where there are none.
pub fn static_tool(program: &str) -> bool {
    let place = place_of(program);
    place.is_some_and(|place| is_static(&place).unwrap_or(false))
        || lacking(&format!(
            "no static {program} is installed (scripts/install-test-tools)"
        ))
}

fn place_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/sbin", "/usr/sbin"]);
    let mut files = places.map(|place| Path::new(place).join(program));
    files.find(|file| file.is_file())
}

/// Whether the tests run as root, with the capabilities that root usually has. If not, says so.
pub fn root() -> bool {
    is_root() || lacking("only root can do it, with all capabilities")
}

/// As [`root`], but without a message. In most containers, root may neither mount nor make
/// interfaces.
pub fn is_root() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok());
    let wanted = CAP_NET_ADMIN | CAP_SYS_ADMIN;
    rustix::process::geteuid().is_root() && effective.is_some_and(|it| it & wanted == wanted)
}

/// Says that the test is skipped and why, in spite of the test harness's capture. Returns `false`,
/// for the caller to return.
///
/// # Panics
///
/// With `UNDERPASS_TESTS_REQUIRE_ALL=1`, because then the machine should have everything.
pub fn lacking(why: &str) -> bool {
    let required = std::env::var("UNDERPASS_TESTS_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!required, "{why}");
    print(why);
    false
}

/// Says what is skipped, or done only in part, and why.
pub fn print(why: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    // If nobody reads standard error, nobody misses the line.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
