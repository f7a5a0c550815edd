//! Keys that no path leads to, and keys that look like it.

use underpass_store::{ErrorKind, ListEntry};

use crate::support::{Setup, store};

/// Of these, none can be asked for.
const ODD: [&str; 8] = [
    "/lead",
    "d//e",
    "d/../e",
    "d/./e",
    "line\nbreak",
    "d/\u{1}",
    "..",
    "d/e/",
];
const PLAIN: [&str; 9] = [
    "both",
    "both/child",
    "a&b<c>\"",
    "%2e%2e",
    " space ",
    "#?+",
    "\u{e9}\u{1f600}",
    "d/e/f",
    "...",
];

fn names(entries: &[ListEntry]) -> Vec<String> {
    let name = |entry: &ListEntry| match entry {
        ListEntry::Directory { name } => format!("{name}/"),
        ListEntry::Object { name, .. } => name.clone(),
        _ => panic!("{entry:?}"),
    };
    let mut names: Vec<_> = entries.iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_key_that_cannot_be_asked_for_does_not_fail_its_page() {
    let setup = Setup::new();
    for key in ODD.iter().chain(&PLAIN) {
        setup.s3.put(key, *key);
    }
    let store = store(&setup.s3);
    let page = store.list("", None).await.unwrap();
    let mut expected = PLAIN.map(|key| match key.split_once('/') {
        Some((first, _)) => format!("{first}/"),
        None => key.to_owned(),
    });
    expected.sort();
    assert_eq!(names(&page.entries), expected);
    let page = store.list("d/", None).await.unwrap();
    assert_eq!(names(&page.entries), ["e/"]);
    let page = store.list("d/e/", None).await.unwrap();
    assert_eq!(
        names(&page.entries),
        ["f"],
        "the marker of a directory has no name"
    );
    for key in PLAIN {
        let info = store.head(key).await.unwrap();
        assert_eq!(
            store.read(&info, 0..info.len).await.unwrap(),
            key.as_bytes()
        );
    }
    for key in ODD {
        let error = store.head(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{key:?}: {error}");
    }
}

/// What is below comes after what cannot be asked for, on the same page or on the next one.
#[tokio::test]
async fn a_directory_that_begins_with_such_keys_is_there() {
    let setup = Setup::new();
    setup.s3.put("only//odd", "x");
    for number in 0..1100 {
        setup.s3.put(&format!("many/\u{1}{number}"), "x");
    }
    setup.s3.put("many/z", "x");
    let store = store(&setup.s3);
    assert!(store.any_below("many/").await.unwrap());
    assert!(!store.any_below("only/").await.unwrap());
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = store.list("many/", from.as_deref()).await.unwrap();
        found.extend(page.entries);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(names(&found), ["z"]);
}

#[tokio::test]
async fn keys_have_as_many_bytes_as_s3_allows() {
    let setup = Setup::new();
    let longest = "k/".repeat(511) + "kk";
    setup.s3.put(&longest, "x");
    let object = setup.cache.object(&longest).await.unwrap();
    assert_eq!(object.want(0, 1).await.unwrap(), 1);
    let asked = setup.s3.requests().len();
    let error = setup
        .cache
        .object(&format!("{longest}k"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(setup.s3.requests().len(), asked);
}
