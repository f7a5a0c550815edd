//! The tests of `underpass-tls` under kernels that have TLS, where it is the kernel that seals and
//! opens the records. The development kernel of many has none.

use std::path::{Path, PathBuf};
use std::process::Command;

mod support;

use support::{Bench, tail, text};

#[test]
fn a_6_1_kernel_seals_the_records() {
    seals_the_records("6.1");
}

#[test]
fn a_6_12_kernel_seals_the_records() {
    seals_the_records("6.12");
}

#[test]
fn a_6_1_kernel_encrypts_for_every_command() {
    encrypts_for_every_command("6.1");
}

#[test]
fn a_6_12_kernel_encrypts_for_every_command() {
    encrypts_for_every_command("6.12");
}

#[test]
fn a_6_1_kernel_encrypts_a_tree() {
    all_by_the_kernel("6.1", include_bytes!("tls-tree.sh"));
}

#[test]
fn a_6_12_kernel_encrypts_a_tree() {
    all_by_the_kernel("6.12", include_bytes!("tls-tree.sh"));
}

/// `send`, `recv`, `relay` and `fan-out`, by sendfile and splice alone.
fn encrypts_for_every_command(kernel: &str) {
    all_by_the_kernel(kernel, include_bytes!("tls.sh"));
}

fn all_by_the_kernel(kernel: &str, script: &[u8]) {
    let Some(bench) = Bench::new() else { return };
    let output = bench
        .vm(kernel)
        .arg("--file")
        .arg(bench.file("script", script))
        .args(["--", "sh", "/root/script"])
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", tail(&output));
    assert_eq!(said.lines().last(), Some("all by the kernel"), "{said}");
    bench.left_nothing();
}

#[test]
fn a_6_1_kernel_sends_a_sparse_file_in_full_records_without_a_copy() {
    sends_a_sparse_file("6.1");
}

#[test]
fn a_6_12_kernel_sends_a_sparse_file_in_full_records_without_a_copy() {
    sends_a_sparse_file("6.12");
}

/// Counted in the kernel, which takes a few minutes for 1 GiB: the script says how to have that.
fn sends_a_sparse_file(kernel: &str) {
    let Some(bench) = Bench::new() else { return };
    let output = bench
        .vm(kernel)
        .args(["--timeout", "600", "--file"])
        .arg(bench.file("ktls.sh", include_bytes!("ktls.sh")))
        .args(["--", "sh", "/root/ktls.sh", "64M"])
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", tail(&output));
    let counts = said.lines().last().unwrap_or_default();
    assert!(counts.starts_with("67108864 bytes: "), "{said}");
    bench.left_nothing();
}

/// All tests of TLS, of which none may stay in user space; and again without the module, where all
/// must, and say why.
fn seals_the_records(kernel: &str) {
    let Some(bench) = Bench::new() else { return };
    let tests = build();
    let script = "\
        UNDERPASS_TESTS_KERNEL_TLS=1 /root/tls --test-threads 1 || exit 1
        rmmod tls && /root/tls --test-threads 1 --exact data::nothing_passes_in_plain_text";
    let output = bench
        .vm(kernel)
        .arg("--file")
        .arg(bench.file("tls", &std::fs::read(tests).unwrap()))
        .args(["--", "sh", "-c", &format!("chmod +x /root/tls\n{script}")])
        .output()
        .unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", tail(&output));
    let passed: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("test result: ok."))
        .collect();
    assert_eq!(passed.len(), 2, "{said}");
    bench.left_nothing();
}

/// The tests, linked statically: the machine has no libraries.
fn build() -> PathBuf {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |dir| workspace.join(dir));
    let output = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["test", "--no-run", "--quiet", "-p", "underpass-tls"])
        .args(["--features", "http", "--test", "tls"])
        .args(["--target", TARGET, "--profile", "static"])
        .args(["--message-format", "json", "--target-dir"])
        .arg(target.join("static"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", tail(&output));
    let messages = text(&output.stdout);
    let executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_test = message["target"]["name"] == "tls";
        let path = message["executable"].as_str().filter(|_| is_test)?;
        Some(PathBuf::from(path))
    });
    let executables: Vec<_> = executables.collect();
    executables.into_iter().next_back().unwrap()
}
