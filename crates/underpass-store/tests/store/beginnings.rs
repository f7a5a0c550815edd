//! Objects that are asked for together with their first block.

use std::time::Duration;

use underpass_store::ErrorKind;
use underpass_testing::bytes;
use underpass_testing::s3::{Fault, On, S3};

use crate::crashes::again;
use crate::support::{BLOCK, Setup, cache_settings, eventually, read, read_all};

/// The requests so far, as `GET 0-65535`.
fn requests(s3: &S3) -> Vec<String> {
    let requests = s3.requests().into_iter();
    let told = requests.map(|it| {
        let range = it.field("range").unwrap_or("-");
        format!("{} {}", it.method, range.trim_start_matches("bytes="))
    });
    told.collect()
}

#[tokio::test]
async fn a_small_object_takes_one_request() {
    let setup = Setup::new();
    for len in [1, 1000, BLOCK - 1, BLOCK] {
        let (key, content) = (format!("of {len}"), bytes(1, len));
        let etag = setup
            .s3
            .put_with(&key, content.clone(), &[("content-type", "text/x")]);
        let before = setup.s3.requests().len();
        let object = setup.cache.object_to_read(&key).await.unwrap();
        assert_eq!(
            (object.len(), object.etag()),
            (len as u64, Some(etag.as_str()))
        );
        assert_eq!(object.content_type(), Some("text/x"));
        assert!(read_all(&object).await.unwrap() == content);
        let asked = requests(&setup.s3).split_off(before);
        assert_eq!(asked, [format!("GET 0-{}", BLOCK - 1)]);
    }
}

#[tokio::test]
async fn the_rest_of_an_object_is_of_the_same_version() {
    let setup = Setup::new();
    let content = bytes(1, 5 * BLOCK + 123);
    let etag = setup.s3.put("key", content.clone());
    let object = setup.cache.object_to_read("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    let stats = setup.cache.stats();
    let count = content.len() as u64;
    assert_eq!((stats.fills, stats.bytes_from_store), (6, count));
    let rest = setup.s3.requests().split_off(1);
    assert!(!rest.is_empty());
    for request in rest {
        assert_eq!(request.method, "GET");
        assert_eq!(request.field("if-match"), Some(etag.as_str()));
    }
}

#[tokio::test]
async fn an_object_that_is_replaced_after_its_first_block_is_never_mixed() {
    let setup = Setup::new();
    let content = bytes(1, 5 * BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object_to_read("key").await.unwrap();
    let first = BLOCK as u64;
    assert!(read(&object, 0, first).await.unwrap() == content[..BLOCK]);
    setup.s3.put("key", bytes(2, 5 * BLOCK));
    let error = read(&object, 4 * first, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error}");
}

#[tokio::test]
async fn empty_objects_and_stores_without_ranges_are_asked_once_more() {
    let setup = Setup::new();
    setup.s3.put("empty", "");
    let object = setup.cache.object_to_read("empty").await.unwrap();
    assert!(object.is_empty() && object.is_whole());
    assert_eq!(requests(&setup.s3)[1..], ["HEAD -"]);

    let content = bytes(1, BLOCK - 7);
    setup.s3.put("small", content.clone());
    setup.s3.fault(On::get("small"), Fault::IgnoreRange);
    let object = setup.cache.object_to_read("small").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(requests(&setup.s3)[3..], ["HEAD -", "GET -"]);
}

#[tokio::test]
async fn a_first_body_that_breaks_goes_on_where_it_broke() {
    for broken in [0, 1, 1000, BLOCK - 1] {
        for fault in [Fault::ShortBody(broken), Fault::Reset(broken)] {
            let setup = Setup::new();
            let content = bytes(1, 2 * BLOCK);
            setup.s3.put("key", content.clone());
            setup.s3.fault(On::get("key").times(1), fault.clone());
            let object = setup.cache.object_to_read("key").await.unwrap();
            assert!(read_all(&object).await.unwrap() == content, "{fault:?}");
            assert_eq!(setup.s3.count("HEAD", "key"), 0);
        }
    }
}

#[tokio::test]
async fn bytes_of_a_first_body_are_sent_before_the_last_ones_arrive() {
    let larger = |settings: &mut underpass_store::CacheSettings| settings.block_size = 1 << 20;
    let setup = Setup::with(|_| {}, larger);
    let content = bytes(1, 1 << 20);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key"), Fault::Stop(100_000));
    let object = setup.cache.object_to_read("key").await.unwrap();
    let there = object.want(0, 1 << 20).await.unwrap();
    assert_eq!(there, 64 << 10);
    setup.s3.release();
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(setup.s3.requests().len(), 1);
}

#[tokio::test]
async fn a_first_body_that_stops_is_not_waited_for() {
    let impatient = |settings: &mut underpass_store::StoreSettings| {
        settings.timeouts.idle = Duration::from_millis(100);
    };
    let setup = Setup::with(impatient, |_| {});
    let content = bytes(1, BLOCK);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key").times(1), Fault::Stop(1000));
    let object = setup.cache.object_to_read("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(setup.s3.requests().len(), 2);
    setup.s3.release();
}

#[tokio::test]
async fn what_the_store_says_instead_is_told() {
    let setup = Setup::new();
    let error = setup.cache.object_to_read("nothing").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(setup.cache.object("nothing").await.is_err());
    assert_eq!(setup.s3.requests().len(), 1, "an absence is remembered");

    setup.s3.put("key", bytes(1, 10));
    let busy = Fault::Error(503, "SlowDown", "Please reduce your request rate.");
    setup.s3.fault(On::get("key").times(2), busy);
    let object = setup.cache.object_to_read("key").await.unwrap();
    assert_eq!(object.len(), 10, "that is retried");

    setup.s3.put("refused", bytes(1, 10));
    let refused = Fault::Error(403, "AccessDenied", "Access Denied.");
    setup.s3.fault(On::get("refused"), refused);
    let error = setup.cache.object_to_read("refused").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("403 AccessDenied"), "{error}");
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_share_one_request() {
    let setup = Setup::new();
    let content = bytes(1, BLOCK);
    setup.s3.put("key", content.clone());
    setup.s3.fault(On::get("key"), Fault::Stop(5000));
    let one = |_| {
        let cache = setup.cache.clone();
        tokio::spawn(async move {
            let object = cache.object_to_read("key").await.unwrap();
            read_all(&object).await.unwrap()
        })
    };
    let all: Vec<_> = (0..100).map(one).collect();
    eventually("all wait", || setup.cache.stats().lookups == 100).await;
    setup.s3.release();
    for one in all {
        assert!(one.await.unwrap() == content);
    }
    assert_eq!(setup.s3.requests().len(), 1);
}

#[tokio::test]
async fn whoever_leaves_leaves_the_block_to_others() {
    let setup = Setup::new();
    setup.s3.put("key", bytes(1, BLOCK));
    drop(setup.cache.object_to_read("key").await.unwrap());
    eventually("it arrives", || setup.cache.stats().fills == 1).await;
    assert!(setup.cache.object("key").await.unwrap().is_whole());
}

#[tokio::test]
async fn what_is_in_the_cache_is_not_asked_for_again() {
    let setup = Setup::new();
    let content = bytes(1, 3 * BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object_to_read("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    drop(object);
    let gets = setup.s3.count("GET", "key");
    let again = again(setup, cache_settings()).await;
    let object = again.cache.object_to_read("key").await.unwrap();
    assert!(read_all(&object).await.unwrap() == content);
    assert_eq!(again.s3.count("GET", "key"), gets);
    assert_eq!(again.s3.count("HEAD", "key"), 1);
}
