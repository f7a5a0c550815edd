//! The real endpoints of a case: a source that is fed, and a sink that is drained.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::net::SendFlags;

use super::Outcome;
use crate::fake_layer::{self, FakeLayer, KernelEnd};
use crate::layer::Layer;
use crate::receipt::Receipt;
use crate::route::Route;
use crate::sys::faulty::Made;
use crate::transfer::Part;
use crate::transfer::error::Error;

const LENGTH: usize = 320 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceKind {
    Ext4,
    Tmpfs,
    /// On tmpfs: data, hole, data, and a hole at the end.
    Sparse,
    Pipe,
    Unix,
    Tcp,
    /// With an urgent byte in the middle, which is not part of the content (pitfall 24).
    UrgentTcp,
    /// TCP with TLS in this process.
    TlsUser,
    /// TCP with TLS in the kernel.
    TlsKernel,
    Memory,
    /// Memory and ranges of a file on tmpfs, as a sequence.
    Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkKind {
    Ext4,
    Tmpfs,
    Pipe,
    Unix,
    Tcp,
    TlsUser,
    TlsKernel,
}

impl SinkKind {
    fn layer(self) -> Option<Arc<FakeLayer>> {
        match self {
            Self::TlsUser => Some(Arc::new(FakeLayer::user())),
            Self::TlsKernel => Some(Arc::new(FakeLayer::kernel(KernelEnd::Closed))),
            _ => None,
        }
    }
}

impl SourceKind {
    fn layer(self) -> Option<Arc<FakeLayer>> {
        match self {
            Self::TlsUser => Some(Arc::new(FakeLayer::user())),
            Self::TlsKernel => Some(Arc::new(FakeLayer::kernel(KernelEnd::Closed))),
            _ => None,
        }
    }

    pub(super) fn is_file(self) -> bool {
        matches!(self, Self::Ext4 | Self::Tmpfs | Self::Sparse)
    }

    pub(super) fn is_stream(self) -> bool {
        !self.is_file() && self != Self::Memory && self != Self::Parts
    }
}

/// xorshift64*: gives the same bytes and the same scripts every time.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }
}

/// The parts of the sparse source that have data.
const DATA: [std::ops::Range<usize>; 2] = [0..64 * 1024, 192 * 1024..200 * 1024];

static DENSE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(0x0bad_cafe);
    std::iter::repeat_with(|| (random.next() >> 32) as u8)
        .take(LENGTH)
        .collect()
});

static SPARSE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; LENGTH];
    for data in DATA {
        bytes[data.clone()].copy_from_slice(&DENSE[data]);
    }
    bytes
});

/// The content that the source sends.
pub(super) fn content(source: SourceKind) -> &'static [u8] {
    if source == SourceKind::Sparse {
        &SPARSE
    } else {
        &DENSE
    }
}

/// The content, as parts of each kind.
pub(super) fn parts() -> Vec<Part> {
    let file = Arc::new(dense(tmpfs()));
    let mut at = 0;
    let mut next = |length: usize| {
        at += length;
        at - length..at
    };
    let memory = |range: std::ops::Range<usize>| Part::memory(&DENSE[range]);
    let of_file = |range: std::ops::Range<usize>| {
        Part::file(Arc::clone(&file), range.start as u64..range.end as u64)
    };
    let parts = vec![
        memory(next(100)),
        of_file(next(3000)),
        memory(next(512)),
        of_file(next(130_000)),
        of_file(next(0)),
        memory(next(90_000)),
        Part::flush(),
        of_file(next(70_000)),
        of_file(next(9000)),
    ];
    let rest = memory(next(LENGTH - 302_612));
    parts.into_iter().chain([rest]).collect()
}

/// The calls that a case made, and how many faults happened.
pub(super) struct Spent {
    pub(super) log: Vec<Made>,
    pub(super) struck: usize,
}

pub(super) struct Rig {
    kind: SourceKind,
    source: Option<OwnedFd>,
    feeder: Option<JoinHandle<()>>,
    source_layer: Option<Arc<FakeLayer>>,
    sink: OwnedFd,
    sink_layer: Option<Arc<FakeLayer>>,
    drain: Drain,
}

enum Drain {
    Thread(JoinHandle<Vec<u8>>),
    File(File),
}

impl Rig {
    pub(super) fn new(from: SourceKind, to: SinkKind) -> Self {
        let (source, feeder) = make_source(from);
        let (sink, drain) = make_sink(to);
        Self {
            kind: from,
            source,
            feeder,
            source_layer: from.layer(),
            sink,
            sink_layer: to.layer(),
            drain,
        }
    }

    /// What lies on both ends.
    pub(super) fn layers(&self) -> [Option<Arc<dyn Layer>>; 2] {
        [&self.source_layer, &self.sink_layer].map(|layer| {
            let layer = layer.clone()?;
            Some(layer as Arc<dyn Layer>)
        })
    }

