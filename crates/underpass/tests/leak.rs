//! The number of open descriptors does not grow. This test is alone in its file, and so in its
//! process, because descriptors are counted for the whole process.

use std::fs::File;
use std::io::{Read, Seek, Write, pipe};

use underpass::{Route, Transfer};

use support::{file_of, random_bytes, tcp_pair, unix_pair};

mod support;

const TRANSFERS: usize = 100_000;

/// Large enough not to be copied as a small body, so that the routes inside the kernel are used.
const BODY: usize = 16 * 1024;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Ends that stay open for many transfers.
struct Ends {
    file: File,
    copy: File,
    sockets: [(
        std::os::unix::net::UnixStream,
        std::os::unix::net::UnixStream,
    ); 2],
    pipes: [(std::io::PipeReader, std::io::PipeWriter); 2],
    got: Vec<u8>,
}

impl Ends {
    fn file_to_socket(&mut self, route: Option<Route>) {
        let (near, far) = &mut self.sockets[0];
        Transfer::new(&self.file, near)
            .range(..)
            .route(route)
            .run()
            .unwrap();
        far.read_exact(&mut self.got).unwrap();
    }

    fn pipe_to_pipe(&mut self) {
        let [(source, writer), (reader, sink)] = &mut self.pipes;
        writer.write_all(b"small").unwrap();
        Transfer::new(source, sink).range(..5).run().unwrap();
        reader.read_exact(&mut self.got[..5]).unwrap();
    }

    fn file_to_file(&mut self) {
        self.copy.rewind().unwrap();
        let receipt = Transfer::new(&self.file, &self.copy)
            .range(..)
            .run()
            .unwrap();
        assert_eq!(receipt.bytes, BODY as u64);
    }

    fn socket_to_socket(&mut self) {
        let [(source, far), (sink, out)] = &mut self.sockets;
        far.write_all(b"small").unwrap();
        Transfer::new(source, sink).range(..5).run().unwrap();
        out.read_exact(&mut self.got[..5]).unwrap();
    }

    fn given_up_half_way(&mut self) {
        let [(source, far), (sink, _)] = &mut self.sockets;
        let mut running = Transfer::new(source, sink).range(..5).start().unwrap();
        running.step().unwrap();
        drop(running);
        far.write_all(b"").unwrap();
    }

    fn refused(&mut self) {
        let past_the_end = Transfer::new(&self.file, &self.copy).range(..1 << 40);
        assert!(past_the_end.run().unwrap_err().is_refused());
    }
}

#[test]
fn pitfall_13_a_hundred_thousand_transfers_leave_no_descriptor_behind() {
    let bytes = random_bytes(13, BODY);
    let mut ends = Ends {
        file: file_of(&bytes),
        copy: tempfile::tempfile().unwrap(),
        sockets: [unix_pair(), unix_pair()],
        pipes: [pipe().unwrap(), pipe().unwrap()],
        got: vec![0; BODY],
    };
    // The first transfer fills the pool, which is kept.
    ends.socket_to_socket();
    let before = open_descriptors();
    for turn in 0..TRANSFERS {
        match turn % 8 {
            0 => ends.file_to_socket(None),
            1 => ends.file_to_socket(Some(Route::Splice)),
            2 | 3 => ends.pipe_to_pipe(),
            4 => ends.file_to_file(),
            5 => ends.socket_to_socket(),
            6 => ends.given_up_half_way(),
            _ => ends.refused(),
        }
        if turn % 1000 == 0 {
            assert_eq!(open_descriptors(), before, "after {turn} transfers");
        }
    }
    // With new sockets each time.
    for _ in 0..500 {
        let (near, mut far) = tcp_pair();
        Transfer::new(&ends.file, near).range(..).run().unwrap();
        far.read_exact(&mut ends.got).unwrap();
        assert!(ends.got == bytes);
    }
    assert_eq!(open_descriptors(), before);
}
