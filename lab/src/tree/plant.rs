//! The directory that is sent, and whether it has arrived.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};
use crate::scenario::Scenario;
use crate::testfile;

/// The name of the directory.
pub(super) const NAME: &str = "tree";
/// The name of the file with holes in it.
const SPARSE: &str = "sparse";
/// Files in each directory.
const A_DIRECTORY: usize = 100;
/// A stretch of data in the file with holes, and how many there are.
const STRETCH: u64 = 256 << 10;
const STRETCHES: u64 = 4;
/// What the goal calls a body that must not be copied, in bytes.
const LARGE: u64 = 64 << 10;

/// The directory that is sent.
#[derive(Debug)]
pub(super) struct Planted {
    pub(super) tree: PathBuf,
    pub(super) files: usize,
    /// The length of the file with holes.
    pub(super) sparse: u64,
    /// The bytes of data in files of at least 64 KiB.
    pub(super) large_bytes: u64,
    /// The lengths of the files, in their order.
    lengths: Vec<u64>,
}

impl Planted {
    /// Makes it below `root`: the same names, sizes and bytes each time.
    pub(super) fn below(root: &Path, scenario: &Scenario) -> Result<Self> {
        let [smallest, largest, sparse] = scenario.sizes[..] else {
            return Err(Error::new("tree: not three sizes"));
        };
        let files = scenario.files.unwrap_or(1);
        let lengths = lengths(files, smallest.0, largest.0);
        let all: u64 = lengths.iter().sum();
        // What is sent and what arrives.
        testfile::check_space(root, 2 * all)?;
        let tree = root.join(NAME);
        let made = write(root, &tree, &lengths, (largest.0, sparse.0));
        made.context(|| format!("cannot make {}", tree.display()))?;
        let large = lengths.iter().filter(|length| **length >= LARGE);
        Ok(Self {
            tree,
            files,
            sparse: sparse.0,
            large_bytes: large.sum::<u64>() + STRETCH * STRETCHES,
            lengths,
        })
    }

    /// Fails unless `out` has the same files of the same lengths; with `compare`, the same bytes.
    pub(super) fn arrived(&self, out: &Path, compare: bool) -> Result<()> {
        let names = (0..self.files).map(name).zip(self.lengths.iter().copied());
        let all = names.chain([(SPARSE.to_owned(), self.sparse)]);
        for (name, length) in all {
            let (from, to) = (self.tree.join(&name), out.join(&name));
            let there = fs::metadata(&to);
            let there = there.context(|| format!("{name} has not arrived"))?;
            let is_same = there.len() == length
                && (!compare
                    || if name == SPARSE {
                        same_data(&from, &to).context(|| format!("cannot compare {name}"))?
                    } else {
                        testfile::same_content(&from, &to)?
                    });
            if !is_same {
                return Err(Error::new(format!("{name} has arrived as something else")));
            }
            if name == SPARSE && there.blocks() * 512 > length / 4 {
                return Err(Error::new(format!("{name} has lost its holes")));
            }
        }
        Ok(())
    }
}

/// The path of a file below the directory.
fn name(number: usize) -> String {
    format!("d{:03}/f{:02}", number / A_DIRECTORY, number % A_DIRECTORY)
}

/// Lengths whose logarithms are uniformly distributed.
fn lengths(count: usize, smallest: u64, largest: u64) -> Vec<u64> {
    let ratio = largest as f64 / smallest as f64;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        // xorshift64; the upper 53 bits as a fraction.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let fraction = (state >> 11) as f64 / (1_u64 << 53) as f64;
        (smallest as f64 * ratio.powf(fraction)) as u64
    };
    (0..count).map(|_| next()).collect()
}

