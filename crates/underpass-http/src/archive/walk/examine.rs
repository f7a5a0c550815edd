//! Examines many names of a directory at once.

use std::fs::File;
use std::num::NonZero;
use std::sync::LazyLock;
use std::thread;

use rustix::fs::{AtFlags, Stat, statat};

/// How many names are examined ahead, at most. Their results take 150 KiB.
pub(super) const AHEAD: usize = 1024;

/// Fewer names are not worth a thread: starting one takes as long as examining some 30 of them.
pub(super) const WORTHWHILE: usize = 128;

/// The most threads. They help where the inodes are not in memory: then the kernel waits for the
/// disk or for another machine, or makes them, which takes it several microseconds each.
const MOST_THREADS: usize = 4;

static THREADS: LazyLock<usize> = LazyLock::new(|| {
    let available = thread::available_parallelism().map_or(1, NonZero::get);
    available.min(MOST_THREADS)
});

/// What lstat(2) says about each of `names`, in their order. May wait.
pub(super) fn examine(directory: &File, names: &[&[u8]]) -> Vec<rustix::io::Result<Stat>> {
    let stat_all = |names: &[&[u8]]| -> Vec<_> {
        let stat = |name: &&[u8]| statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW);
        names.iter().map(stat).collect()
    };
    let mut shares = names.chunks(names.len().div_ceil(*THREADS).max(1));
    let own = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let started = thread::Builder::new()
                    .name("archive-stat".into())
                    .spawn_scoped(scope, move || stat_all(share));
                (share, started)
            })
            .collect();
        let mut all = stat_all(own);
        for (share, started) in others {
            // Without another thread, this one does it.
            let joined = started.ok().and_then(|it| it.join().ok());
            all.extend(joined.unwrap_or_else(|| stat_all(share)));
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_names() {
        let directory = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..300).map(|number| number.to_string()).collect();
        for name in &names {
            fs::write(directory.path().join(name), name).unwrap();
        }
        fs::remove_file(directory.path().join("150")).unwrap();
        let opened = File::open(directory.path()).unwrap();
        let names: Vec<_> = names.iter().map(String::as_bytes).collect();
        for (name, result) in names.iter().zip(examine(&opened, &names)) {
            match result {
                Ok(stat) => {
                    let found = fs::metadata(directory.path().join(str::from_utf8(name).unwrap()));
                    assert_eq!(stat.st_ino, found.unwrap().ino());
                }
                Err(errno) => assert_eq!((*name, errno), (&b"150"[..], Errno::NOENT)),
            }
        }
        assert_eq!(examine(&opened, &names).len(), 300);
        assert!(examine(&opened, &[]).is_empty());
    }
}
