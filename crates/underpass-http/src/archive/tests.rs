//! Archives of a directory on the disk. What programs make of them is tested over HTTP.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::BodyExt as _;

use super::*;
use crate::body::{BodyParts, FileBody};
use crate::file::{Root, Symlinks};

fn limits() -> PlanLimits {
    PlanLimits {
        entries: 1_000_000,
        bytes: u64::MAX,
        until: Instant::now() + Duration::from_secs(3600),
        is_cancelled: Arc::default(),
    }
}

fn tree(root: &Path) -> Arc<Tree> {
    Arc::new(Tree {
        root: Arc::new(Root::new(root.to_owned())),
        path: Vec::new(),
        hidden: false,
        symlinks: Symlinks::Refuse,
        rules: None,
        authenticated: false,
    })
}

fn plan_of(root: &Path, format: Format) -> Arc<Plan> {
    Arc::new(Plan::make(tree(root), format, "top".to_owned(), &limits()).unwrap())
}

fn bytes_of(plan: &Arc<Plan>, range: Range<u64>) -> std::io::Result<Vec<u8>> {
    let len = range.end - range.start;
    let parts = Parts::new(Arc::clone(plan), Arc::default(), range);
    let body = FileBody::from(BodyParts::produced(len, parts));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let collected = runtime.block_on(body.collect())?;
    Ok(collected.to_bytes().to_vec())
}

/// Files around every size that matters, in enough directories for several segments.
fn sample() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (number, size) in [0, 1, 511, 512, 513, 8192, 8193, 65_535, 65_536, 200_000]
        .iter()
        .enumerate()
    {
        let name = root.join(format!("sizes-{number}"));
        fs::write(&name, underpass_testing::bytes(number as u64, *size)).unwrap();
    }
    for directory in 0..3 {
        let directory = root.join(format!("many-{directory}"));
        fs::create_dir(&directory).unwrap();
        for number in 0..200 {
            fs::write(
                directory.join(format!("{number}")),
                format!("file {number}"),
            )
            .unwrap();
        }
    }
    fs::create_dir(root.join("empty")).unwrap();
    let long = root.join("n".repeat(200)).join("m".repeat(200));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("last"), "long").unwrap();
    directory
}

/// A small generator of numbers that look random, always the same.
fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn every_range_is_the_slice_of_the_whole() {
    let directory = sample();
    for format in [Format::Tar, Format::Zip] {
        let plan = plan_of(directory.path(), format);
        let whole = bytes_of(&plan, 0..plan.len()).unwrap();
        assert_eq!(whole.len() as u64, plan.len());
        let mut seed = 7;
        let mut ranges = vec![0..1, plan.len() - 1..plan.len(), plan.directory..plan.len()];
        for segment in &plan.segments {
            let start = segment.start;
            ranges.extend([start..start + 1, start.saturating_sub(1)..start + 600]);
        }
        for _ in 0..100 {
            let start = random(&mut seed) % plan.len();
            let most = if seed.is_multiple_of(2) {
                2000
            } else {
                plan.len() - start
            };
            ranges.push(start..start + 1 + random(&mut seed) % most.min(plan.len() - start));
        }
        for range in ranges {
            let part = bytes_of(&plan, range.clone()).unwrap();
            let expected = &whole[range.start as usize..range.end as usize];
            assert!(
                part == expected,
                "{format:?} {range:?}: {} bytes",
                part.len()
            );
        }
    }
}

#[test]
fn the_tag_is_that_of_the_list() {
    let directory = sample();
    let etag = |format| plan_of(directory.path(), format).etag().to_owned();
    let before = etag(Format::Tar);
    assert_eq!(etag(Format::Tar), before);
    assert_ne!(etag(Format::Zip), before);
    let mut seen = vec![before];
    let mut differs = |what: &str| {
        let now = etag(Format::Tar);
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    };
    let file = directory.path().join("many-1/7");
    let set_time = |to| {
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_modified(to)
            .unwrap();
    };
    set_time(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000_000_000_000_001));
    differs("one time");
    fs::rename(&file, directory.path().join("many-1/x")).unwrap();
    differs("a name");
    fs::rename(directory.path().join("many-1/x"), &file).unwrap();
    fs::remove_dir(directory.path().join("empty")).unwrap();
    differs("a directory");
    // A file that was rewritten with a time that says nothing has another change time.
    set_time(SystemTime::UNIX_EPOCH);
    differs("no time");
}

/// Each change happens after the plan was made, to a directory or a file that is sent later.
#[test]
fn pitfall_33_versions_are_not_mixed() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("added", |root| {
            fs::write(root.join("many-2/new"), "new").unwrap();
        }),
        ("removed", |root| {
            fs::remove_file(root.join("many-2/98")).unwrap();
        }),
        ("renamed", |root| {
            fs::rename(root.join("many-2/98"), root.join("many-2/980")).unwrap();
        }),
        ("longer", |root| {
            fs::write(root.join("sizes-9"), underpass_testing::bytes(9, 200_001)).unwrap();
        }),
        ("shorter", |root| {
            fs::write(root.join("sizes-9"), underpass_testing::bytes(9, 10)).unwrap();
        }),
        ("gone", |root| {
            fs::remove_dir_all(root.join("many-2")).unwrap();
        }),
    ];
    for (what, change) in changes {
        for format in [Format::Tar, Format::Zip] {
            let directory = sample();
            let plan = plan_of(directory.path(), format);
            change(directory.path());
            let error = bytes_of(&plan, 0..plan.len()).unwrap_err();
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::InvalidData,
                "{what}: {error}"
            );
            assert!(
                error.to_string().contains("changed while it was sent"),
                "{what}: {error}"
            );
        }
    }
}

#[test]
fn limits_end_the_listing() {
    let directory = sample();
    let plan = |limits: PlanLimits| {
        Plan::make(
            tree(directory.path()),
            Format::Tar,
            "top".to_owned(),
            &limits,
        )
    };
    let few = PlanLimits {
        entries: 100,
        ..limits()
    };
    assert!(matches!(plan(few), Err(PlanError::TooMany)));
    let small = PlanLimits {
        bytes: 100_000,
        ..limits()
    };
    assert!(matches!(plan(small), Err(PlanError::TooLarge)));
    let late = PlanLimits {
        until: Instant::now(),
        ..limits()
    };
    assert!(matches!(plan(late), Err(PlanError::TooLong)));
    let is_cancelled = Arc::new(AtomicBool::new(false));
    is_cancelled.store(true, Ordering::Relaxed);
    let cancelled = PlanLimits {
        is_cancelled,
        ..limits()
    };
    assert!(matches!(plan(cancelled), Err(PlanError::TooLong)));
}