fn write(
    root: &Path,
    tree: &Path,
    lengths: &[u64],
    (largest, sparse): (u64, u64),
) -> std::io::Result<()> {
    fs::create_dir(tree)?;
    let bytes = testfile::make(root, "bytes", largest + STRETCH).map_err(std::io::Error::other)?;
    let block = fs::read(&bytes)?;
    fs::remove_file(&bytes)?;
    for (number, &length) in lengths.iter().enumerate() {
        let path = tree.join(name(number));
        if number.is_multiple_of(A_DIRECTORY) {
            fs::create_dir(path.parent().unwrap_or(tree))?;
        }
        // Neighbours differ.
        let start = number % STRETCH as usize;
        File::create(path)?.write_all(&block[start..start + length as usize])?;
    }
    let file = File::create(tree.join(SPARSE))?;
    file.set_len(sparse)?;
    for stretch in 0..STRETCHES {
        let at = sparse / STRETCHES * stretch + STRETCH;
        file.write_all_at(&block[..STRETCH as usize], at)?;
    }
    rustix::fs::syncfs(&file)?;
    Ok(())
}

/// Whether both files have the same bytes wherever one of them has data.
fn same_data(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    Ok(same_where_data(&one, &other)? && same_where_data(&other, &one)?)
}

fn same_where_data(one: &File, other: &File) -> std::io::Result<bool> {
    let mut end = 0;
    loop {
        let start = match seek(one, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        end = seek(one, SeekFrom::Hole(start))?;
        let mut at = start;
        let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        while at < end {
            let count = a.len().min((end - at) as usize);
            one.read_exact_at(&mut a[..count], at)?;
            other.read_exact_at(&mut b[..count], at)?;
            if a[..count] != b[..count] {
                return Ok(false);
            }
            at += count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn planted(dir: &Path) -> Planted {
        let mut scenario = scenario::named(&["tree".to_owned()]).unwrap().remove(0);
        scenario.files = Some(150);
        scenario.sizes[2].0 = 64 << 20;
        Planted::below(dir, &scenario).unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        let copied = std::process::Command::new("cp")
            .args(["-a", "--sparse=always"])
            .args([from, to])
            .status();
        assert!(copied.unwrap().success());
    }

    #[test]
    fn what_has_not_arrived_whole_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let planted = planted(dir.path());
        let out = dir.path().join("out");
        copy(&planted.tree, &out);
        planted.arrived(&out, true).unwrap();

        let changed = out.join(name(120));
        let mut bytes = fs::read(&changed).unwrap();
        bytes[0] ^= 1;
        fs::write(&changed, &bytes).unwrap();
        planted.arrived(&out, false).unwrap();
        let error = planted.arrived(&out, true).unwrap_err().to_string();
        assert_eq!(error, "d001/f20 has arrived as something else");
        bytes.pop();
        fs::write(&changed, &bytes).unwrap();
        planted.arrived(&out, false).unwrap_err();
        copy(&planted.tree.join(name(120)), &changed);

        let sparse = File::options().write(true).open(out.join(SPARSE)).unwrap();
        sparse.write_all_at(&[1], 20 << 20).unwrap();
        let error = planted.arrived(&out, true).unwrap_err().to_string();
        assert_eq!(error, "sparse has arrived as something else");
        let full = vec![0; 32 << 20];
        sparse.write_all_at(&full, 20 << 20).unwrap();
        let error = planted.arrived(&out, false).unwrap_err().to_string();
        assert_eq!(error, "sparse has lost its holes");
        fs::remove_file(out.join(name(149))).unwrap();
        let error = planted.arrived(&out, false).unwrap_err().to_string();
        assert!(error.starts_with("d001/f49 has not arrived"), "{error}");
    }

    #[test]
    fn sizes_are_within_their_limits_and_the_same_each_time() {
        let lengths = lengths(10_000, 1 << 10, 1 << 20);
        assert_eq!(lengths, super::lengths(10_000, 1 << 10, 1 << 20));
        assert!(lengths.iter().all(|it| (1 << 10..1 << 20).contains(it)));
        let small = lengths.iter().filter(|it| **it < 32 << 10).count();
        assert!((4500..5500).contains(&small), "{small}");
    }
}