    /// The source's descriptor; `None` for memory.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn sink(&self) -> BorrowedFd<'_> {
        self.sink.as_fd()
    }

    /// Collects the bytes that arrived and those that were left.
    pub(super) fn end(
        self,
        result: Result<Receipt, Error>,
        spent: &Spent,
        plan: Vec<Route>,
    ) -> Outcome {
        for fd in self.source.iter().chain([&self.sink]) {
            let flags = rustix::fs::fcntl_getfl(fd).unwrap();
            assert!(!flags.contains(OFlags::NONBLOCK), "O_NONBLOCK stayed set");
        }
        let position = match (&self.source, self.kind.is_file()) {
            (Some(fd), true) => Some(rustix::fs::tell(fd).unwrap()),
            _ => None,
        };
        let mut rest = Vec::new();
        if self.kind.is_stream() {
            let mut source = File::from(self.source.unwrap());
            source.read_to_end(&mut rest).unwrap();
        }
        if let Some(layer) = &self.source_layer {
            rest = layer.rest(&rest);
        }
        if let Some(feeder) = self.feeder {
            feeder.join().unwrap();
        }
        drop(self.sink);
        Outcome {
            result,
            sunk: match &self.sink_layer {
                Some(layer) if !layer.describe().is_in_kernel() => {
                    fake_layer::opened(&self.drain.finish()).0
                }
                _ => self.drain.finish(),
            },
            rest,
            position,
            plan,
            log: spent.log.clone(),
            struck: spent.struck,
        }
    }
}

impl Drain {
    fn finish(self) -> Vec<u8> {
        match self {
            Self::Thread(thread) => thread.join().unwrap(),
            Self::File(file) => whole(&file),
        }
    }
}

pub(super) fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn make_source(kind: SourceKind) -> (Option<OwnedFd>, Option<JoinHandle<()>>) {
    let (near, far): (OwnedFd, OwnedFd) = match kind {
        SourceKind::Memory | SourceKind::Parts => return (None, None),
        SourceKind::Ext4 => return (Some(dense(ext4()).into()), None),
        SourceKind::Tmpfs => return (Some(dense(tmpfs()).into()), None),
        SourceKind::Sparse => return (Some(sparse(&tmpfs()).into()), None),
        SourceKind::Pipe => {
            let (reader, writer): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
            (reader.into(), writer.into())
        }
        SourceKind::Unix => unix(),
        SourceKind::Tcp | SourceKind::UrgentTcp | SourceKind::TlsUser | SourceKind::TlsKernel => {
            tcp()
        }
    };
    let feeder = std::thread::spawn(move || {
        let (before, behind) = DENSE.split_at(match kind {
            SourceKind::UrgentTcp => LENGTH / 2,
            _ => LENGTH,
        });
        let mut far = File::from(far);
        if kind == SourceKind::TlsUser {
            return far.write_all(&fake_layer::sealed(&DENSE, true)).unwrap();
        }
        far.write_all(before).unwrap();
        if kind == SourceKind::UrgentTcp {
            rustix::net::send(&far, b"!", SendFlags::OOB).unwrap();
        }
        far.write_all(behind).unwrap();
    });
    (Some(near), Some(feeder))
}

fn make_sink(kind: SinkKind) -> (OwnedFd, Drain) {
    let (near, far): (OwnedFd, OwnedFd) = match kind {
        SinkKind::Ext4 => return file_sink(ext4()),
        SinkKind::Tmpfs => return file_sink(tmpfs()),
        SinkKind::Pipe => {
            let (reader, writer) = std::io::pipe().unwrap();
            (writer.into(), reader.into())
        }
        SinkKind::Unix => unix(),
        SinkKind::Tcp | SinkKind::TlsUser | SinkKind::TlsKernel => tcp(),
    };
    let thread = std::thread::spawn(move || {
        let mut got = Vec::with_capacity(LENGTH);
        File::from(far).read_to_end(&mut got).unwrap();
        got
    });
    (near, Drain::Thread(thread))
}

fn file_sink(file: File) -> (OwnedFd, Drain) {
    let again = file.try_clone().unwrap();
    (file.into(), Drain::File(again))
}

pub(super) fn dense(file: File) -> File {
    file.write_all_at(&DENSE, 0).unwrap();
    file
}

fn sparse(file: &File) -> File {
    file.set_len(LENGTH as u64).unwrap();
    for data in DATA {
        file.write_all_at(&DENSE[data.clone()], data.start as u64)
            .unwrap();
    }
    file.try_clone().unwrap()
}

/// A file on the file system that cargo builds on, usually ext4 or overlay.
pub(super) fn ext4() -> File {
    tempfile::tempfile_in(on_disk()).unwrap()
}

/// The directory of this test's program. The temporary directory may be in memory, and on another
/// tmpfs than [`tmpfs`]'s.
pub(super) fn on_disk() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().to_owned()
}

pub(super) fn tmpfs() -> File {
    tempfile::tempfile_in("/dev/shm").unwrap()
}

pub(super) fn unix() -> (OwnedFd, OwnedFd) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), far.into())
}

pub(super) fn tcp() -> (OwnedFd, OwnedFd) {
    static LISTENER: LazyLock<Mutex<TcpListener>> =
        LazyLock::new(|| Mutex::new(TcpListener::bind("127.0.0.1:0").unwrap()));
    // One test at a time, or two tests get each other's connections.
    let listener = LISTENER.lock().unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    drop(listener);
    // Without this, a short last packet would wait for an acknowledgement, thousands of times.
    near.set_nodelay(true).unwrap();
    (near.into(), far.into())
}
