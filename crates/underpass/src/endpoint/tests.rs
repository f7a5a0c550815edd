//! Which kind of endpoint each real descriptor is recognised as.

use std::fs::{File, OpenOptions};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

use super::*;

fn open(path: &str) -> OwnedFd {
    File::open(path).unwrap().into()
}

/// Both ends of a pseudo-terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let front = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&front).unwrap();
    let name = ptsname(&front, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let back = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (front, back)
}

#[test]
fn each_descriptor_is_classified() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (unix, _peer) = UnixStream::pair().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (front, back) = terminal();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let counter = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let packets = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    );
    let table: Vec<(OwnedFd, Kind)> = vec![
        (tempfile::tempfile().unwrap().into(), Kind::File),
        (
            tempfile::tempfile_in("/dev/shm").unwrap().into(),
            Kind::File,
        ),
        (open("/proc/self/status"), Kind::PseudoFile),
        (
            open("/sys/kernel/mm/transparent_hugepage/enabled"),
            Kind::PseudoFile,
        ),
        (open("/dev/null"), Kind::CharDevice),
        (open("/dev/zero"), Kind::CharDevice),
        (open("/"), Kind::Directory),
        (open("/proc"), Kind::Directory),
        (front, Kind::Terminal),
        (back, Kind::Terminal),
        (tcp.into(), Kind::Tcp),
        (unix.into(), Kind::UnixStream),
        (UnixDatagram::unbound().unwrap().into(), Kind::MessageSocket),
        (
            UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            Kind::MessageSocket,
        ),
        (packets.unwrap().0, Kind::MessageSocket),
        (reader.into(), Kind::Pipe),
        (writer.into(), Kind::Pipe),
        (counter, Kind::Other),
    ];
    for (fd, want) in &table {
        let name = name_of(fd.as_fd(), *want);
        assert_eq!(Endpoint::of(fd).unwrap().kind, *want, "{name}");
    }
}

#[test]
fn tcp_over_ip_version_6_is_tcp() {
    // Not every machine has IPv6.
    if let Ok(listener) = TcpListener::bind("[::1]:0") {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(Endpoint::of(&peer).unwrap().kind, Kind::Tcp);
    }
}

#[test]
fn listeners_are_streams_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(directory.path().join("socket")).unwrap();
    assert_eq!(Endpoint::of(&unix).unwrap().kind, Kind::UnixStream);
}

#[test]
fn a_block_device_has_its_size() {
    // Only root can open these, and not every machine has them.
    for name in ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"] {
        let Ok(device) = File::open(name) else {
            continue;
        };
        let endpoint = Endpoint::of(&device).unwrap();
        assert_eq!(endpoint.kind, Kind::BlockDevice, "{name}");
        assert!(endpoint.size.is_some());
        assert_eq!(rustix::fs::tell(&device).unwrap(), 0);
    }
}

#[test]
fn the_open_mode_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"here").unwrap();
    let with = |options: &mut OpenOptions| Endpoint::of(options.open(&path).unwrap()).unwrap();
    let read = with(OpenOptions::new().read(true));
    assert!(read.readable && !read.writable && !read.append && !read.nonblocking);
    let write = with(OpenOptions::new().write(true));
    assert!(!write.readable && write.writable);
    let both = with(OpenOptions::new().read(true).append(true));
    assert!(both.readable && both.writable && both.append);
    let eager = with(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK));
    assert!(eager.nonblocking);
    let name_only = with(OpenOptions::new().read(true).custom_flags(libc::O_PATH));
    assert!(!name_only.readable && !name_only.writable);
    assert_eq!(name_only.kind, Kind::File);
}

#[test]
fn a_pipe_has_one_direction_an_end() {
    let (reader, writer) = std::io::pipe().unwrap();
    let (reader, writer) = (Endpoint::of(reader).unwrap(), Endpoint::of(writer).unwrap());
    assert!(reader.readable && !reader.writable);
    assert!(!writer.readable && writer.writable);
}

#[test]
fn sizes_and_holes_are_asked_of_files_only() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&[1; 10_000], 0).unwrap();
    let dense = Endpoint::of(&file).unwrap();
    assert_eq!((dense.size, dense.holes), (Some(10_000), false));
    file.set_len(1 << 30).unwrap();
    let sparse = Endpoint::of(&file).unwrap();
    assert_eq!((sparse.size, sparse.holes), (Some(1 << 30), true));
    let pseudo = Endpoint::of(open("/proc/version")).unwrap();
    assert_eq!((pseudo.size, pseudo.holes), (None, false));
    assert_eq!(pseudo.file_system.unwrap().name(), "proc");
    let shm = Endpoint::of(tempfile::tempfile_in("/dev/shm").unwrap()).unwrap();
    assert_eq!(shm.file_system.unwrap().name(), "tmpfs");
}

#[test]
fn names_are_paths_and_peers() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_string_lossy().into_owned();
    assert_eq!(name_of(file.as_file().as_fd(), Kind::File), path);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let near = TcpStream::connect(address).unwrap();
    assert_eq!(name_of(near.as_fd(), Kind::Tcp), address.to_string());
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(name_of(reader.as_fd(), Kind::Pipe).starts_with("pipe:["));
}
