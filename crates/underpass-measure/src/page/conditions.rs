//! Where and how the measurement was made, what the terms mean, and how to repeat it.

use maud::{Markup, html};

use super::{Page, words};
use crate::number;
use crate::report::{Interface, Probe};

/// Machine, interfaces, probes, method.
pub(super) fn section(page: &Page) -> Markup {
    html! {
        section {
            h2 { (page.say(words::CONDITIONS)) }
            h3 { (page.say(words::MACHINE)) }
            (machine(page))
            h3 { (page.say(words::INTERFACES)) }
            @if page.report.interfaces.is_empty() { p.absent { (page.say(words::NO_INTERFACES)) } }
            dl.facts { @for it in &page.report.interfaces { (interface(page, it)) } }
            h3 { (page.say(words::PROBES)) }
            @if page.report.probes.is_empty() { p.absent { (page.say(words::NO_PROBES)) } }
            dl.facts { @for it in &page.report.probes { (probe(page, it)) } }
            h3 { (page.say(words::METHOD)) }
            (method(page))
        }
    }
}

fn machine(page: &Page) -> Markup {
    let machine = &page.report.machine;
    html! {
        dl.facts {
            dt { (page.say(words::KERNEL)) } dd { (machine.kernel) }
            dt { (page.say(words::PROCESSOR)) } dd { (machine.processor) }
            dt { (page.say(words::PROCESSORS)) } dd { (machine.processors) }
            dt { (page.say(words::MEMORY)) } dd { (number::gib(machine.memory_bytes)) }
            dt { (page.say(words::FILE_SYSTEM)) } dd { (machine.file_system) }
        }
    }
}

fn interface(page: &Page, interface: &Interface) -> Markup {
    let gathers = match interface.gathers {
        Some(true) => words::GATHERS,
        Some(false) => words::GATHERS_NOT,
        None => words::GATHERS_PERHAPS,
    };
    html! {
        dt { (page.interface(&interface.name)) }
        dd {
            (page.say(gathers))
            @if let Some(why) = &interface.missing {
                br;
                strong { (page.say(words::UNUSED)) } (page.colon()) (page.told(why))
            }
        }
    }
}

fn probe(page: &Page, probe: &Probe) -> Markup {
    let used = if probe.used {
        words::USED
    } else {
        words::UNUSED
    };
    html! {
        dt { (probe.name) }
        dd {
            strong { (page.say(used)) } " · " (page.say(words::COUNTS)) (page.colon()) (page.told(&probe.counts))
            @if let Some(note) = &probe.note { br; (page.told(note)) }
        }
    }
}

fn method(page: &Page) -> Markup {
    let method = &page.report.method;
    html! {
        dl.facts {
            dt { (page.say(words::ROUNDS)) } dd { (method.rounds) }
            dt { (page.say(words::UNIT)) } dd { (number::size(method.unit_bytes)) }
            dt { (page.say(words::COUNTED_OVER)) } dd { (number::size(method.counted_bytes)) }
            dt { (page.say(words::SAMPLE)) } dd { (number::size(method.sample_bytes)) }
            @if let Some(tls) = &method.tls { dt { (page.say(words::TLS_USED)) } dd { (tls) } }
        }
    }
}

/// The terms that the page uses.
pub(super) fn terms(page: &Page) -> Markup {
    let meanings = [
        words::KERNEL_MODE_MEANS,
        words::MODE_SWITCH_MEANS,
        words::PAGE_CACHE_MEANS,
        words::DMA_MEANS,
        words::GATHER_MEANS,
        words::CRYPTO_PASS_MEANS,
    ];
    html! {
        section {
            h2 { (page.say(words::TERMS)) }
            ul { @for meaning in meanings { li { (page.say(meaning)) } } }
        }
    }
}

/// The command that made the report, or one that makes such a page.
pub(super) fn repeat(page: &Page) -> Markup {
    let usual = format!(
        "underpass measure --html measure.html --lang {}",
        page.language.name()
    );
    let (told, command) = match &page.report.command {
        Some(command) => (words::RAN, command),
        None => (words::RAN_UNKNOWN, &usual),
    };
    html! {
        footer {
            h2 { (page.say(words::REPEAT)) }
            p { (page.say(told)) }
            pre { code { (command) } }
            (super::share::section(page))
            p { "underpass " (page.report.version) " · " (page.report.form) " · " (page.report.began) }
        }
    }
}
