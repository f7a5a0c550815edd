//! `serve s3://…`: caches and disks that are too small.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use underpass_testing::s3::S3;

use crate::buckets::{BLOCK, Served};
use crate::support::{Dir, Mount, assert_bytes, bytes, needs};

/// Its file leaves the cache again and again while it is sent.
#[test]
fn pitfall_56_an_object_larger_than_the_cache_is_sent_whole() {
    let s3 = S3::start();
    let big = bytes(8, 12 * BLOCK + 5);
    s3.put("site/big", big.clone());
    let Some(mut served) = Served::start(s3, &["--cache-size", "12MiB"]) else {
        return;
    };
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let reply = served.get("big", &[version]);
        assert_eq!(reply.status, 200);
        assert_bytes(&reply.body, &big);
    }
    let evictions = served.metrics.sample("underpass_store_evictions_total");
    assert!(evictions > 2, "{evictions}");
    assert_eq!(served.metrics.sample("underpass_http_changed_total"), 0);
    served.server.stop().ok();
}

#[test]
fn pitfall_56_an_object_larger_than_the_disk_is_sent_whole() {
    if !needs::tool("curl") {
        return;
    }
    let Some(disk) = Mount::tmpfs("size=32m") else {
        return;
    };
    let s3 = S3::start();
    let big = bytes(9, 14 * BLOCK + 5);
    s3.put("site/big", big.clone());
    let directory = disk.path("cache");
    let mut served = Served::start_in(Dir::new(), &directory, s3, &[]);
    let reply = served.get("big", &["--max-time", "120"]);
    assert_eq!(reply.status, 200);
    assert_bytes(&reply.body, &big);
    let full = served.metrics.sample("underpass_store_disk_full_total");
    assert!(full > 0);
    served.server.stop().ok();
}

/// What did not fit is not in the way of what does: neither its beginning, nor files without names.
#[test]
fn pitfall_56_a_disk_that_was_too_small_for_one_object_has_room_for_others() {
    for options in ["size=1m", "size=64m,nr_inodes=12"] {
        if !needs::tool("curl") {
            return;
        }
        let Some(disk) = Mount::tmpfs(options) else {
            return;
        };
        let s3 = S3::start();
        s3.put("site/big", bytes(9, 3 * BLOCK));
        let names: Vec<_> = (0..4).map(|at| format!("small-{at}")).collect();
        for name in &names {
            s3.put(&format!("site/{name}"), name.clone());
        }
        let directory = disk.path("cache");
        let mut served = Served::start_in(Dir::new(), &directory, s3, &[]);
        assert_eq!(served.get(&names[0], &[]).text(), names[0]);
        let full = "underpass_store_disk_full_total";
        let mut big = Command::new("curl");
        big.args([
            "-sS",
            "--max-time",
            "60",
            "-o",
            "/dev/null",
            &served.url("big"),
        ]);
        // On the second disk it may fit.
        big.stderr(Stdio::null()).status().unwrap();
        let begun = Instant::now();
        for name in &names {
            while served.get(name, &[]).status != 200 {
                assert!(
                    begun.elapsed() < Duration::from_secs(60),
                    "{options}: no room"
                );
                std::thread::sleep(Duration::from_millis(100));
            }
            assert_eq!(served.get(name, &[]).text(), *name);
        }
        assert!(served.metrics.sample(full) > 0, "{options}: it all fitted");
        served.server.stop().ok();
    }
}

/// The room of what left the cache is free, also where nobody asks for it again.
#[test]
fn pitfall_56_what_left_the_cache_is_closed() {
    const OBJECTS: usize = 8;
    let s3 = S3::start();
    let content = bytes(10, 2 * BLOCK);
    for at in 0..OBJECTS {
        s3.put(&format!("site/{at}"), content.clone());
    }
    let Some(mut served) = Served::start(s3, &["--cache-size", "12MiB"]) else {
        return;
    };
    for at in 0..OBJECTS {
        assert_bytes(&served.get(&at.to_string(), &[]).body, &content);
    }
    let evictions = served.metrics.sample("underpass_store_evictions_total");
    assert!(evictions >= OBJECTS as u64 - 1, "{evictions}");
    let begun = Instant::now();
    for at in 0.. {
        if served.open_without_a_name() == 0 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "they stay open");
        served
            .s3
            .put(&format!("site/small-{at}"), content[..9000].to_vec());
        served.get(&format!("small-{at}"), &[]);
    }
    served.server.stop().ok();
}
