//! What survives the process, and what does not.

use underpass_testing::bytes;

use crate::support::{BLOCK, Setup, cache_settings, eventually, open, read_all, store};

#[tokio::test]
async fn what_was_fetched_is_verified_and_not_fetched_again() {
    let setup = Setup::new();
    let content = bytes(1, 3 * BLOCK);
    setup.s3.put("key", content.clone());
    let object = setup.cache.object("key").await.unwrap();
    object.want(0, 1).await.unwrap();
    // The first block, and one that is read ahead.
    eventually("two blocks are fetched", || setup.cache.stats().fills == 2).await;
    setup.cache.flush().await;
    drop(object);
    let Setup {
        s3,
        cache,
        directory,
        warnings,
    } = setup;
    drop(cache);
    let mut again = None;
    // Descriptors that the first one's threads still hold keep its lock for a moment.
    eventually("the directory is free", || {
        let cache = open(directory.path(), cache_settings(), store(&s3), &warnings);
        let free = warnings.lock().unwrap().drain(..).count() == 0;
        again = free.then_some(cache);
        free
    })
    .await;
    let cache = again.unwrap();
    let object = cache.object("key").await.unwrap();
    assert_eq!(
        object.present(0, 1),
        0,
        "nothing is sent before it is verified"
    );
    assert!(read_all(&object).await.unwrap() == content);
    let stats = cache.stats();
    assert_eq!((stats.verified, stats.damaged, stats.fills), (2, 0, 1));
    assert_eq!(s3.count("GET", "key"), 3);
}
