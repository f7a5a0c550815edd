//! `lab archive`: what a directory as one file costs `underpass serve`: the time to the first byte
//! and the memory for many files, and the CPU time for large ones beside the files themselves.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::fs::{AtFlags, Dir, StatxFlags, statx};
use serde_json::json;

use crate::error::{Context, Error, Result};
use crate::header::Header;
use crate::run::Invocation;
use crate::server::running::free_addresses;
use crate::spawned::Spawned;
use crate::table::Table;
use crate::{output, process, program, size, testfile};

/// The files of a directory.
const A_DIRECTORY: u64 = 1000;
/// The length of each of the large files, which are names of one file.
const LARGE: u64 = 100 << 20;
/// What many small files must stay below: a goal of the project.
const MOST_MEMORY_KIB: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of small files, in directories of 1,000. They have a length, and no blocks
    #[arg(long, default_value = "1000000")]
    files: u64,
    /// Bytes of the large files, all of which are names of one file of 100 MiB
    #[arg(long, default_value = "10GiB", value_parser = size::parse)]
    size: u64,
    /// Number of measurements of each kind
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Also measure the first byte after the kernel has forgotten names and inodes, which only root
    /// can make it do
    #[arg(long)]
    cold: bool,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where to make the files, which are removed afterwards [default: the system's temporary
    /// directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write every sample to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Samples of one kind, in seconds.
struct Row {
    name: &'static str,
    seconds: Vec<f64>,
}

/// Measures, and prints the result. Fails if the memory is over the limit.
pub(crate) fn run(options: &Options) -> Result<()> {
    let underpass = program::underpass(options.underpass.as_deref())?;
    let underpass = underpass
        .ok_or_else(|| Error::new("no underpass binary: build it or name it with --underpass"))?;
    let header = Header::here().with("underpass", program::describe(Some(&underpass)));
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&place, LARGE)?;
    let dir = testfile::work_dir(&place)?;
    make_many(&dir.path().join("many"), options.files)?;
    let names = make_large(&dir.path().join("large"), options.size)?;

    let server = Server::start(&underpass, dir.path())?;
    let mut rows = vec![
        Row::new("first byte of many files"),
        Row::new("first byte, names cold"),
        Row::new("floor: bare statx, cold"),
        Row::new("CPU per GB, archive"),
        Row::new("CPU per GB, the files"),
    ];
    for _ in 0..options.rounds {
        rows[0]
            .seconds
            .push(server.first_byte("/many/?archive=tar")?);
        if options.cold {
            forget_names()?;
            rows[1]
                .seconds
                .push(server.first_byte("/many/?archive=tar")?);
            forget_names()?;
            let seconds = bare_statx(&dir.path().join("many"))?;
            rows[2].seconds.push(seconds);
        }
    }
    server.get("/many/?archive=tar", &mut |_| {})?;
    let memory = server.peak_kib()?;
    for _ in 0..options.rounds {
        let archive = vec!["/large/?archive=tar".to_owned()];
        rows[3].seconds.push(server.cpu_per_gb(&archive)?);
        rows[4].seconds.push(server.cpu_per_gb(&names)?);
    }

    output::save(options.json.as_deref(), || {
        let samples = rows
            .iter()
            .map(|row| (row.name.to_owned(), json!(row.seconds)));
        let samples: serde_json::Map<_, _> = samples.collect();
        json!({ "header": header, "files": options.files, "size": options.size,
            "peak_kib": memory, "seconds": samples })
    })?;
    print(&header, options, &rows, memory)?;
    if memory > MOST_MEMORY_KIB {
        return Err(Error::new(format!(
            "{memory} KiB are over {MOST_MEMORY_KIB}"
        )));
    }
    Ok(())
}

fn print(header: &Header, options: &Options, rows: &[Row], memory: u64) -> Result<()> {
    let mut table = Table::new(&["seconds", "median", "least", "most"]);
    for row in rows.iter().filter(|row| !row.seconds.is_empty()) {
        let mut sorted = row.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let cells = [
            sorted[sorted.len() / 2],
            sorted[0],
            sorted[sorted.len() - 1],
        ];
        let cells = cells.map(|seconds| format!("{seconds:.3}"));
        table.row(std::iter::once(row.name.to_owned()).chain(cells));
    }
    output::print(&format!(
        "{header}\n{table}\n{} files; peak memory after sending them all: {:.1} MiB\n",
        options.files,
        memory as f64 / 1024.0
    ))
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            seconds: Vec::new(),
        }
    }
}

fn make_many(root: &Path, files: u64) -> Result<()> {
    for number in 0..files {
        let directory = root.join(format!("{:04}", number / A_DIRECTORY));
        if number % A_DIRECTORY == 0 {
            fs::create_dir_all(&directory)
                .context(|| format!("cannot make {}", directory.display()))?;
        }
        testfile::make_sparse(&directory, &format!("file-{number:08}.dat"), 100)?;
    }
    Ok(())
}

