//! The copies of one byte from the disk to the network interface: counted if a probe covered the
//! hop, otherwise reported by the kernel, otherwise expected.

use crate::network::Network;
use crate::probe::{Sum, Work};
use crate::report::{Copies, Count, Evidence, Hop, HopKind, Mover};
use crate::sample::{Outcome, SampleSpec};
use crate::way::{SendReport, Way};

/// If a probe saw less than this share of what a hop must have copied, its sum is not a count of
/// that hop.
const IMPLAUSIBLE: f64 = 0.5;

pub(crate) fn copies(spec: &SampleSpec<'_>, outcome: &Outcome) -> Copies {
    let by_cpu = |kind| Hop {
        kind,
        mover: Mover::Cpu,
        copies: cpu_copies(kind, spec, outcome),
    };
    Copies::from_hops(vec![
        by_dma(
            HopKind::DiskToKernel,
            "a disk's DMA, which no software sees, filled the page cache when the file was first read",
        ),
        by_cpu(HopKind::KernelToUser),
        by_cpu(HopKind::UserToSocket),
        by_cpu(HopKind::KernelToSocket),
        by_dma(
            HopKind::SocketToInterface,
            "a network card's DMA, which no software sees; loopback and veth have no card, and pass references on",
        ),
    ])
}

fn by_dma(kind: HopKind, why: &str) -> Hop {
    Hop {
        kind,
        mover: Mover::Dma,
        copies: Count::expected(1.0, why),
    }
}

fn cpu_copies(kind: HopKind, spec: &SampleSpec<'_>, outcome: &Outcome) -> Count {
    let expected = expected(kind, spec, &outcome.reported);
    let Some(Sum { bytes, at, .. }) = outcome.counted.sum(Work::Copy(kind)) else {
        return expected;
    };
    let Some(bytes) = bytes else {
        return Count::unknown(format!("kprobes: {at}"));
    };
    let copies = *bytes as f64 / spec.total() as f64;
    // read(2) did give these bytes to the program. So a function that the probe does not know
    // copied them.
    let must = expected.value.filter(|_| kind == HopKind::KernelToUser);
    if must.is_some_and(|least| copies < least * IMPLAUSIBLE) {
        return Count::unknown(format!(
            "the bytes were read, but not through {at}: this file system has its own way"
        ));
    }
    let again = match outcome.retransmitted {
        0 => String::new(),
        segments => format!("; TCP sent {segments} segments again"),
    };
    Count::measured(copies, format!("kprobes: {at}{again}"))
}

/// The count that is documented, or that the kernel reported.
fn expected(kind: HopKind, spec: &SampleSpec<'_>, reported: &SendReport) -> Count {
    match kind {
        HopKind::KernelToUser => match reported.expected.kernel_to_user {
            0 => Count::expected(0.0, "nothing is read into a buffer"),
            copies => Count::expected(f64::from(copies), "read(2) copies"),
        },
        HopKind::UserToSocket => match reported.expected.user_to_socket {
            0 => Count::expected(0.0, "nothing is written from a buffer"),
            copies => Count::expected(f64::from(copies), "write(2) copies"),
        },
        _ => in_kernel(spec, reported),
    }
}

/// Copies of pages that socket buffers only refer to.
fn in_kernel(spec: &SampleSpec<'_>, reported: &SendReport) -> Count {
    let Network { link, gathers, .. } = spec.network;
    match (gathers, reported.copied) {
        (Some(false), _) => Count::expected(
            1.0,
            format!(
                "{} does not gather: packets are made contiguous",
                link.name()
            ),
        ),
        (_, Some(bytes)) => Count::new(
            Some(bytes as f64 / spec.total() as f64),
            Evidence::Reported,
            "the kernel said after each send whether it copied (SO_EE_CODE_ZEROCOPY_COPIED)",
        ),
        (Some(true), None) if spec.way == Way::SendZerocopy => {
            Count::unknown("the kernel did not say whether it copied")
        }
        (Some(true), None) => Count::expected(0.0, format!("{} gathers", link.name())),
        (None, None) => Count::unknown(format!("{} does not say whether it gathers", link.name())),
    }
}
