//! The copies of a process, by hop: counted where that is possible, expected elsewhere.

use std::collections::{BTreeMap, HashMap};

use super::activity::is_little;
use super::expected::{Expected, expected};
use super::{CallActivity, CopyHop, HopCopies};
use crate::report::Evidence;

/// A sum of fewer bytes than this may be that of another interval: a call is counted when it
/// returns, its copies before.
const FEW: u64 = 64 << 10;

/// The copies of calls. `seen` is what was counted, at the hops of `counted`, which says in which
/// functions.
pub(super) fn copies(
    calls: &[CallActivity],
    seen: &HashMap<CopyHop, i64>,
    counted: &BTreeMap<CopyHop, String>,
) -> Vec<HopCopies> {
    let mut hops: BTreeMap<CopyHop, Vec<Expected>> = BTreeMap::new();
    let moved = calls
        .iter()
        .fold(0, |sum: u64, call| sum.saturating_add(call.bytes));
    // Calls that moved nothing, such as a read at a device's end, say nothing about copies.
    let moving = |call: &&CallActivity| call.bytes > 0 || call.calls_of_unknown_bytes > 0;
    for call in calls.iter().filter(moving) {
        if let Some(one) = expected(call) {
            let one = bounded(one, call, moved);
            hops.entry(one.hop).or_default().push(one);
        }
    }
    for (&hop, _) in seen.iter().filter(|(_, bytes)| **bytes > 0) {
        hops.entry(hop).or_default();
    }
    let found = hops
        .into_iter()
        .map(|(hop, parts)| match counted.get(&hop) {
            Some(at) => measured(hop, &parts, seen.get(&hop).copied().unwrap_or(0), at),
            None => documented(hop, &parts),
        });
    found.collect()
}

/// What is not known, but too little to matter, counts as copied: eight bytes to an eventfd must
/// not make all the rest unknown.
fn bounded(one: Expected, call: &CallActivity, moved: u64) -> Expected {
    let is_little = call.calls_of_unknown_bytes == 0 && is_little(call.bytes, moved);
    Expected {
        bytes: one.bytes.or(is_little.then_some(call.bytes)),
        ..one
    }
}

fn measured(hop: CopyHop, parts: &[Expected], seen: i64, at: &str) -> HopCopies {
    let (countable, others): (Vec<Expected>, Vec<_>) = parts.iter().partition(|one| one.countable);
    let seen = u64::try_from(seen).unwrap_or(0);
    let must: u64 = countable.iter().filter_map(|one| one.bytes).sum();
    let is_file = matches!(hop, CopyHop::FileToUser | CopyHop::UserToFile);
    // The calls did move these bytes. So a function that is not known copied them.
    if is_file && must > FEW && seen < must / 2 {
        return HopCopies {
            hop,
            bytes: None,
            evidence: Evidence::Unknown,
            why: format!("bytes moved, but not through {at}: this file system has its own way"),
        };
    }
    let counted = HopCopies {
        hop,
        bytes: Some(seen),
        evidence: Evidence::Measured,
        why: at.to_owned(),
    };
    if others.is_empty() {
        return counted;
    }
    let rest = documented(hop, &others);
    HopCopies {
        bytes: rest.bytes.map(|bytes| bytes + seen),
        evidence: rest.evidence,
        why: format!("{at}; {}", rest.why),
        ..counted
    }
}

fn documented(hop: CopyHop, parts: &[Expected]) -> HopCopies {
    let bytes: Option<u64> = parts.iter().map(|one| one.bytes).sum();
    let mut whys: Vec<_> = parts.iter().map(|one| one.why).collect();
    whys.sort_unstable();
    whys.dedup();
    HopCopies {
        hop,
        bytes,
        evidence: if bytes.is_some() {
            Evidence::Expected
        } else {
            Evidence::Unknown
        },
        why: whys.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::{CallFamily, End};

    fn call(family: CallFamily, from: End, to: End) -> CallActivity {
        CallActivity {
            family,
            from,
            to,
            calls: 1,
            bytes: 1 << 20,
            calls_of_unknown_bytes: 0,
        }
    }

    fn told(copies: &[HopCopies]) -> Vec<(CopyHop, Option<u64>, Evidence)> {
        let told = copies.iter().map(|one| (one.hop, one.bytes, one.evidence));
        told.collect()
    }

    #[test]
    fn what_is_counted_replaces_what_is_expected() {
        use CopyHop::{FileToUser, UserToSocket};
        let calls = [
            call(CallFamily::Read, End::File, End::Memory),
            call(CallFamily::Write, End::Memory, End::Tcp),
        ];
        let counted = BTreeMap::from([(FileToUser, "filemap_read".to_owned())]);
        let seen = HashMap::from([(FileToUser, (1 << 20) + 5)]);
        let expected = [
            (FileToUser, Some((1 << 20) + 5), Evidence::Measured),
            (UserToSocket, Some(1 << 20), Evidence::Expected),
        ];
        assert_eq!(told(&copies(&calls, &seen, &counted)), expected);
        let nothing = copies(&calls[..1], &HashMap::new(), &counted);
        assert_eq!(told(&nothing), [(FileToUser, None, Evidence::Unknown)]);
    }

    #[test]
    fn what_cannot_be_counted_is_added_as_expected() {
        let hop = CopyHop::SocketToUser;
        let calls = [
            call(CallFamily::Recv, End::Tcp, End::Memory),
            call(CallFamily::Recv, End::OtherSocket, End::Memory),
        ];
        let counted = BTreeMap::from([(hop, "skb_copy_datagram_iter".to_owned())]);
        let seen = HashMap::from([(hop, 1 << 20)]);
        let found = copies(&calls, &seen, &counted);
        assert_eq!(told(&found), [(hop, Some(2 << 20), Evidence::Expected)]);
    }

    #[test]
    fn what_a_device_took_is_not_known_unless_it_is_little() {
        let hop = CopyHop::Other;
        let mut calls = [
            call(CallFamily::Sendfile, End::File, End::Tcp),
            call(CallFamily::Write, End::Memory, End::Other),
        ];
        let found = |calls: &[CallActivity]| {
            let copies = copies(calls, &HashMap::new(), &BTreeMap::new());
            let other = copies.into_iter().find(|one| one.hop == hop);
            other.map(|one| (one.bytes, one.evidence))
        };
        assert_eq!(found(&calls), Some((None, Evidence::Unknown)));
        calls[1].bytes = 8;
        assert_eq!(found(&calls), Some((Some(8), Evidence::Expected)));
        calls[1].calls_of_unknown_bytes = 1;
        assert_eq!(found(&calls), Some((None, Evidence::Unknown)));
        // Its end was read: that makes nothing of what was counted uncertain.
        (calls[1].bytes, calls[1].calls_of_unknown_bytes) = (0, 0);
        assert_eq!(found(&calls), None);
    }

    #[test]
    fn copies_that_no_call_explains_are_told() {
        let hop = CopyHop::KernelToSocket;
        let counted = BTreeMap::from([(hop, "skb_copy_bits".to_owned())]);
        let found = copies(&[], &HashMap::from([(hop, 7)]), &counted);
        assert_eq!(told(&found), [(hop, Some(7), Evidence::Measured)]);
        assert!(copies(&[], &HashMap::from([(hop, -7)]), &counted).is_empty());
    }
}
