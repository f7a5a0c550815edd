//! One connection: requests are read one after the other, and answered, or not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::answer::{Answer, answer};
use super::text::{decode, http_date};
use super::{Fault, Request, Shared};

/// As many bytes are written at once.
const PIECE: usize = 64 << 10;

/// Answers requests until the client or the store ends it.
pub(super) fn serve(stream: &TcpStream, shared: &Shared) {
    // Errors are the client's leaving.
    let _ = begin(stream, shared);
    let _ = stream.shutdown(Shutdown::Both);
}

fn begin(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &shared.tls {
        return requests(tls.accept(stream)?, stream, shared);
    }
    requests(stream, stream, shared)
}

/// Answers what comes by `stream`, which is on top of `tcp`, or the same.
fn requests(stream: impl Read + Write, tcp: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some((request, body)) = read(&mut reader)? {
        let faults = shared.lock().note(&request);
        shared.changed.notify_all();
        if faults.iter().any(|it| matches!(it, Fault::Hang)) {
            shared.hang();
        }
        if shared.stopped.load(Relaxed) {
            return Ok(());
        }
        for fault in &faults {
            if let Fault::Delay(delay) = fault {
                std::thread::sleep(*delay);
            }
        }
        let answer = answer(shared, &request, body, &faults);
        let is_head = request.method == "HEAD";
        let hang = || shared.hang();
        let is_whole = send(reader.get_mut(), &answer, is_head, &faults, hang)?;
        if faults.iter().any(|it| matches!(it, Fault::Reset(_))) && !is_head {
            rustix::net::sockopt::set_socket_linger(tcp, Some(Duration::ZERO))?;
            return Ok(());
        }
        if !is_whole {
            return Ok(());
        }
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<(Request, Vec<u8>)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_string();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decode(path);
    let key = path.strip_prefix('/').unwrap_or(&path);
    let (bucket, key) = key.split_once('/').unwrap_or((key, ""));
    let (bucket, key) = (bucket.to_string(), key.to_string());
    let query = query.to_string();
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        fields.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    let request = Request {
        method,
        bucket,
        key,
        query,
        fields,
    };
    let length = request
        .field("content-length")
        .and_then(|it| it.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some((request, body)))
}

/// Whether all of the answer was sent.
fn send(
    stream: &mut impl Write,
    answer: &Answer,
    is_head: bool,
    faults: &[Fault],
    hang: impl Fn(),
) -> io::Result<bool> {
    let mut now = SystemTime::now();
    let (mut start, mut end, mut pause) = (0, answer.body.len(), None);
    for fault in faults {
        match fault {
            Fault::OldDate(earlier) => now -= *earlier,
            Fault::ShortBody(bytes) | Fault::Reset(bytes) => end = end.min(*bytes),
            Fault::Stop(bytes) => start = end.min(*bytes),
            Fault::Drip(each) => pause = Some((1, *each)),
            Fault::Slow(rate) => {
                let share = (*rate as usize / 20).max(1);
                pause = Some((share, Duration::from_millis(50)));
            }
            _ => {}
        }
    }
    let length = answer.length.unwrap_or(answer.body.len());
    let date = http_date(now);
    let mut head = format!(
        "HTTP/1.1 {} Told\r\ncontent-length: {length}\r\ndate: {date}\r\n",
        answer.status
    );
    for (name, value) in &answer.fields {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head += "\r\n";
    if faults.iter().any(|it| matches!(it, Fault::Interim)) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.flush()?;
        hang();
    }
    stream.write_all(head.as_bytes())?;
    if is_head {
        stream.flush()?;
        return Ok(true);
    }
    if start > 0 {
        stream.write_all(&answer.body[..start])?;
        stream.flush()?;
        hang();
    }
    let (size, pause) = pause.map_or((PIECE, None), |(size, each)| (size, Some(each)));
    for piece in answer.body[start..end].chunks(size) {
        stream.write_all(piece)?;
        if let Some(each) = pause {
            std::thread::sleep(each);
        }
    }
    stream.flush()?;
    Ok(end == answer.body.len())
}
