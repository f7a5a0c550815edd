//! Objects of a store that behaves.

use std::time::{Duration, UNIX_EPOCH};

use underpass_store::{ErrorKind, ListEntry};
use underpass_testing::bytes;
use underpass_testing::s3::{Fault, On};

use crate::support::{BLOCK, Setup, eventually, read, read_all, store};

#[tokio::test]
async fn an_object_is_read_through_its_file() {
    let setup = Setup::new();
    let content = bytes(1, 5 * BLOCK + 123);
    let fields = [
        ("content-type", "text/x"),
        ("cache-control", "no-cache"),
        ("x-amz-meta-a", "b"),
    ];
    let etag = setup.s3.put_with("dir/a b%41ü", content.clone(), &fields);
    let object = setup.cache.object("dir/a b%41ü").await.unwrap();
    assert_eq!(object.len(), content.len() as u64);
    assert_eq!(object.file().metadata().unwrap().len(), object.len());
    assert_eq!(object.etag(), Some(etag.as_str()));
    assert_eq!(object.content_type(), Some("text/x"));
    assert_eq!(object.cache_control(), Some("no-cache"));
    assert_eq!(object.metadata(), [("a".to_string(), "b".to_string())]);
    assert_eq!(
        object.modified(),
        Some(UNIX_EPOCH + Duration::from_secs(1_700_000_001))
    );
    assert_eq!(object.present(0, u64::MAX), 0);
    assert!(read_all(&object).await.unwrap() == content);
    assert!(object.is_whole() && object.is_fresh());
    assert_eq!(read(&object, 7, 9).await.unwrap(), &content[7..16]);
    let stats = setup.cache.stats();
    assert_eq!(
        (stats.fills, stats.bytes_from_store),
        (6, content.len() as u64)
    );
    assert_eq!(setup.s3.count("GET", "dir/a b%41ü"), 1);
    assert_eq!(setup.s3.count("HEAD", "dir/a b%41ü"), 1);
    // Each of them says which version it is of.
    let gets = setup
        .s3
        .requests()
        .into_iter()
        .filter(|it| it.method == "GET");
    assert!(
        gets.into_iter()
            .all(|it| it.field("if-match") == Some(etag.as_str()))
    );
    assert_eq!(setup.warnings(), [""; 0]);
}

#[tokio::test]
async fn an_empty_object_has_a_file_and_needs_no_fetch() {
    let setup = Setup::new();
    setup.s3.put("empty", "");
    let object = setup.cache.object("empty").await.unwrap();
    assert!(object.is_empty() && object.is_whole());
    assert_eq!(object.want(0, 1).await.unwrap(), 0);
    assert_eq!(setup.s3.count("GET", "empty"), 0);
}

#[tokio::test]
async fn a_huge_list_comes_page_by_page() {
    let setup = Setup::new();
    for number in 0..2500 {
        setup.s3.put(&format!("many/{number:05}"), "x");
    }
    setup.s3.put("many/below/one", "x");
    let store = store(&setup.s3);
    let (mut names, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.list("many/", from.as_deref()).await.unwrap();
        assert!(page.entries.len() <= 1000);
        names.extend(page.entries);
        pages += 1;
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!((pages, names.len()), (3, 2501));
    assert!(names.contains(&ListEntry::Directory {
        name: "below".into()
    }));
    let last = names
        .iter()
        .any(|entry| matches!(entry, ListEntry::Object { name, len: 1, .. } if name == "02499"));
    assert!(last);
    assert!(store.any_below("many/").await.unwrap());
    assert!(!store.any_below("manx/").await.unwrap());
}

#[tokio::test]
async fn a_key_that_leaves_the_prefix_is_refused() {
    let setup = Setup::new();
    for key in ["", "/", "a/", "/a", "a//b", "../a", "a/../b", ".", "a\0b"] {
        let error = setup.cache.object(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{key:?}: {error}");
    }
    assert!(setup.s3.requests().is_empty());
}

/// Otherwise what is asked for most often would leave the cache like anything else.
#[cfg(feature = "http")]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_from_the_cache_again_was_used() {
    let setup = Setup::with(|_| {}, |settings| settings.max_bytes = 8 * BLOCK as u64);
    let later = || tokio::time::sleep(Duration::from_millis(20));
    let mut objects: Vec<std::sync::Arc<underpass_store::Object>> = Vec::new();
    for name in ["popular", "other", "new"] {
        setup.s3.put(name, vec![1; 3 * BLOCK]);
        let object = setup.cache.object(name).await.unwrap();
        later().await;
        if let Some(popular) = objects.first() {
            // As a server asks before each response.
            assert!(underpass_http::Object::is_fresh(&**popular), "{name}");
            later().await;
        }
        read_all(&object).await.unwrap();
        objects.push(object);
        later().await;
    }
    let fresh: Vec<_> = objects.iter().map(|object| object.is_fresh()).collect();
    assert_eq!(fresh, [true, false, true]);
}

/// What the store said before a change from here must not count after it.
#[tokio::test]
async fn what_was_asked_before_it_was_forgotten_does_not_count() {
    let setup = Setup::new();
    setup.s3.put("key", "old");
    setup.s3.fault(On::head("key"), Fault::Hang);
    let ask = || {
        let cache = setup.cache.clone();
        tokio::spawn(async move { cache.object("key").await })
    };
    let asked = || setup.s3.count("HEAD", "key");
    let before = ask();
    eventually("the store is asked", || asked() == 1).await;
    setup.cache.forget("key");
    let tag = setup.s3.put("key", "new");
    let after = ask();
    eventually("the store is asked again", || asked() == 2).await;
    setup.s3.release();
    before.await.unwrap().unwrap();
    let object = after.await.unwrap().unwrap();
    assert_eq!(object.etag(), Some(tag.as_str()));
}