/// Makes one file with as many names as are needed, and returns their paths in URLs.
fn make_large(root: &Path, bytes: u64) -> Result<Vec<String>> {
    fs::create_dir(root).context(|| format!("cannot make {}", root.display()))?;
    let first = testfile::make(root, "000", LARGE)?;
    let mut names = vec!["/large/000".to_owned()];
    for number in 1..bytes.div_ceil(LARGE) {
        let name = format!("{number:03}");
        fs::hard_link(&first, root.join(&name)).context(|| "cannot make a link".into())?;
        names.push(format!("/large/{name}"));
    }
    Ok(names)
}

/// Lets the kernel forget the names and inodes that it has in memory, not the content of files.
fn forget_names() -> Result<()> {
    rustix::fs::sync();
    let forget = || {
        File::options()
            .write(true)
            .open("/proc/sys/vm/drop_caches")?
            .write_all(b"2")
    };
    forget().context(|| "cannot empty the kernel's caches".into())
}

/// The floor for the first byte with cold names: seconds until every file below `root` was looked
/// at, with nothing around the system calls, on all processors.
fn bare_statx(root: &Path) -> Result<f64> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    let look = || -> std::io::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let directory = match File::open(root.join(format!("{number:04}"))) {
                Ok(directory) => directory,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            for entry in Dir::read_from(&directory)? {
                let entry = entry?;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let wanted = StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::MODE;
                statx(&directory, entry.file_name(), flags, wanted)?;
            }
        }
    };
    let looked: std::io::Result<()> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        threads
            .into_iter()
            .try_for_each(|it| it.join().unwrap_or(Ok(())))
    });
    looked.context(|| format!("cannot list {}", root.display()))?;
    Ok(begun.elapsed().as_secs_f64())
}

struct Server {
    program: Spawned,
    address: SocketAddr,
}

impl Server {
    fn start(underpass: &Path, root: &Path) -> Result<Self> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let [address] = free_addresses()?;
        let invocation = Invocation::new(underpass)
            .args(["serve", "--quiet", "--threads=1", "--listen"])
            .arg(address.to_string())
            .arg(root);
        let mut program = Spawned::start(&invocation, work, Stdio::null())?;
        program.patiently(|| TcpStream::connect(address).ok())?;
        Ok(Self { program, address })
    }

    /// Seconds from a request to the first byte of its response.
    fn first_byte(&self, path: &str) -> Result<f64> {
        let mut first = None;
        let begun = Instant::now();
        self.request(path, "Range: bytes=0-0\r\n", &mut |_| {
            first.get_or_insert_with(|| begun.elapsed());
        })?;
        Ok(first.unwrap_or(Duration::ZERO).as_secs_f64())
    }

    /// Seconds of CPU time of the server for 10^9 bytes of these responses.
    fn cpu_per_gb(&self, paths: &[String]) -> Result<f64> {
        let before = process::cpu(self.program.pid())?;
        let mut bytes = 0;
        for path in paths {
            self.get(path, &mut |count| bytes += count)?;
        }
        let used = process::cpu(self.program.pid())?.saturating_sub(before);
        Ok(used.as_secs_f64() / (bytes as f64 / 1e9))
    }

    fn get(&self, path: &str, came: &mut dyn FnMut(usize)) -> Result<()> {
        self.request(path, "", came)
    }

    /// Makes a request, reads its response to the end, and checks its status and length.
    fn request(&self, path: &str, fields: &str, came: &mut dyn FnMut(usize)) -> Result<()> {
        let exchange = |came: &mut dyn FnMut(usize)| -> std::io::Result<(String, u64)> {
            let mut stream = TcpStream::connect(self.address)?;
            let head =
                format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n{fields}\r\n");
            stream.write_all(head.as_bytes())?;
            let (mut buffer, mut start, mut total) = (vec![0; 1 << 20], String::new(), 0);
            loop {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok((start, total));
                }
                if total == 0 {
                    start = String::from_utf8_lossy(&buffer[..count.min(4096)]).into_owned();
                }
                total += count as u64;
                came(count);
            }
        };
        let (start, total) = exchange(came).context(|| format!("cannot get {path}"))?;
        let head = start.find("\r\n\r\n").map_or(0, |end| end + 4);
        let length = start
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
        let is_whole = length.is_some_and(|length| length + head as u64 == total);
        if !start.starts_with("HTTP/1.1 20") || !is_whole {
            let line = start.lines().next().unwrap_or("nothing").to_owned();
            return Err(Error::new(format!("{path}: {line}, {total} bytes")));
        }
        Ok(())
    }

    /// The most memory that the server has had resident.
    fn peak_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.program.pid());
        let status = fs::read_to_string(&path).context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| Error::new(format!("{path} has no VmHWM")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_have_the_files_that_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        make_many(&dir.path().join("many"), A_DIRECTORY + 1).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("many")).unwrap().count(), 2);
        assert!(bare_statx(&dir.path().join("many")).unwrap() > 0.0);
    }
}
