//! Who asks the store: keys, roles, nobody; and options that cannot be right.

use std::time::Duration;

use underpass_store::{ErrorKind, Store, StoreError, StoreSettings};
use underpass_testing::bytes;
use underpass_testing::s3::{Fault, On, S3};

use crate::support::{BLOCK, Setup, read_all, store, store_settings};

#[tokio::test]
async fn credentials_and_buckets_that_are_wrong() {
    let s3 = S3::start();
    s3.put("key", "hello");
    s3.require_key("another");
    let error = store(&s3).check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    let before = s3.requests().len();
    let error = store(&s3).head("key").await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Denied,
        "HEAD has no body that says more: {error}"
    );
    assert_eq!(
        s3.requests().len(),
        before + 1,
        "asking again changes nothing"
    );
    s3.require_key("test");
    store(&s3).head("key").await.unwrap();
    let other = Store::from_url("s3://other", store_settings(&s3)).unwrap();
    let error = other.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchBucket, "{error}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_seen_by_the_date_of_the_answer() {
    let s3 = S3::start();
    s3.fault(On::head(""), Fault::Status(403));
    s3.fault(On::head(""), Fault::OldDate(Duration::from_secs(7200)));
    let error = store(&s3).head("key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClockSkew, "{error}");
    assert!(error.to_string().contains("minutes apart"), "{error}");
}

#[tokio::test]
async fn without_credentials_requests_are_anonymous() {
    let s3 = S3::start();
    s3.put("key", "hello");
    let settings = StoreSettings::default().option("AWS_ENDPOINT_URL", &s3.endpoint());
    let anonymous = Store::from_url("s3://bucket", settings.clone()).unwrap();
    anonymous.head("key").await.unwrap();
    let skips = store_settings(&s3).option("skip_signature", "true");
    Store::from_url("s3://bucket", skips)
        .unwrap()
        .head("key")
        .await
        .unwrap();
    store(&s3).head("key").await.unwrap();
    let signed: Vec<_> = s3
        .requests()
        .iter()
        .map(|it| it.field("authorization").is_some())
        .collect();
    assert_eq!(signed, [false, false, true]);
    assert!(Store::from_url("s3://bucket", settings.option("AWS_WHATEVER", "1")).is_err());
}

#[tokio::test]
async fn options_that_cannot_be_right_are_refused_at_once() {
    let cases = [
        ("AWS_ENDPOINT_URL", "localhost:8333"),
        ("AWS_ENDPOINT_URL", "http://"),
        ("AWS_ENDPOINT_URL", "http://a b"),
        ("AWS_ENDPOINT_URL", "ftp://a"),
        ("AWS_ENDPOINT_URL_S3", "store"),
        ("AWS_METADATA_ENDPOINT", "169.254.169.254"),
        ("AWS_ACCESS_KEY_ID", "key\n"),
        ("AWS_SECRET_ACCESS_KEY", " secret"),
        ("AWS_SESSION_TOKEN", "\u{e9}"),
        ("AWS_REGION", "us east"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/"),
    ];
    let s3 = S3::start();
    for (name, value) in cases {
        let settings = store_settings(&s3).option(name, value);
        let error = Store::from_url("s3://bucket", settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        let line = error.to_string();
        assert!(line.contains(name) && !line.contains('\n'), "{line}");
        assert!(!line.contains("secret"), "{line}");
    }
    for one in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let settings = StoreSettings::default().option(one, "x");
        let error = Store::from_url("s3://bucket", settings).unwrap_err();
        assert!(error.to_string().contains("is not"), "{error}");
    }
}

/// What says no there is not the store.
#[tokio::test]
async fn credentials_that_cannot_be_had_are_told_with_the_host_that_was_asked() {
    let (s3, metadata) = (S3::start(), S3::start());
    s3.put("key", "hello");
    let settings = || {
        let mut settings = StoreSettings::default()
            .option("AWS_ENDPOINT_URL", &s3.endpoint())
            .option("AWS_METADATA_ENDPOINT", &metadata.endpoint());
        settings.retry.attempts = 1;
        settings
    };
    let cases = [(404, ErrorKind::Credentials), (500, ErrorKind::Store)];
    for (status, kind) in cases {
        metadata.fault(On::any(), Fault::Status(status));
        let store = Store::from_url("s3://bucket", settings()).unwrap();
        let error = store.head("key").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let host = metadata.endpoint().replace("http://", "");
        let said = format!("no credentials from {host}: it says {status}");
        assert!(error.to_string().contains(&said), "{error}");
        metadata.release();
    }
    assert!(s3.requests().is_empty());
}

#[tokio::test]
async fn who_asks_without_credentials_is_told_so() {
    let s3 = S3::start();
    s3.fault(On::any(), Fault::Error(403, "AccessDenied", "no"));
    let settings = StoreSettings::default().option("AWS_ENDPOINT_URL", &s3.endpoint());
    let anonymous = Store::from_url("s3://bucket", settings).unwrap();
    let told = |error: StoreError| (error.kind(), error.to_string());
    let (kind, line) = told(anonymous.check().await.unwrap_err());
    assert_eq!(kind, ErrorKind::Denied);
    assert!(
        line.contains("requests are anonymous") && line.contains("AWS_PROFILE"),
        "{line}"
    );
    let (kind, line) = told(store(&s3).check().await.unwrap_err());
    assert_eq!(kind, ErrorKind::Denied);
    assert!(line.contains("these credentials may not"), "{line}");
}

/// Keys that were changed, or a clock that is wrong: what is in the cache is good afterwards.
#[tokio::test]
async fn who_is_refused_for_a_while_does_not_lose_the_cache() {
    let setup = Setup::with(
        |_| {},
        |cache| {
            cache.revalidate = Duration::ZERO;
            cache.negative = Duration::ZERO;
        },
    );
    let content = bytes(1, BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object("key").await.unwrap();
    assert_eq!(read_all(&object).await.unwrap(), content);
    drop(object);
    setup.cache.flush().await;
    setup.s3.fault(On::head("key"), Fault::Status(403));
    setup.cache.object("key").await.unwrap_err();
    setup.s3.release();
    let object = setup.cache.object("key").await.unwrap();
    assert_eq!(read_all(&object).await.unwrap(), content);
    assert_eq!(setup.s3.count("GET", "key"), 1);
}
