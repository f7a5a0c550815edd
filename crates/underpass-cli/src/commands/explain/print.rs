//! Prints an explained plan, for people and for machines.

use std::fmt;

use serde_json::{Value, json};
use underpass::plan::{Choice, Plan};
use underpass::receipt::{expected_copies, expected_crypto};
use underpass::{Endpoint, Printable, units};

/// A plan, with the ends that it is for.
pub(super) struct Explained<'a> {
    pub(super) source: (&'a str, &'a Endpoint),
    pub(super) sink: (&'a str, &'a Endpoint),
    pub(super) plan: &'a Plan,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, endpoint) in [self.source, self.sink] {
            write!(f, "{}: ", Printable(name))?;
            describe(f, endpoint)?;
            writeln!(f)?;
        }
        writeln!(f, "\nroutes, first choice first:")?;
        for (at, choice) in self.plan.routes.iter().enumerate() {
            writeln!(f, "  {}. {:<16} {}", at + 1, choice.route, choice.reason)?;
            let copies = expected_copies(choice.route, self.source.1, self.sink.1);
            let count = match copies.cpu_bytes {
                Some(1) => "1 CPU copy a byte".to_owned(),
                Some(count) => format!("{count} CPU copies a byte"),
                None => {
                    writeln!(f, "{:21} CPU copies unknown: {}", "", copies.why)?;
                    continue;
                }
            };
            let evidence = copies.evidence;
            writeln!(f, "{:21} {count}, {evidence}: {}", "", copies.why)?;
        }
        let crypto = expected_crypto(self.source.1, self.sink.1);
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
            writeln!(f, "     {:<16} {}", choice.route, choice.reason)?;
        }
        Ok(())
    }
}

fn describe(f: &mut fmt::Formatter<'_>, endpoint: &Endpoint) -> fmt::Result {
    write!(f, "{}", endpoint.kind)?;
    if let Some(file_system) = endpoint.file_system {
        write!(f, " on {}", file_system.name())?;
    }
    if let Some(size) = endpoint.size {
        write!(f, ", {}", units::count(size, "byte"))?;
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
    match &endpoint.egress {
        Some(egress) => write!(f, ", reached by {}", egress.interface),
        None => Ok(()),
    }
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
