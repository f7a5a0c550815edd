//! Several blocks by one request, and blocks of which only the beginning is there.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use underpass_store::{Cache, CacheSettings, ErrorKind, Object};
use underpass_testing::bytes;
use underpass_testing::s3::{Fault, On, S3};

use crate::support::{BLOCK, Setup, eventually, read, read_all};

const MIB: usize = 1 << 20;

fn blocks_of_a_mib(settings: &mut CacheSettings) {
    settings.block_size = MIB as u32;
}

/// The ranges that were asked for.
fn ranges(s3: &S3) -> Vec<Option<String>> {
    let requests = s3.requests().into_iter();
    let gets = requests.filter(|it| it.method == "GET");
    gets.map(|it| it.field("range").map(str::to_string))
        .collect()
}

/// What is counted as the room of a file and its index is what they take. The file system may need
/// a page to find the file's pages.
async fn room_is_right(cache: &Cache, object: &Object) {
    eventually("what is counted is what is taken", || {
        let taken = object.file().metadata().unwrap().blocks() * 512;
        let counted = cache.stats().bytes_on_disk - 4096;
        counted == taken || counted + 4096 == taken
    })
    .await;
}

#[tokio::test]
async fn the_first_bytes_of_a_block_can_be_sent_before_the_last_ones_arrive() {
    let setup = Setup::with(|_| {}, blocks_of_a_mib);
    let content = bytes(1, 3 * MIB);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key"), Fault::Stop(100_000));
    let object = setup.cache.object("key").await.unwrap();
    let there = object.want(0, object.len()).await.unwrap();
    assert_eq!(there, 64 << 10, "nothing of what is not there");
    assert!(read(&object, 0, there).await.unwrap() == content[..there as usize]);
    assert_eq!(object.present(there, 1), 0);
    assert_eq!(object.present(there - 1, 9), 1);
    setup.s3.release();
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(ranges(&setup.s3), [None], "one request");
    room_is_right(&setup.cache, &object).await;
}

#[tokio::test]
async fn what_may_be_sent_of_a_block_stays_when_the_rest_of_it_fails() {
    let setup = Setup::with(|_| {}, blocks_of_a_mib);
    let content = bytes(1, 2 * MIB + 5);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key"), Fault::ShortBody(300_000));
    let rest = On::get("key").range("bytes=300000-");
    setup.s3.fault(rest, Fault::Status(503));
    let object = setup.cache.object("key").await.unwrap();
    assert!(object.want(0, 1).await.is_ok());
    let there: usize = 256 << 10;
    let error = object.want(there as u64, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert_eq!(object.present(0, u64::MAX), there as u64);
    assert!(read(&object, 0, there as u64).await.unwrap() == content[..there]);
    room_is_right(&setup.cache, &object).await;
    setup.s3.release();
    let mut read = read_all(&object).await;
    while read.is_err() {
        // Nobody asks for that block for a second.
        tokio::time::sleep(Duration::from_millis(20)).await;
        read = read_all(&object).await;
    }
    assert!(read.unwrap() == content);
    let goes_on = format!("bytes={there}-");
    let last = ranges(&setup.s3).into_iter().next_back().flatten().unwrap();
    assert!(last.starts_with(&goes_on), "{last}");
    room_is_right(&setup.cache, &object).await;
    // Its checksum is that of both parts.
    drop(object);
    let mut settings = crate::support::cache_settings();
    blocks_of_a_mib(&mut settings);
    let again = crate::crashes::again(setup, settings).await;
    let object = again.cache.object("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    let stats = again.cache.stats();
    assert_eq!((stats.verified, stats.damaged, stats.fills), (3, 0, 0));
}

#[tokio::test]
async fn whoever_waits_for_a_later_block_of_a_run_does_not_wait_for_those_before_it() {
    let setup = Setup::new();
    let content = bytes(1, 12 * BLOCK);
    setup.s3.put("key", content.clone());
    // The first request stops in the second block, and would have brought all of them.
    setup
        .s3
        .fault(On::get("key").times(1), Fault::Stop(BLOCK + 1000));
    let object = setup.cache.object("key").await.unwrap();
    assert!(object.want(0, object.len()).await.is_ok());
    eventually("the first block is there", || {
        object.present(0, u64::MAX) == BLOCK as u64
    })
    .await;
    let at = 8 * BLOCK as u64;
    assert!(read(&object, at, 4 * BLOCK as u64).await.unwrap() == content[8 * BLOCK..]);
    assert_eq!(object.present(0, u64::MAX), BLOCK as u64);
    assert_eq!(setup.cache.stats().fetching, 7);
    setup.s3.release();
    assert!(read_all(&object).await.unwrap() == content);
    let taken_over = format!("bytes={at}-{}", content.len() - 1);
    assert_eq!(ranges(&setup.s3), [None, Some(taken_over)]);
    let stats = setup.cache.stats();
    assert_eq!(
        (stats.fills, stats.fetching, stats.failed_fills),
        (12, 0, 0)
    );
    room_is_right(&setup.cache, &object).await;
}

/// What is told of a block whose fetch has this fault.
async fn told_of(fault: Fault) -> String {
    let soon = Duration::from_millis(100);
    let setup = Setup::with(
        |settings| {
            (settings.timeouts.answer, settings.timeouts.idle) = (soon, soon);
            settings.retry.attempts = 1;
        },
        |_| {},
    );
    setup.s3.put("key", bytes(1, BLOCK));
    setup.s3.fault(On::get("key"), fault);
    let object = setup.cache.object("key").await.unwrap();
    let error = object.want(0, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_body_that_stops_is_not_waited_for() {
    for bytes in [1, 1000, BLOCK - 1] {
        let told = told_of(Fault::Stop(bytes)).await;
        assert!(told.ends_with("the body stopped for 0.1 s"), "{told}");
    }
}

#[tokio::test]
async fn an_answer_that_stops_is_not_waited_for() {
    for fault in [Fault::Hang, Fault::Interim] {
        let told = told_of(fault).await;
        assert!(
            told.ends_with("no answer from the store within 0.1 s"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn connections_are_used_again_for_as_long_as_the_store_keeps_them() {
    let setup = Setup::new();
    for key in ["a", "b", "c"] {
        setup.s3.put(key, bytes(1, BLOCK));
    }
    let get = async |key| {
        let object = setup.cache.object(key).await.unwrap();
        assert!(read_all(&object).await.unwrap() == bytes(1, BLOCK));
    };
    get("a").await;
    get("b").await;
    assert_eq!(setup.s3.connections(), 2, "one for heads, one for bodies");
    setup.s3.disconnect();
    get("c").await;
    assert_eq!(setup.s3.count("GET", "c"), 1);
}

#[tokio::test]
async fn a_failure_is_told_of_the_block_that_it_is_of() {
    let setup = Setup::new();
    let content = bytes(1, 4 * BLOCK);
    setup.s3.put("key", content.clone());
    setup
        .s3
        .fault(On::get("key").times(1), Fault::ShortBody(BLOCK));
    let rest = On::get("key").range(&format!("bytes={BLOCK}-"));
    setup.s3.fault(rest.times(3), Fault::Status(503));
    let object = setup.cache.object("key").await.unwrap();
    assert!(object.want(0, object.len()).await.is_ok());
    let error = object.want(BLOCK as u64, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    // The others were not tried yet.
    let at = 2 * BLOCK as u64;
    assert!(read(&object, at, 2 * BLOCK as u64).await.unwrap() == content[2 * BLOCK..]);
    assert_eq!(setup.cache.stats().failed_fills, 1);
}
