//! Stores that refuse, fail, or are not there: what is said, and how often they are asked.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use underpass_store::{Condition, ErrorKind, PutSettings, Store, StoreSettings};
use underpass_testing::bytes;
use underpass_testing::s3::{BUCKET, Fault, On, S3};

use crate::support::{store, store_settings};

fn with(s3: &S3, change: impl FnOnce(&mut StoreSettings)) -> Store {
    let mut settings = store_settings(s3);
    change(&mut settings);
    Store::from_url(&format!("s3://{BUCKET}"), settings).unwrap()
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let s3 = S3::start();
    let cases = [
        (
            Fault::Error(403, "SignatureDoesNotMatch", "The signature does not match"),
            ErrorKind::Credentials,
            "check AWS_ACCESS_KEY_ID",
        ),
        (
            Fault::Error(403, "RequestTimeTooSkewed", "The difference is too large"),
            ErrorKind::ClockSkew,
            "set the clock of this machine",
        ),
        (
            Fault::Error(403, "AccessDenied", "Access Denied"),
            ErrorKind::Denied,
            "may not",
        ),
        (
            Fault::Error(404, "NoSuchBucket", "No"),
            ErrorKind::NoSuchBucket,
            "check the name",
        ),
        (
            Fault::Error(501, "NotImplemented", "No"),
            ErrorKind::Unsupported,
            "does not have",
        ),
        (
            Fault::Error(301, "PermanentRedirect", "No"),
            ErrorKind::Store,
            "check AWS_REGION",
        ),
        (Fault::Nonsense, ErrorKind::Store, "not as S3 has it"),
    ];
    for (fault, kind, says) in cases {
        s3.fault(On::list(), fault.clone());
        let error = store(&s3).check().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        let line = error.to_string();
        assert!(line.starts_with("cannot list s3://bucket/: "), "{line}");
        assert!(line.contains(says) && !line.contains('\n'), "{line}");
        s3.release();
    }
    store(&s3).check().await.unwrap();
}

#[tokio::test]
async fn a_prefix_is_part_of_the_key_and_not_of_names() {
    let s3 = S3::start();
    s3.put("a/b/key", "hello");
    let store = Store::from_url("s3://bucket/a/b", store_settings(&s3)).unwrap();
    assert_eq!(store.head("key").await.unwrap().key, "key");
    assert_eq!(store.list("", None).await.unwrap().entries.len(), 1);
    assert!(store.any_below("").await.unwrap());
}

#[tokio::test]
async fn a_store_that_says_when_is_asked_then() {
    let s3 = S3::start();
    s3.put("key", "hello");
    s3.fault(On::head("key").times(1), Fault::RetryAfter(429, 1));
    let (store, begun) = (store(&s3), Instant::now());
    store.head("key").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "not before");
    assert_eq!((store.stats().requests, store.stats().retries), (2, 1));
}

#[tokio::test]
async fn nothing_is_retried_for_ever() {
    let s3 = S3::start();
    s3.fault(On::any(), Fault::Status(500));
    let store = store(&s3);
    let error = store.head("key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert_eq!(s3.requests().len(), 3, "as many attempts as are set");
}

#[tokio::test]
async fn a_store_that_is_down_is_left_alone() {
    let s3 = S3::start();
    s3.put("key", "hello");
    s3.fault(On::any(), Fault::Status(500));
    let store = with(&s3, |settings| {
        settings.circuit.failures = 3;
        settings.circuit.pause = Duration::from_secs(3600);
        settings.circuit.longest_pause = Duration::from_secs(3600);
    });
    store.head("key").await.unwrap_err();
    assert!(store.stats().circuit_open);
    for _ in 0..100 {
        let error = store.head("key").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CircuitOpen, "{error}");
    }
    assert_eq!(s3.requests().len(), 3);
}

#[tokio::test]
async fn a_store_that_comes_back_is_found() {
    let s3 = S3::start();
    s3.put("key", "hello");
    s3.fault(On::any(), Fault::Status(500));
    let store = with(&s3, |settings| {
        settings.circuit.failures = 3;
        settings.circuit.pause = Duration::from_millis(1);
        settings.circuit.longest_pause = Duration::from_millis(1);
    });
    store.head("key").await.unwrap_err();
    assert!(store.stats().circuit_open);
    s3.release();
    for _ in 0..6000 {
        if store.head("key").await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!store.stats().circuit_open);
}

