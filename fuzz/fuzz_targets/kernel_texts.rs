//! Any text of tracefs and /proc/kallsyms is parsed without a panic: a sum covers all entries, or
//! there is none.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/underpass-measure/src/probe/kprobes/histogram.rs"]
mod histogram;
#[path = "../../crates/underpass-measure/src/symbols.rs"]
#[allow(dead_code)]
mod symbols;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    entries: Vec<u64>,
    dropped: u64,
    functions: Vec<(u64, u8)>,
    address: u64,
    text: &'a str,
}

fuzz_target!(|input: Input| {
    let _ = histogram::sum(input.text);
    let _ = histogram::calls(input.text, input.text);
    let _ = symbols::Symbols::parse(input.text).at(input.address);
    a_histogram(&input);
    functions(&input);
});

fn a_histogram(input: &Input) {
    let mut text = "# event histogram\n\n".to_owned();
    for (index, bytes) in input.entries.iter().enumerate() {
        text += &format!("{{ common_pid: {index:>10} }} hitcount: 1  bytes: {bytes:>10}\n");
    }
    text += &format!("\nTotals:\n    Hits: 1\n    Dropped: {}\n", input.dropped);
    let sum = input.entries.iter().try_fold(0_u64, |sum, &bytes| sum.checked_add(bytes));
    let want = sum.filter(|_| input.dropped == 0);
    assert_eq!(histogram::sum(&text).ok(), want, "{text}");
}

fn functions(input: &Input) {
    let line = |(address, kind): &(u64, u8)| {
        format!("{address:016x} {} f{address}\n", ["t", "T", "d"][usize::from(kind % 3)])
    };
    let symbols = symbols::Symbols::parse(&input.functions.iter().map(line).collect::<String>());
    let code = input.functions.iter().filter(|(_, kind)| kind % 3 < 2);
    let before = code.map(|(address, _)| *address).filter(|&start| start <= input.address);
    let want = before.max().map(|start| format!("f{start}"));
    assert_eq!(symbols.at(input.address), want.as_deref());
}
