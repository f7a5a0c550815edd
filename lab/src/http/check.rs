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
    let socket = TcpStream::connect(load.addr).context(|| "cannot connect".into())?;
    let timeout = socket.set_read_timeout(Some(PATIENCE));
    timeout.context(|| "cannot set up a connection".into())?;
    let same = match &load.tls {
        Some(tls) => compare(tls.stream(socket)?, load, file)?,
        None => compare(socket, load, file)?,
    };
    same.then_some(())
        .ok_or_else(|| Error::new(format!("/{} was not served as it is", load.paths[0])))
}

fn compare(mut socket: impl Read + Write, load: &Load, file: &Path) -> Result<bool> {
    let (length, request) = (load.body, load.request(0));
    let asked = socket.write_all(request.as_bytes());
    asked.context(|| "cannot ask".into())?;
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

    use std::sync::Arc;

    use super::*;
    use crate::bench::Bench;
    use crate::commands::Commands;
    use crate::contender;
    use crate::pin::Pinning;
    use crate::scenario::{self, Race};
    use crate::server::running::Running;
    use crate::testfile;
    use crate::tls::Tls;

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

    #[test]
    fn every_installed_rival_serves_over_tls() {
        let dir = tempfile::tempdir().unwrap();
        testfile::open_to_all(dir.path()).unwrap();
        let file = testfile::make(dir.path(), "hot-0", 1 << 10).unwrap();
        let scenario = &scenario::named(&["https-small".to_owned()]).unwrap()[0];
        let bench = Bench {
            scenario,
            root: dir.path(),
            pinning: Pinning::new(false).unwrap(),
            underpass: None,
            before: None,
            commands: &Commands::default(),
        };
        let tls = Arc::new(Tls::new().unwrap());
        for who in contender::all(Race::Https, None).unwrap() {
            if let Err(why) = &who.program {
                println!("skipped: {}: {why}", who.name());
                continue;
            }
            let mut server = Running::start_at(&bench, &who, tls.places()).unwrap();
            let load = Load::new(server.addr, "hot-0", 1 << 10, 1).over(Some(&tls));
            let same = server.explain(content(&load, &file));
            same.unwrap_or_else(|error| panic!("{}: {error}", who.name()));
        }
    }
}