#[tokio::test]
async fn nobody_listens() {
    let s3 = S3::start();
    // Bound, so that nobody else gets the port, and not listening.
    let closed = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&closed, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = SocketAddr::try_from(getsockname(&closed).unwrap()).unwrap();
    let settings = store_settings(&s3).option("endpoint", &format!("http://{address}"));
    let store = Store::from_url("s3://bucket", settings).unwrap();
    let error = store.head("key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        error.to_string().contains("no connection to the store"),
        "{error}"
    );
    assert_eq!(store.stats().requests, 3);
}

#[tokio::test]
async fn a_store_that_hangs_is_not_waited_for() {
    let s3 = S3::start();
    s3.fault(On::any(), Fault::Hang);
    let store = with(&s3, |settings| {
        settings.timeouts.answer = Duration::from_millis(100);
    });
    let error = store.head("key").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(store.stats().requests, 3);
}

#[tokio::test]
async fn a_body_that_drips_ends() {
    let s3 = S3::start();
    s3.put("key", bytes(1, 1000));
    s3.fault(On::get("key"), Fault::Drip(Duration::from_millis(20)));
    let info = store(&s3).head("key").await.unwrap();
    let store = with(&s3, |settings| {
        settings.timeouts.request = Duration::from_millis(300);
        settings.retry.attempts = 2;
    });
    let error = store.read(&info, 0..1000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(store.stats().requests, 2);
}

#[tokio::test]
async fn objects_are_made_with_what_is_said_of_them() {
    let s3 = S3::start();
    let store = store(&s3);
    let mut settings = PutSettings::default();
    settings.content_type = Some("text/x".into());
    settings.cache_control = Some("no-cache".into());
    settings.metadata = vec![("a".into(), "b".into())];
    let mut upload = store.upload("dir/key", settings).unwrap();
    upload.write(b"hel").await.unwrap();
    upload.write(b"lo").await.unwrap();
    let stored = upload.finish().await.unwrap();
    assert_eq!(stored.len, 5);
    let info = store.head("dir/key").await.unwrap();
    assert_eq!(info.etag, stored.etag);
    assert_eq!(info.content_type.as_deref(), Some("text/x"));
    assert_eq!(info.metadata, [("a".to_string(), "b".to_string())]);
    assert_eq!(&store.read(&info, 1..4).await.unwrap()[..], b"ell");
}

#[tokio::test]
async fn a_large_object_is_made_of_parts() {
    let s3 = S3::start();
    let content = bytes(1, (20 << 20) + 5);
    let mut upload = store(&s3).upload("key", PutSettings::default()).unwrap();
    for piece in content.chunks(1_000_001) {
        upload.write(piece).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap().len, content.len() as u64);
    assert!(*s3.object("key").unwrap().content == content);
    let parts = s3
        .requests()
        .iter()
        .filter(|it| it.query.contains("partNumber"))
        .count();
    assert_eq!((parts, s3.open_uploads()), (3, 0));
}

fn put(condition: Condition) -> PutSettings {
    let mut settings = PutSettings::default();
    settings.condition = condition;
    settings
}

#[tokio::test]
async fn conditions_are_the_stores_to_decide() {
    for size in [5, 9 << 20] {
        let s3 = S3::start();
        let store = store(&s3);
        let write = async |condition: Condition| {
            let mut upload = store.upload("key", put(condition)).unwrap();
            upload.write(&bytes(1, size)).await.unwrap();
            upload.finish().await.map_err(|error| error.kind())
        };
        let etag = write(Condition::Absent).await.unwrap().etag.unwrap();
        let refused = Err(ErrorKind::Precondition);
        assert_eq!(write(Condition::Absent).await, refused);
        let other = write(Condition::Matches(etag.clone()))
            .await
            .unwrap()
            .etag
            .unwrap();
        assert_ne!(other, etag);
        assert_eq!(write(Condition::Matches(etag)).await, refused);
        assert_eq!(s3.object("key").unwrap().etag, other);
        assert_eq!(s3.open_uploads(), 0, "refused parts are removed");
    }
}

#[tokio::test]
async fn a_store_without_conditions_says_so() {
    let s3 = S3::start();
    s3.fault(
        On::put("key"),
        Fault::Error(501, "NotImplemented", "If-None-Match"),
    );
    let mut upload = store(&s3).upload("key", put(Condition::Absent)).unwrap();
    upload.write(b"hello").await.unwrap();
    let error = upload.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(s3.object("key").is_none());
}
