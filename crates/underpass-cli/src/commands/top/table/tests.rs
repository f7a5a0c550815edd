use super::*;
use proptest::prelude::*;

fn report() -> TopReport {
    let text = include_str!("../../../../../underpass-measure/tests/top_report/report.json");
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_table_of_a_wide_terminal() {
    let lines = lines(&report(), SortBy::Copies, 160, 99);
    let want = "\
4 processes moved bytes in 2.0 s, by bytes copied; watching took 0.04 s of CPU
    PID NAME                 IN/s     OUT/s  COPIES  SW/MiB   CPU  VERDICT
   4711 server           50.0 MiB  50.0 MiB    2.00      80   26%  2.0 copies a byte: reads files and writes sockets; sendfile would save both
   4712 nginx            50.0 MiB  50.0 MiB    0.00      80   26%  zero-copy: sendfile
   4713 relay†           50.0 MiB  50.0 MiB   2.00*      80   26%  2.0 copies a byte expected: reads sockets and writes sockets; splice would save both
   4714 cp               50.0 MiB  50.0 MiB       ?       ?     ?  copy_file_range: the file system shares extents, or copies once; right as it is";
    assert_eq!(lines.join("\n"), want);
}

#[test]
fn the_table_of_a_narrow_terminal_has_verdicts_below() {
    let lines = lines(&report(), SortBy::Cpu, 44, 6);
    let want = "\
4 processes moved bytes in 2.0 s, by CPU ti…
    PID NAME                OUT/s  COPIES";
    assert_eq!(lines[..2].join("\n"), want);
    assert_eq!(lines[3], "    2.0 copies a byte: reads files and");
    assert_eq!(lines.len(), 6);
}

#[test]
fn all_that_was_counted_is_in_the_lines_of_a_command() {
    let lines = whole(&report()).join("\n");
    for part in [
        "4711 server  /usr/bin/server --port 80",
        "read               file to memory: 100 MiB in 1,600 calls",
        "file to user     100 MiB",
        "kernel to file   not known",
        "socket to user   100 MiB (expected)",
        "of it in copying   41 % (38 % to 44 %, 1,000 samples)",
    ] {
        assert!(lines.contains(part), "{part:?} in\n{lines}");
    }
    assert!(!lines.contains("kworker"), "{lines}");
}

#[test]
fn lost_events_and_hostile_names_are_shown() {
    let mut report = report();
    report.overhead.lost = 1;
    report.processes[0].activity.name = "\u{1b}[2J\n".to_owned();
    let lines = lines(&report, SortBy::Bytes, usize::MAX, 99).join("\n");
    assert!(lines.contains("1 event LOST"), "{lines}");
    assert!(!lines.contains('\u{1b}'), "{lines}");
    report.processes.clear();
    let lines = self::lines(&report, SortBy::Bytes, 80, 99);
    assert_eq!(lines.last().unwrap(), "no process moved bytes");
}

proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(
        width in 0_usize..240,
        rows in 0_usize..30,
        name in ".{0,20}",
        bytes: u64,
    ) {
        let mut report = report();
        report.processes[1].activity.name = name;
        report.processes[1].bytes_out = bytes;
        let lines = lines(&report, SortBy::Copies, width, rows);
        prop_assert!(lines.len() <= rows);
        for line in lines {
            prop_assert!(line.width() <= width, "{width}: {line:?}");
        }
    }
}
