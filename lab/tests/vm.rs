//! `lab vm` boots real kernels. A boot is slow, so each test checks many things.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

mod support;

use support::{Bench, tail, text};
use underpass_testing::{bytes, needs};

const MIB: usize = 1 << 20;

#[test]
fn a_6_1_kernel_is_ready_for_transfers() {
    is_ready_for_transfers("6.1");
}

#[test]
fn a_6_12_kernel_is_ready_for_transfers() {
    is_ready_for_transfers("6.12");
}

/// For underpass too: it also relays between bad networks and fans out, because a boot is slow.
fn is_ready_for_transfers(kernel: &str) {
    let Some(bench) = Bench::new() else { return };
    if !needs::tool("ip") || !needs::tool("tc") {
        return;
    }
    let mut files = vec![
        bench.file("input", &bytes(1, MIB)),
        bench.file("script", include_bytes!("transfers.sh")),
        bench.file("relay.sh", include_bytes!("relay.sh")),
        bench.file("fan-out.sh", include_bytes!("fan-out.sh")),
    ];
    files.extend(with_libraries(&["ip", "tc"]));
    let files = files
        .iter()
        .flat_map(|path| ["--file".as_ref(), path.as_os_str()]);
    let output = bench
        .vm(kernel)
        .args(files)
        .args(["--", "sh", "/root/script"])
        .output()
        .unwrap();
    let lines = text(&output.stdout);
    let mut lines = lines.lines();
    let release = lines.next().unwrap_or_default();
    assert!(release.starts_with(&format!("{kernel}.")), "{output:?}");
    let version = concat!("underpass ", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [version, "all done"],
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    bench.left_nothing();
}

/// Programs of this machine, with the libraries and the linker that they need to run in another
/// one.
fn with_libraries(programs: &[&str]) -> BTreeSet<PathBuf> {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let place = |program| {
        let mut paths = dirs.iter().map(|dir| Path::new(dir).join(program));
        paths.find(|path| path.is_file()).unwrap()
    };
    let mut places: BTreeSet<_> = programs.iter().map(place).collect();
    let ldd = Command::new("ldd").args(&places).output().unwrap();
    let said = text(&ldd.stdout);
    // ldd's lines about the programs themselves end in a colon.
    let libraries = said
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'));
    places.extend(libraries.map(PathBuf::from));
    places
}

#[test]
fn a_6_1_kernel_hands_every_byte_out() {
    hands_every_byte_out("6.1");
}

#[test]
fn a_6_12_kernel_hands_every_byte_out() {
    hands_every_byte_out("6.12");
}

/// Also if a process stays behind that holds the pipes open, and if a signal ends the command.
fn hands_every_byte_out(kernel: &str) {
    let Some(bench) = Bench::new() else { return };
    let (one, other) = (bytes(2, MIB), bytes(3, MIB));
    let script = "sleep 1000 & cat /root/one & cat /root/other >&2; wait $!; wait %2; kill -9 $$";
    let output = bench
        .vm(kernel)
        .arg("--file")
        .arg(bench.file("one", &one))
        .arg("--file")
        .arg(bench.file("other", &other))
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(128 + 9), "{}", tail(&output));
    assert!(output.stdout == one, "{} bytes", output.stdout.len());
    // The lab's own messages, such as that it fetches a kernel, come first.
    assert!(
        output.stderr.ends_with(&other),
        "{} bytes",
        output.stderr.len()
    );
    bench.left_nothing();
}

#[test]
fn a_panic_is_told_with_what_the_kernel_said() {
    let Some(bench) = Bench::new() else { return };
    let output = bench
        .vm("6.1")
        .args(["--", "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 1000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("Kernel panic - not syncing: sysrq triggered crash"),
        "{said}"
    );
    assert!(
        said.lines()
            .last()
            .unwrap()
            .starts_with("lab: the machine was lost; "),
        "{said}"
    );
    bench.left_nothing();
}

#[test]
fn output_streams_and_ctrl_c_ends_the_machine() {
    let Some(bench) = Bench::new() else { return };
    let mut lab = bench
        .vm("6.12")
        .args(["--", "sh", "-c", "echo started; sleep 1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(lab.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "started\n");
    kill_process(Pid::from_child(&lab), Signal::INT).unwrap();
    let mut said = String::new();
    lab.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(lab.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.ends_with("lab: interrupted\n"), "{said}");
    bench.left_nothing();
}

#[test]
fn a_machine_that_does_not_end_is_ended() {
    let Some(bench) = Bench::new() else { return };
    // It is too long in either case, whether it is still booting then or already sleeping.
    let output = bench
        .vm("6.12")
        .args(["--timeout", "2", "--", "sleep", "1000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.ends_with("lab: the machine ran for 2 s, and was ended\n"),
        "{said}"
    );
    bench.left_nothing();
}

#[test]
fn what_cannot_be_booted_is_one_line() {
    let Some(bench) = Bench::new() else { return };
    let output = bench
        .vm("6.12")
        .args(["--module", "no_such_module", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = text(&output.stderr);
    let last = said.lines().last();
    assert_eq!(last, Some("lab: the kernel has no module no_such_module"));
    bench.left_nothing();
}

/// Debian's ordinary busybox needs libraries: the machine's kernel would panic without an init.
#[test]
fn a_busybox_with_libraries_is_named() {
    let Some(bench) = Bench::new() else { return };
    let dynamic = tempfile::tempdir().unwrap();
    let busybox = dynamic.path().join("busybox");
    underpass_testing::copy_program(env!("CARGO_BIN_EXE_lab"), &busybox);
    let path = std::env::var("PATH").unwrap();
    let output = bench
        .vm("6.12")
        .env("PATH", format!("{}:{path}", dynamic.path().display()))
        .args(["--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = text(&output.stderr);
    let place = busybox.to_str().unwrap();
    for word in [place, "needs libraries", "busybox-static"] {
        assert!(said.contains(word), "{said}");
    }
    bench.left_nothing();
}
