//! A power cut after success: what was reported is on the disk, also on file systems that keep much
//! in memory.

use std::fs::File;
use std::io::Write;

use crate::support::{LoopDevice, MIB, Mount, Running, Stream, bytes, run, underpass};

const LENGTH: usize = MIB + 1;

/// What exists at the name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Old,
}

/// A way to write the bytes.
type Command = fn(source: &str, sink: &str, options: &[&str]);

fn copy(source: &str, sink: &str, options: &[&str]) {
    run(&[&["copy", source, sink], options].concat()).ok();
}

fn recv(source: &str, sink: &str, options: &[&str]) {
    let args = [&["tcp://127.0.0.1:0", sink], options].concat();
    let (receiver, address) = Running::recv(&args);
    let mut peer = Stream::connect(&address);
    peer.write_all(&std::fs::read(source).unwrap()).unwrap();
    peer.end();
    peer.await_close();
    receiver.finish().ok();
}

fn copy_to_standard_output(source: &str, sink: &str, _options: &[&str]) {
    let mut command = underpass(&["copy", source, "-"]);
    let file = File::create(sink).unwrap();
    // The shell makes the name, so the shell has to sync it.
    let parent = std::path::Path::new(sink).parent().unwrap();
    File::open(parent).unwrap().sync_all().unwrap();
    command.stdout(file);
    Running::start(command).finish().ok();
}

#[test]
fn pitfall_26_ext4_keeps_what_was_reported() {
    outlives("ext4");
}

#[test]
fn pitfall_26_xfs_keeps_what_was_reported() {
    outlives("xfs");
}

fn outlives(kind: &str) {
    let Some(mount) = Mount::of(kind) else {
        return;
    };
    let (source, sink) = (mount.path("source"), mount.path("sink"));
    let (new, old) = (bytes(150, LENGTH), bytes(151, LENGTH / 2));
    durable(&source, &new);
    let table: [(Command, Before, &[&str]); 8] = [
        (copy, Before::Nothing, &["-q"]),
        (copy, Before::Old, &["-q", "--force"]),
        (copy, Before::Nothing, &["-q", "--in-place"]),
        (copy, Before::Old, &["-q", "--in-place"]),
        (copy, Before::Nothing, &["-q", "--route=read-write"]),
        (recv, Before::Nothing, &["--receipt=none"]),
        (recv, Before::Old, &["--receipt=none", "--force"]),
        (copy_to_standard_output, Before::Nothing, &[]),
    ];
    for (command, before, options) in table {
        let _ = std::fs::remove_file(&sink);
        if before == Before::Old {
            durable(&sink, &old);
        }
        command(&source, &sink, options);
        if !mount.cut_power() {
            return;
        }
        let found = std::fs::read(&sink).unwrap_or_default();
        let is_new = found == new;
        assert!(is_new, "{before:?} {options:?}: {} bytes", found.len());
    }
}

fn durable(path: &str, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
    let parent = std::path::Path::new(path).parent().unwrap();
    File::open(parent).unwrap().sync_all().unwrap();
}

/// The receipt says how long syncing took. If there was no sync, it says nothing about it.
#[test]
fn the_receipt_says_how_long_syncing_took() {
    let dir = crate::support::Dir::in_memory();
    let source = dir.file("source", b"content");
    for (options, synced) in [(&[][..], true), (&["--no-sync"], false)] {
        for in_place in [false, true] {
            let mut args = vec!["copy", &source, "", "--receipt=json"];
            args.extend(options);
            args.extend(in_place.then_some("--in-place"));
            let sink = dir.path(&format!("{synced}{in_place}"));
            args[2] = &sink;
            let receipt: serde_json::Value =
                serde_json::from_slice(&run(&args).ok().stdout).unwrap();
            let time = &receipt["sync_s"];
            assert_eq!(time.is_f64(), synced, "{args:?}: {time}");
            assert_eq!(time.is_null(), !synced, "{args:?}: {time}");
        }
        let sink = dir.path(&format!("human{synced}"));
        let human = run(&[&["copy", &source, &sink, "-v"], options].concat()).ok();
        assert_eq!(human.text().contains("synced"), synced, "{}", human.text());
    }
}

/// What can be synced is synced: a block device, as by `dd conv=fsync`. Pipes and /dev/null cannot
/// be.
#[test]
fn block_devices_are_synced_and_streams_are_not() {
    let dir = crate::support::Dir::in_memory();
    let source = dir.file("source", &bytes(152, MIB));
    let synced = |json: &str| {
        let receipt: serde_json::Value = serde_json::from_str(json).unwrap();
        receipt["sync_s"].is_f64()
    };
    let to_null = run(&["copy", &source, "/dev/null", "--receipt=json"]).ok();
    assert!(!synced(to_null.text()));
    let to_pipe = run(&["copy", &source, "-", "--receipt=json"]).ok();
    assert!(!synced(&to_pipe.stderr));
    let mut command = underpass(&["copy", &source, "-", "--receipt=json"]);
    command.stdout(File::create(dir.path("redirected")).unwrap());
    assert!(synced(&Running::start(command).finish().ok().stderr));
    let image = dir.file("image", &vec![0; MIB]);
    let Some(device) = LoopDevice::of(&image) else {
        return;
    };
    let to_device = run(&["copy", &source, &device.0, "--receipt=json"]).ok();
    assert!(synced(to_device.text()));
    assert_eq!(to_device.receipt().party("sink").0, "block_device");
    assert!(std::fs::read(&image).unwrap() == bytes(152, MIB));
    // It is the same file by any name.
    run(&["copy", &device.0, &device.0]).fails(2, &["the same file"]);
}
