//! Reads the metrics page over one connection that stays open, so it can be read when no other
//! connection could be opened.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::peer::PATIENCE;

pub(crate) struct Metrics {
    connection: BufReader<TcpStream>,
}

impl Metrics {
    /// Connects to the address of the metrics in `line`, the second line that a server prints.
    pub(crate) fn of(line: &str) -> Self {
        let place = line.strip_prefix("underpass: metrics on http://").unwrap();
        let connection = TcpStream::connect(place.strip_suffix("/metrics").unwrap()).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut metrics = Self {
            connection: BufReader::new(connection),
        };
        metrics.page();
        metrics
    }

    /// The value of the sample `name`, with its labels as they are printed.
    #[track_caller]
    pub(crate) fn sample(&mut self, name: &str) -> u64 {
        let page = self.page();
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name} in {page}"))
            .parse()
            .unwrap()
    }

    /// Waits until the sample `name` is more than `count`. No event says so, so this polls.
    #[track_caller]
    pub(crate) fn await_more_than(&mut self, name: &str, count: u64) {
        let begun = Instant::now();
        while self.sample(name) <= count {
            assert!(begun.elapsed() < PATIENCE, "{name} stays: {}", self.page());
            std::thread::yield_now();
        }
    }

    /// Waits until there is a sample `name`. No event says so, so this polls.
    #[track_caller]
    pub(crate) fn await_sample(&mut self, name: &str) {
        let begun = Instant::now();
        let begins = |line: &str| line.starts_with(name);
        while !self.page().lines().any(begins) {
            assert!(begun.elapsed() < PATIENCE, "no {name}: {}", self.page());
            std::thread::yield_now();
        }
    }

    fn page(&mut self) -> String {
        let request = b"GET /metrics HTTP/1.1\r\nHost: it\r\n\r\n";
        self.connection.get_mut().write_all(request).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
            self.connection.read_line(&mut line).unwrap();
        }
        let mut page = vec![0; length];
        self.connection.read_exact(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }
}
