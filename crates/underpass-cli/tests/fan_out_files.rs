//! `fan-out` of a file: each subscriber gets it from its start at its own pace, and the disk is
//! read once for all.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;

use rustix::fs::{Advice, fadvise};

use crate::support::{
    Dir, FanOut, MIB, MORE_THAN_BUFFERS, Receipt, bytes, lines, needs, number, reading,
};

const JSON: [&str; 2] = ["--receipt", "json"];

#[test]
fn each_gets_it_from_its_start_at_its_own_pace() {
    let dir = Dir::new();
    let content = bytes(640, 24 * MIB + 5);
    let path = dir.file("content", &content);
    let options = [&JSON[..], &["--metrics", "127.0.0.1:0", "--threads", "2"]].concat();
    let mut fan_out = FanOut::to_each_kind(&dir, &path, &options);
    let mut metrics = fan_out.metrics();
    // Some subscribers have begun, and one has left, before the others connect.
    let mut slow = fan_out.connect_mixed(4);
    let mut begun: Vec<_> = slow.iter_mut().map(|one| one.read_exactly(MIB)).collect();
    assert!(fan_out.connect().read_all() == content);
    let fast: Vec<_> = fan_out.connect_mixed(4).into_iter().map(reading).collect();
    for one in fast {
        let (got, ended) = one.join().unwrap();
        assert!(got == content && ended.is_ok(), "{ended:?}");
    }
    for (one, got) in slow.iter_mut().zip(&mut begun) {
        got.extend(one.read_all());
        assert!(*got == content);
    }
    let given = "underpass_fan_out_given_bytes_total{route=\"sendfile\"}";
    metrics.await_more_than(given, 9 * content.len() as u64 - 1);
    let other = "underpass_fan_out_given_bytes_total{route=\"other\"}";
    assert_eq!(metrics.sample(other), 0);
    let closed = "underpass_fan_out_subscribers_ended_total{how=\"closed\"}";
    assert_eq!(metrics.sample(closed), 9);
    let outcome = fan_out.stop().ok();
    let receipts: Vec<_> = outcome.text().lines().map(Receipt::read).collect();
    assert_eq!(receipts.len(), 9);
    for receipt in receipts {
        receipt.assert_route("sendfile", content.len());
        assert_eq!(receipt.party("source").1, path);
        assert_eq!(receipt.cpu_bytes(), Some(0), "{receipt:?}");
    }
}

#[test]
fn an_empty_file_is_an_end_alone() {
    let dir = Dir::new();
    let fan_out = FanOut::from(&dir.file("empty", b""), &JSON);
    assert_eq!(fan_out.connect().read_all(), b"");
    let receipt = &lines(&fan_out.stop().ok())[0];
    assert_eq!(receipt["complete"], true, "{receipt}");
}

#[test]
fn a_cold_file_is_read_from_the_disk_once_for_all() {
    const SUBSCRIBERS: usize = 8;
    // Beside the test program: that is on a disk, if there is one.
    let dir = Dir::beside_the_program();
    let content = bytes(641, 32 * MIB);
    let path = dir.file("content", &content);
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let fan_out = FanOut::to_each_kind(&dir, &path, &JSON);
    let all = fan_out.connect_mixed(SUBSCRIBERS).into_iter().map(reading);
    for one in all.collect::<Vec<_>>() {
        assert!(one.join().unwrap().0 == content);
    }
    let outcome = fan_out.stop().ok();
    let receipts = lines(&outcome);
    assert_eq!(receipts.len(), SUBSCRIBERS);
    let from_disk = receipts.iter().map(|it| it["device_bytes"].as_u64());
    let Some(most) = from_disk.max().flatten().filter(|bytes| *bytes > 0) else {
        needs::lacking("no device is read for files beside the program");
        return;
    };
    println!(
        "{most} bytes read from the device for {} bytes",
        content.len()
    );
    let size = content.len() as u64;
    assert!(most >= size * 9 / 10, "{most} of {size}: it was not cold");
    assert!(
        most <= size * 12 / 10,
        "{most} of {size}: it was read twice"
    );
    for line in outcome.text().lines() {
        Receipt::read(line).assert_route("sendfile", content.len());
    }
}

#[test]
fn pitfall_02_a_file_that_is_truncated_meanwhile_resets_those_who_miss_its_rest() {
    let dir = Dir::new();
    let content = bytes(642, MORE_THAN_BUFFERS);
    let path = dir.file("content", &content);
    let options = [&JSON[..], &["--verbose"]].concat();
    let mut fan_out = FanOut::from(&path, &options);
    let mut before = fan_out.connect();
    let mut slow = [fan_out.connect(), fan_out.connect()];
    assert!(before.read_all() == content);
    for one in &mut slow {
        one.read_exactly(MIB);
    }
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(2 * MIB as u64).unwrap();
    for one in &mut slow {
        let error = one.drain().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let line = fan_out.running.line();
        let named = line.contains("ended early, after") && line.contains(&path);
        assert!(named && line.contains("127.0.0.1:"), "{line}");
    }
    // The fan-out continues with the file as it is now.
    assert!(fan_out.connect().read_all() == content[..2 * MIB]);
    let receipts = lines(&fan_out.stop().ok());
    let (complete, short): (Vec<_>, Vec<_>) =
        receipts.iter().partition(|it| it["complete"] == true);
    assert_eq!((complete.len(), short.len()), (2, 2), "{receipts:?}");
    for receipt in short {
        assert!(number(receipt, "bytes") < content.len() as u64, "{receipt}");
    }
}
