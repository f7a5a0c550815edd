//! Prints an explained plan, for people and for machines.

use std::fmt;

use serde_json::{Value, json};
use underpass::plan::{Choice, Plan};
use underpass::receipt::{Copies, expected_copies, expected_crypto};
use underpass::{Endpoint, Printable, units};

/// The width of a terminal that nobody has made wider.
const WIDTH: usize = 80;
/// Where the reasons of routes begin.
const COLUMN: usize = 21;

/// A plan, with the ends that it is for.
pub(super) struct Explained<'a> {
    pub(super) source: (&'a str, &'a Endpoint),
    pub(super) sink: (&'a str, &'a Endpoint),
    /// Whether the sink is a file that is yet to be made.
    pub(super) is_new: bool,
    pub(super) plan: &'a Plan,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.source.1, self.sink.1);
        let size = from.size.map(amount);
        described(f, self.source, "", size)?;
        described(f, self.sink, if self.is_new { "a new " } else { "" }, None)?;
        if let Some(first) = self.plan.routes.first() {
            let copies = expected_copies(first.route, from, to);
            writeln!(f, "\nby {}, {}", first.route, copied(&copies))?;
        }
        writeln!(f, "\nroutes, first choice first:")?;
        for (at, choice) in self.plan.routes.iter().enumerate() {
            let copies = expected_copies(choice.route, from, to);
            let known = match copies.cpu_bytes {
                Some(_) => format!("{} ({}: {})", copied(&copies), copies.evidence, copies.why),
                None => copied(&copies),
            };
            write!(f, "  {}. {:<15} ", at + 1, choice.route)?;
            hanging(f, choice.reason)?;
            write!(f, "{:COLUMN$}", "")?;
            hanging(f, &known)?;
        }
        let crypto = expected_crypto(from, to);
        if !crypto.passes.is_empty() {
            writeln!(f, "\nencryption, which is no copy:")?;
        }
        for pass in &crypto.passes {
            writeln!(f, "     each byte {}, {}", pass.phrase(), pass.evidence)?;
        }
        if !self.plan.refused.is_empty() {
            writeln!(f, "\nnot used:")?;
        }
        for choice in &self.plan.refused {
            write!(f, "     {:<15} ", choice.route)?;
            hanging(f, choice.reason)?;
        }
        Ok(())
    }
}

/// In the words of receipts.
fn copied(copies: &Copies) -> String {
    match copies.cpu_bytes {
        Some(0) => "none of it copied by the CPU".to_owned(),
        Some(1) => "all of it copied once by the CPU".to_owned(),
        Some(2) => "all of it copied twice by the CPU".to_owned(),
        Some(count) => format!("all of it copied {count} times by the CPU"),
        None => format!("not known what the CPU will copy ({})", copies.why),
    }
}

fn amount(bytes: u64) -> String {
    match bytes {
        ..1024 => units::count(bytes, "byte"),
        _ => units::size(bytes),
    }
}

/// Ends a line whose first [`COLUMN`] columns are there, and breaks it where it is too long.
fn hanging(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut column = COLUMN;
    for (at, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH {
            write!(f, "\n{:COLUMN$}", "")?;
            column = COLUMN;
        } else if at > 0 {
            f.write_str(" ")?;
            column += 1;
        }
        f.write_str(word)?;
        column += length;
    }
    writeln!(f)
}

/// Ends the line of one end.
fn described(
    f: &mut fmt::Formatter<'_>,
    (name, endpoint): (&str, &Endpoint),
    before: &str,
    size: Option<String>,
) -> fmt::Result {
    write!(f, "{}: {before}{}", Printable(name), endpoint.kind)?;
    if let Some(file_system) = endpoint.file_system {
        write!(f, " on {}", file_system.name())?;
    }
    if let Some(size) = size {
        write!(f, ", {size}")?;
    }
    for (set, what) in [
        (endpoint.holes, "with holes"),
        (endpoint.append, "opened with O_APPEND"),
        (endpoint.direct, "opened with O_DIRECT"),
        (
            endpoint.ulp && endpoint.tls.is_none(),
            "with an upper-layer protocol",
        ),
    ] {
        if set {
            write!(f, ", {what}")?;
        }
    }
    if let Some(tls) = &endpoint.tls {
        write!(f, ", tls: {tls}")?;
    }
    if let Some(egress) = &endpoint.egress {
        write!(f, ", reached by {}", egress.interface)?;
    }
    writeln!(f)
}

impl Explained<'_> {
    pub(super) fn json(&self) -> Value {
        let route = |choice: &Choice| {
            json!({
                "route": choice.route,
                "reason": choice.reason,
                "copies_per_byte": expected_copies(choice.route, self.source.1, self.sink.1),
            })
        };
        json!({
            "source": end(self.source),
            "sink": end(self.sink),
            "routes": self.plan.routes.iter().map(route).collect::<Vec<_>>(),
            "refused": self.plan.refused,
            "crypto_per_byte": expected_crypto(self.source.1, self.sink.1),
        })
    }
}

fn end((name, endpoint): (&str, &Endpoint)) -> Value {
    json!({
        "name": name,
        "kind": endpoint.kind,
        "file_system": endpoint.file_system.map(|file_system| file_system.name()),
        "size": endpoint.size,
        "holes": endpoint.holes,
        "append": endpoint.append,
        "tls": endpoint.tls,
        "egress": endpoint.egress,
    })
}
