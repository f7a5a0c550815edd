//! The kernel modules that a machine gets, and the order in which they are loaded.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::error::{Context, Error, Result};

/// Modules for every machine: for its disk and its ports, and for what transfers are tested with.
/// kTLS loads its ciphers by modprobe, which the machine does not have, so they are loaded
/// beforehand.
pub(super) const ALWAYS: [&str; 13] = [
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "veth",
    "dummy",
    "sch_netem",
    "tls",
    "gcm",
    "ghash_generic",
    "aesni_intel",
    "chacha_generic",
    "poly1305_generic",
    "chacha20poly1305",
];

/// An uncompressed module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The modules with these names and everything that they depend on, each after its dependencies.
/// Modules that are built into the kernel are left out.
///
/// `tree` is a kernel's `/lib/modules/RELEASE`.
///
/// # Errors
///
/// A name that the kernel does not know.
pub(super) fn in_order<'a>(
    tree: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Module>> {
    let list = |name: &str| {
        let path = tree.join(name);
        fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))
    };
    let mut order = Order {
        built_in: index(tree, &list("modules.builtin")?).into_keys().collect(),
        files: index(tree, &list("modules.order")?),
        seen: HashSet::new(),
        ordered: Vec::new(),
    };
    for name in names {
        order.visit(name)?;
    }
    Ok(order.ordered)
}

struct Order {
    built_in: HashSet<String>,
    files: HashMap<String, PathBuf>,
    seen: HashSet<String>,
    ordered: Vec<Module>,
}

impl Order {
    fn visit(&mut self, name: &str) -> Result<()> {
        let name = canonical(name);
        if self.built_in.contains(&name) || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let file = self.files.get(&name);
        let file = file.ok_or_else(|| Error::new(format!("the kernel has no module {name}")))?;
        let bytes = fs::read(file).context(|| format!("cannot read {}", file.display()))?;
        for needed in depends(&bytes) {
            self.visit(&needed)?;
        }
        self.ordered.push(Module { name, bytes });
        Ok(())
    }
}

/// The path of each module in a list such as `modules.order`, by its name. The list has one path
/// inside `tree` per line.
fn index(tree: &Path, list: &str) -> HashMap<String, PathBuf> {
    let named = |line: &str| {
        let file = Path::new(line.trim()).file_stem()?.to_str()?.to_owned();
        Some((canonical(&file), tree.join(line.trim())))
    };
    list.lines().filter_map(named).collect()
}

/// The canonical name: files are named with hyphens or underscores, the kernel uses underscores.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The dependencies in a module's `.modinfo`: zero-terminated strings, one of which is
/// `depends=a,b`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = memmem::find(module, KEY) else {
        return Vec::new();
    };
    let value = &module[at + KEY.len()..];
    let end = memchr::memchr(0, value).unwrap_or(value.len());
    let value = String::from_utf8_lossy(&value[..end]);
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree in which the file of each module is just its `.modinfo`.
    fn tree(modules: &[(&str, &str)], built_in: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut order = String::new();
        for (file, depends) in modules {
            let info = format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0");
            fs::write(dir.path().join(file), info).unwrap();
            order.extend([file, "\n"]);
        }
        fs::write(dir.path().join("modules.order"), order).unwrap();
        fs::write(dir.path().join("modules.builtin"), built_in).unwrap();
        dir
    }

    fn names(tree: &Path, wanted: &[&str]) -> Result<Vec<String>> {
        let modules = in_order(tree, wanted.iter().copied())?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let tree = tree(
            &[
                ("net.ko", "ring,bus"),
                ("disk-x.ko", "bus"),
                ("ring.ko", "bus"),
                ("bus.ko", ""),
                ("idle.ko", ""),
            ],
            "",
        );
        assert_eq!(
            names(tree.path(), &["disk_x", "net"]).unwrap(),
            ["bus", "disk_x", "ring", "net"]
        );
    }

    #[test]
    fn what_is_built_in_needs_no_module() {
        let tree = tree(&[("a.ko", "crc-x")], "kernel/lib/crc-x.ko\nkernel/b.ko\n");
        assert_eq!(names(tree.path(), &["b", "a"]).unwrap(), ["a"]);
    }

    #[test]
    fn an_unknown_module_is_named() {
        let tree = tree(&[("a.ko", "gone")], "");
        assert_eq!(
            names(tree.path(), &["a"]),
            Err(Error::new("the kernel has no module gone"))
        );
    }

    #[test]
    fn a_list_may_be_cut_short() {
        assert_eq!(depends(b"\0depends=a,b"), ["a", "b"]);
        assert!(depends(b"\0depends=\0").is_empty());
        assert!(depends(b"nothing").is_empty());
    }
}
