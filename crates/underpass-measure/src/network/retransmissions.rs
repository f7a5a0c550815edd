//! How many segments TCP has sent again, in the network namespace of the calling thread:
//! /proc/net/snmp (proc_pid_net(5)).

use std::io;

/// Reads the count.
///
/// # Errors
/// Those of reading; `InvalidData` if the count is not there.
pub(super) fn count() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The number in the column `RetransSegs` of the two lines that begin with `Tcp:`.
fn parse(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut columns = names.split(' ').zip(numbers.split(' '));
    let (_, number) = columns.find(|(name, _)| *name == "RetransSegs")?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_is_found_by_its_name() {
        let text = "Ip: Forwarding\nIp: 1\nTcp: InSegs RetransSegs OutRsts\nTcp: 5 7 9\n";
        assert_eq!(parse(text), Some(7));
        assert_eq!(parse("Tcp: InSegs\nTcp: 5\n"), None);
        assert_eq!(parse(""), None);
        assert!(count().is_ok());
    }
}
