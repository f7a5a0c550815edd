//! Checks that a server sends the right bytes, outside of the timing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::load::Load;
use super::response;
use crate::error::{Context, Error, Result};

const CHUNK: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests once what the load will request, and compares every byte with `file`.
pub(super) fn content(load: &Load, file: &Path) -> Result<()> {
    let mut socket = TcpStream::connect(load.addr).context(|| "cannot connect".into())?;
    let same = socket
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| socket.write_all(load.request(0).as_bytes()))
        .context(|| "cannot ask".into())
        .and_then(|()| compare(&mut socket, load.body, file))?;
    same.then_some(())
        .ok_or_else(|| Error::new(format!("/{} was not served as it is", load.paths[0])))
}

fn compare(socket: &mut TcpStream, length: u64, file: &Path) -> Result<bool> {
    let mut file = File::open(file).context(|| format!("cannot open {}", file.display()))?;
    let mut got = Vec::new();
    let head = loop {
        if let Some(head) = response::parse(&got)? {
            break head;
        }
        let mut more = [0; 4096];
        match socket.read(&mut more).context(|| "no answer".into())? {
            0 => return Err(Error::new("the server closed a connection")),
            count => got.extend_from_slice(&more[..count]),
        }
    };
    if head.body != length {
        return Ok(false);
    }
    let mut body = (&got[head.len..]).chain(socket).take(length);
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = file
            .read(&mut ours)
            .context(|| "cannot read a file".into())?;
        if count == 0 {
            return Ok(body.limit() == 0);
        }
        body.read_exact(&mut theirs[..count])
            .context(|| "a body broke off".into())?;
        if ours[..count] != theirs[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use super::*;
    use crate::testfile;

    #[test]
    fn other_bytes_are_told_from_the_right_ones() {
        let dir = tempfile::tempdir().unwrap();
        let file = testfile::make(dir.path(), "x", CHUNK as u64 + 3).unwrap();
        let other = dir.path().join("other");
        let addr = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let root = dir.path().to_owned();
        std::thread::spawn(move || super::super::bare::serve(&root, addr));
        while TcpStream::connect(addr).is_err() {}
        let load = Load::new(addr, "x", CHUNK as u64 + 3, 1);
        content(&load, &file).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        bytes[CHUNK + 1] ^= 1;
        fs::write(&other, bytes).unwrap();
        let error = content(&load, &other).unwrap_err().to_string();
        assert_eq!(error, "/x was not served as it is");
    }
}
