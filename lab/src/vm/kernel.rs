//! Debian's cloud kernels: fetched with apt and unpacked, but never installed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::error::{Context, Error, Result};
use crate::run::{Invocation, run};

/// The kernels that a machine can boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        })
    }
}

/// An unpacked kernel package.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// The directory `/lib/modules/RELEASE` of the kernel, with every module uncompressed.
    pub(super) modules: PathBuf,
}

/// The kernel from `cache`. It is fetched if it is not there yet.
pub(super) fn find(version: Version, cache: &Path) -> Result<Kernel> {
    let home = cache.join(version.to_string());
    if !home.is_dir() {
        fetch(version, cache, &home)?;
    }
    let broken = || {
        let home = home.display();
        Error::new(format!("no kernel in {home}: remove it, to fetch it again"))
    };
    let image = sole_entry(&home.join("boot"), "vmlinuz-").ok_or_else(broken)?;
    // Debian is moving /lib to /usr/lib; packages have one or the other.
    let modules = ["lib/modules", "usr/lib/modules"].map(|place| home.join(place));
    let modules = modules.iter().find_map(|place| sole_entry(place, ""));
    Ok(Kernel {
        image,
        modules: modules.ok_or_else(broken)?,
    })
}

/// Makes `home` in one step from a directory beside it. So whoever sees `home` sees all of it, even
/// if two runs fetch at once.
fn fetch(version: Version, cache: &Path, home: &Path) -> Result<()> {
    fs::create_dir_all(cache).context(|| format!("cannot make {}", cache.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(cache)
        .context(|| format!("cannot make a directory in {}", cache.display()))?;
    let package = resolve(version)?;
    eprintln!("lab: fetching {package} into {}", home.display());
    run(&Invocation::new("apt-get")
        .args(["-q", "download", &package])
        .within(work.path()))
    .context(|| format!("cannot fetch {package} (old package lists? run apt-get update)"))?;
    let archive = sole_entry(work.path(), &package)
        .ok_or_else(|| Error::new(format!("apt-get left no {package}")))?;
    let unpacked = work.path().join("unpacked");
    run(&Invocation::new("dpkg-deb")
        .arg("-x")
        .arg(&archive)
        .arg(&unpacked))?;
    // All modules are uncompressed here, so that nothing later has to know that some kernels
    // compress them.
    run(&Invocation::new("find")
        .arg(&unpacked)
        .args(["-name", "*.ko.xz", "-exec", "busybox", "unxz", "{}", "+"]))?;
    match fs::rename(&unpacked, home) {
        // Another run was faster; its kernel can be used.
        Err(_) if home.is_dir() => Ok(()),
        renamed => renamed.context(|| format!("cannot make {}", home.display())),
    }
}

/// The package with the newest kernel of this version. Its name contains the release, and a meta
/// package depends on it.
fn resolve(version: Version) -> Result<String> {
    let metas = [
        format!("linux-image-{version}-cloud-amd64"),
        "linux-image-cloud-amd64".to_owned(),
    ];
    // apt-cache fails for an unknown name; then the other one may exist.
    let answers = metas
        .iter()
        .filter_map(|meta| run(&Invocation::new("apt-cache").args(["depends", meta])).ok());
    let package = answers
        .into_iter()
        .find_map(|answer| image_package(&answer.stdout, version).map(str::to_owned));
    package.ok_or_else(|| {
        Error::new(format!(
            "apt knows no cloud kernel {version}: it needs Debian's sources, and apt-get update"
        ))
    })
}

/// The dependency that `apt-cache depends` prints for a meta package, if that is a kernel of this
/// version.
fn image_package(answer: &str, version: Version) -> Option<&str> {
    let start = format!("linux-image-{version}.");
    let depends = answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    depends
        .map(str::trim)
        .find(|package| package.starts_with(&start))
}

/// The only entry of `dir` whose name begins with `start`.
fn sole_entry(dir: &Path, start: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.filter_map(std::result::Result::ok);
    let mut found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    let first = found.next()?;
    found.next().is_none().then(|| first.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_package_names_the_kernel() {
        let answer = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(
            image_package(answer, Version::V6_1),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(image_package(answer, Version::V6_12), None);
    }

    #[test]
    fn a_version_is_not_the_start_of_another() {
        let answer = "x\n |Depends: y\n  Depends: linux-image-6.12.117+deb12-cloud-amd64\n";
        assert_eq!(image_package(answer, Version::V6_1), None);
        assert_eq!(
            image_package(answer, Version::V6_12),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
    }

    #[test]
    fn only_one_entry_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("vmlinuz-6.1");
        fs::write(&made, "").unwrap();
        fs::write(dir.path().join("config-6.1"), "").unwrap();
        assert_eq!(sole_entry(dir.path(), "vmlinuz-"), Some(made));
        fs::write(dir.path().join("vmlinuz-6.12"), "").unwrap();
        assert_eq!(sole_entry(dir.path(), "vmlinuz-"), None);
        assert_eq!(sole_entry(&dir.path().join("absent"), ""), None);
    }
}
