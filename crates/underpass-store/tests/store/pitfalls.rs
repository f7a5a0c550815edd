//! The pitfalls of object stores and caches, each against a store that has it.

use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use underpass_store::{ErrorKind, Object};
use underpass_testing::bytes;
use underpass_testing::s3::{Fault, On};

use crate::support::{BLOCK, Setup, eventually, read, read_all};

/// Longer than any test: what the store says of when it may be asked again.
const LATER: u64 = 3600;

#[tokio::test]
async fn pitfall_51_a_store_that_ignores_ranges_serves_small_objects_only() {
    let setup = Setup::new();
    let (small, large) = (bytes(1, BLOCK), bytes(2, 40 * BLOCK));
    setup.s3.put("small", small.clone());
    setup.s3.put("large", large);
    setup.s3.fault(On::get(""), Fault::IgnoreRange);
    let object = setup.cache.object("small").await.unwrap();
    assert!(read_all(&object).await.unwrap() == small);
    let object = setup.cache.object("large").await.unwrap();
    let error = object.want(0, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("ignores ranges"), "{error}");
    assert_eq!(object.present(0, u64::MAX), 0);
    // No byte of a body that is not what was asked for.
    assert_eq!(setup.cache.stats().bytes_from_store, BLOCK as u64);
}

#[tokio::test]
async fn pitfall_51_a_body_that_breaks_goes_on_where_it_broke() {
    let setup = Setup::new();
    let content = bytes(1, BLOCK);
    setup.s3.put("key", content.clone());
    setup
        .s3
        .fault(On::get("key").times(1), Fault::ShortBody(1000));
    let object = setup.cache.object("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    let ranges: Vec<_> = setup
        .s3
        .requests()
        .iter()
        .filter(|it| it.method == "GET")
        .map(|it| it.field("range").map(str::to_string))
        .collect();
    assert_eq!(ranges, [None, Some(format!("bytes=1000-{}", BLOCK - 1))]);
    assert_eq!(
        setup.cache.stats().bytes_from_store,
        BLOCK as u64,
        "no byte came twice"
    );
    assert_eq!(setup.cache.store().stats().retries, 1);
}

#[tokio::test]
async fn pitfall_51_after_the_last_byte_nothing_is_asked_for() {
    let setup = Setup::new();
    let content = bytes(1, BLOCK);
    setup.s3.put("key", content.clone());
    // All of the body, and then no orderly end.
    setup.s3.fault(On::get("key"), Fault::Reset(BLOCK));
    let object = setup.cache.object("key").await.unwrap();
    // A reset can overtake the last bytes; but what comes is asked for once at most.
    if let Ok(read) = read_all(&object).await {
        assert!(read == content);
    }
    let requests = setup.s3.requests();
    let empty = |range: &str| {
        let (start, end) = range["bytes=".len()..].split_once('-').unwrap();
        start.parse::<u64>().unwrap() > end.parse::<u64>().unwrap()
    };
    assert!(
        !requests
            .iter()
            .any(|it| it.field("range").is_some_and(empty))
    );
}

#[tokio::test]
async fn a_connection_that_is_reset_in_the_middle_goes_on() {
    let setup = Setup::new();
    let content = bytes(1, 3 * BLOCK);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key").times(2), Fault::Reset(2000));
    let object = setup.cache.object("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(setup.s3.count("GET", "key"), 1 + 2);
}

/// What is present stays of the old version, and nothing of the new one gets in.
async fn replaced_in_between(fault: Option<Fault>) {
    let setup = Setup::new();
    let (old, new) = (bytes(1, 9 * BLOCK), bytes(2, 9 * BLOCK));
    setup.s3.put("key", old.clone());
    let object = setup.cache.object("key").await.unwrap();
    // From the middle, where nothing is read ahead.
    read(&object, 4 * BLOCK as u64, 10).await.unwrap();
    setup.s3.put("key", new.clone());
    if let Some(fault) = fault {
        setup.s3.fault(On::get("key"), fault);
    }
    let error = object.want(0, 1).await.unwrap_err();
    assert!(error.is_changed(), "{error}");
    assert!(!object.is_fresh());
    assert_eq!(object.present(0, 1), 0);
    let there = read(&object, 4 * BLOCK as u64, BLOCK as u64).await.unwrap();
    assert!(there == old[4 * BLOCK..5 * BLOCK]);
    let error = object.want(6 * BLOCK as u64, 1).await.unwrap_err();
    assert!(error.is_changed(), "{error}");
    setup.s3.release();
    let now = setup.cache.object("key").await.unwrap();
    assert_ne!(now.etag(), object.etag());
    assert!(read_all(&now).await.unwrap() == new);
    assert!(setup.cache.reopen(object).await.unwrap_err().is_changed());
}

#[tokio::test]
async fn pitfall_52_an_object_that_is_replaced_is_never_mixed() {
    replaced_in_between(None).await;
}

#[tokio::test]
async fn pitfall_52_not_even_if_the_store_ignores_conditions() {
    replaced_in_between(Some(Fault::IgnoreConditions)).await;
}

#[tokio::test]
async fn pitfall_52_an_answer_with_another_tag_is_refused() {
    let setup = Setup::new();
    setup.s3.put("key", bytes(1, 2 * BLOCK));
    setup.s3.fault(On::get("key"), Fault::WrongTag);
    let object = setup.cache.object("key").await.unwrap();
    let error = object.want(0, 1).await.unwrap_err();
    assert!(error.is_changed(), "{error}");
    assert_eq!(object.present(0, 1), 0);
}

#[tokio::test]
async fn pitfall_52_what_was_removed_is_told_as_changed() {
    let setup = Setup::new();
    setup.s3.put("key", bytes(1, 2 * BLOCK));
    let object = setup.cache.object("key").await.unwrap();
    setup.s3.remove("key");
    assert!(object.want(0, 1).await.unwrap_err().is_changed());
    assert!(setup.cache.object("key").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn pitfall_53_a_fill_lives_on_when_the_first_asker_leaves() {
    let setup = Setup::new();
    let content = bytes(1, BLOCK);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key"), Fault::Hang);
    let object = setup.cache.object("key").await.unwrap();
    let asker = Arc::clone(&object);
    let asker = tokio::spawn(async move { asker.want(0, 1).await });
    setup_waits(&setup, 2).await;
    asker.abort();
    assert!(asker.await.unwrap_err().is_cancelled());
    setup.s3.release();
    eventually("the block arrives for nobody", || object.is_whole()).await;
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(setup.s3.count("GET", "key"), 1);
}

/// Waits until the store has as many requests, without holding up the runtime.
async fn setup_waits(setup: &Setup, requests: usize) {
    eventually("requests arrive", || setup.s3.requests().len() >= requests).await;
}

#[tokio::test]
async fn pitfall_53_blocks_are_served_as_they_arrive() {
    let setup = Setup::new();
    let content = bytes(1, 3 * BLOCK);
    setup.s3.put("key", content.clone());
    // The second block does not come for now.
    setup.s3.fault(On::get("key"), Fault::Stop(BLOCK));
    let object = setup.cache.object("key").await.unwrap();
    let there = object.want(0, object.len()).await.unwrap();
    assert_eq!(there, BLOCK as u64);
    setup.s3.release();
    assert!(read_all(&object).await.unwrap() == content);
}

async fn ask_all(object: &Arc<Object>, askers: usize) -> Vec<Result<u64, ErrorKind>> {
    let ask = |_| {
        let object = Arc::clone(object);
        tokio::spawn(async move { object.want(0, 1).await.map_err(|error| error.kind()) })
    };
    let askers: Vec<_> = (0..askers).map(ask).collect();
    let mut answers = Vec::new();
    for asker in askers {
        answers.push(asker.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn pitfall_54_a_hundred_askers_of_a_block_that_fails_ask_the_store_once() {
    let setup = Setup::new();
    setup.s3.put("key", bytes(1, BLOCK));
    setup
        .s3
        .fault(On::get("key"), Fault::RetryAfter(503, LATER));
    let object = setup.cache.object("key").await.unwrap();
    for _ in 0..3 {
        let answers = ask_all(&object, 100).await;
        assert!(answers.iter().all(|it| *it == Err(ErrorKind::Throttled)));
    }
    assert_eq!(
        setup.s3.count("GET", "key"),
        1,
        "nobody asks before the store says so"
    );
    assert_eq!(setup.cache.stats().failed_fills, 1);
}

#[tokio::test]
async fn pitfall_54_one_goes_again_for_all() {
    let setup = Setup::new();
    setup.s3.put("key", bytes(1, BLOCK));
    setup.s3.fault(On::get("key").times(2), Fault::Status(503));
    let object = setup.cache.object("key").await.unwrap();
    let answers = ask_all(&object, 100).await;
    assert!(answers.iter().all(|it| *it == Ok(1)));
    assert_eq!(setup.s3.count("GET", "key"), 3);
}

#[tokio::test]
async fn pitfall_54_of_objects_too() {
    let setup = Setup::new();
    setup
        .s3
        .fault(On::head("key"), Fault::RetryAfter(503, LATER));
    for _ in 0..100 {
        let error = setup.cache.object("key").await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(LATER)));
    }
    assert_eq!(setup.s3.count("HEAD", "key"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_readers_at_once_fetch_each_block_once() {
    let setup = Setup::new();
    let content = Arc::new(bytes(1, 20 * BLOCK + 77));
    setup.s3.put("key", content.to_vec());
    let reader = |_| {
        let (cache, content) = (setup.cache.clone(), Arc::clone(&content));
        tokio::spawn(async move {
            let object = cache.object("key").await.unwrap();
            assert!(read_all(&object).await.unwrap() == *content);
        })
    };
    let readers: Vec<_> = (0..100).map(reader).collect();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(setup.s3.count("HEAD", "key"), 1);
    let gets = setup.s3.count("GET", "key");
    assert_eq!(gets, 2, "16 blocks at once at most");
    let stats = setup.cache.stats();
    assert_eq!(
        (stats.fills, stats.bytes_from_store),
        (21, content.len() as u64)
    );
    assert_eq!(stats.lookups, 100);
}

#[tokio::test]
async fn pitfall_56_what_is_evicted_while_it_is_sent_stays_whole() {
    let setup = Setup::with(|_| {}, |settings| settings.max_bytes = 8 * BLOCK as u64);
    let (first, second) = (bytes(1, 4 * BLOCK), bytes(2, 6 * BLOCK));
    setup.s3.put("first", first.clone());
    setup.s3.put("second", second.clone());
    let object = setup.cache.object("first").await.unwrap();
    read_all(&object).await.unwrap();
    let mut file = std::fs::File::open(format!("/proc/self/fd/{}", descriptor(&object))).unwrap();
    let other = setup.cache.object("second").await.unwrap();
    assert!(read_all(&other).await.unwrap() == second);
    assert_eq!(setup.cache.stats().evictions, 1);
    let metadata = object.file().metadata().unwrap();
    assert_eq!((metadata.nlink(), metadata.len()), (0, first.len() as u64));
    let mut sent = Vec::new();
    file.read_to_end(&mut sent).unwrap();
    assert!(sent == first && read_all(&object).await.unwrap() == first);
    assert!(!object.is_fresh(), "who asks now gets a new file");
    assert!(setup.cache.stats().bytes_on_disk <= 8 * BLOCK as u64);
}

fn descriptor(object: &Object) -> i32 {
    use std::os::fd::AsRawFd;
    object.file().as_raw_fd()
}

#[tokio::test]
async fn pitfall_56_what_was_missing_goes_on_in_a_new_file() {
    let setup = Setup::with(|_| {}, |settings| settings.max_bytes = 8 * BLOCK as u64);
    let content = bytes(1, 7 * BLOCK);
    setup.s3.put("key", content.clone());
    setup.s3.put("other", bytes(2, 7 * BLOCK));
    let object = setup.cache.object("key").await.unwrap();
    read(&object, 3 * BLOCK as u64, 1).await.unwrap();
    let other = setup.cache.object("other").await.unwrap();
    read_all(&other).await.unwrap();
    let error = object.want(0, 1).await.unwrap_err();
    assert!(error.is_evicted(), "{error}");
    let again = setup.cache.reopen(object).await.unwrap();
    assert!(read_all(&again).await.unwrap() == content);
}

#[tokio::test]
async fn pitfall_56_an_object_larger_than_the_cache_can_be_read() {
    let setup = Setup::with(|_| {}, |settings| settings.max_bytes = 12 * BLOCK as u64);
    let content = bytes(1, 40 * BLOCK);
    setup.s3.put("key", content.clone());
    let mut object = setup.cache.object("key").await.unwrap();
    let mut at = 0;
    while at < content.len() {
        match object.want(at as u64, u64::MAX).await {
            Ok(count) => {
                let mut read = vec![0; count as usize];
                object.file().read_exact_at(&mut read, at as u64).unwrap();
                assert!(read == content[at..at + read.len()]);
                at += read.len();
            }
            Err(error) if error.is_evicted() => object = setup.cache.reopen(object).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(setup.cache.stats().evictions > 0);
}

#[tokio::test]
async fn pitfall_57_an_absence_is_remembered_for_as_long_as_is_set() {
    let setup = Setup::new();
    for _ in 0..100 {
        assert!(setup.cache.object("none").await.unwrap_err().is_not_found());
    }
    assert_eq!(setup.s3.count("HEAD", "none"), 1);
    assert_eq!(setup.cache.stats().negative, 99);
    setup.s3.put("none", "some");
    setup.cache.forget("none");
    assert_eq!(setup.cache.object("none").await.unwrap().len(), 4);
    let setup = Setup::with(|_| {}, |settings| settings.negative = Duration::ZERO);
    assert!(setup.cache.object("none").await.unwrap_err().is_not_found());
    setup.s3.put("none", "some");
    assert_eq!(setup.cache.object("none").await.unwrap().len(), 4);
}

#[tokio::test]
async fn pitfall_57_stale_if_error_is_an_option() {
    for option in [None, Some(Duration::from_secs(LATER))] {
        let setup = Setup::with(
            |_| {},
            |settings| {
                settings.revalidate = Duration::ZERO;
                settings.stale_if_error = option;
            },
        );
        setup.s3.put("key", "hello");
        let object = setup.cache.object("key").await.unwrap();
        setup
            .s3
            .fault(On::head("key"), Fault::RetryAfter(503, LATER));
        let again = setup.cache.object("key").await;
        if option.is_none() {
            assert_eq!(again.unwrap_err().kind(), ErrorKind::Throttled);
        } else {
            assert!(Arc::ptr_eq(&again.unwrap(), &object));
            assert_eq!(setup.cache.stats().stale, 1);
        }
        // What the store says is never overruled.
        setup.s3.release();
        setup.s3.remove("key");
        if option.is_some() {
            setup.cache.forget("key");
            assert!(setup.cache.object("key").await.unwrap_err().is_not_found());
        }
    }
}

/// Those who are refused get nothing, but a node whose clock is wrong was not refused.
#[tokio::test]
async fn pitfall_57_stale_if_error_is_for_a_wrong_clock_too() {
    let setup = Setup::with(
        |_| {},
        |settings| {
            settings.revalidate = Duration::ZERO;
            settings.stale_if_error = Some(Duration::from_secs(LATER));
        },
    );
    setup.s3.put("key", "hello");
    let object = setup.cache.object("key").await.unwrap();
    let on = On::head("key");
    setup.s3.fault(on.clone(), Fault::Status(403));
    setup
        .s3
        .fault(on.clone(), Fault::OldDate(Duration::from_secs(7200)));
    let again = setup.cache.object("key").await.unwrap();
    assert!(Arc::ptr_eq(&again, &object));
    setup.s3.release();
    setup.s3.fault(on, Fault::Status(403));
    setup.cache.forget("key");
    let refused = setup.cache.object("key").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
}

#[tokio::test]
async fn an_object_is_confirmed_no_more_often_than_is_set() {
    let setup = Setup::new();
    setup.s3.put("key", "old");
    for _ in 0..100 {
        setup.cache.object("key").await.unwrap();
    }
    assert_eq!(setup.s3.count("HEAD", "key"), 1);
    let setup = Setup::with(|_| {}, |settings| settings.revalidate = Duration::ZERO);
    setup.s3.put("key", "old");
    let old = setup.cache.object("key").await.unwrap();
    assert!(!old.is_fresh());
    let same = setup.cache.object("key").await.unwrap();
    assert!(
        Arc::ptr_eq(&old, &same),
        "the same version is the same file"
    );
    setup.s3.put("key", "newer");
    let new = setup.cache.object("key").await.unwrap();
    assert_eq!(read_all(&new).await.unwrap(), b"newer");
    assert_eq!(setup.s3.count("HEAD", "key"), 3);
    assert_eq!(
        old.file().metadata().unwrap().nlink(),
        0,
        "the old one has left the disk"
    );
}
