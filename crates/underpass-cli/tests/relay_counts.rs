//! `relay`: what its receipts and metrics say. Bulk is spliced and small messages are copied.

use std::io::Write;

use crate::support::{Host, MIB, Relay, by, bytes};

#[test]
fn bulk_is_promoted_to_splice_and_small_messages_are_not() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--receipt", "json"]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    let content = bytes(420, 8 * MIB);
    let sending = std::thread::spawn(move || {
        client.write_all(&content).unwrap();
        client
    });
    target.read_exactly(8 * MIB);
    let mut client = sending.join().unwrap();
    for _ in 0..1000 {
        target.write_all(&[7; 64]).unwrap();
        client.read_exactly(64);
    }
    client.end();
    target.end();
    assert_eq!((client.read_all().len(), target.read_all().len()), (0, 0));
    let receipts = relay.receipts();
    let [receipt] = receipts.as_slice() else {
        panic!("{receipts:?}");
    };
    assert_eq!(
        (&receipt["complete"], &receipt["ended"]),
        (&true.into(), &"closed".into())
    );
    let (up, down) = (&receipt["up"], &receipt["down"]);
    assert_eq!(up["promotions"], 1, "{up}");
    assert!(by(up, "splice") > 7 * MIB as u64, "{up}");
    assert_eq!(
        by(up, "splice") + by(up, "read-write"),
        8 * MIB as u64,
        "{up}"
    );
    // On loopback, spliced bytes were not copied, and copied bytes were copied twice.
    assert_eq!(
        up["copies"]["cpu_bytes"].as_u64().unwrap(),
        2 * by(up, "read-write"),
        "{up}"
    );
    assert_eq!(
        (down["promotions"].as_u64(), by(down, "splice")),
        (Some(0), 0),
        "{down}"
    );
    assert_eq!(by(down, "read-write"), 64_000, "{down}");
}

#[test]
fn a_direction_that_is_bulk_no_more_is_demoted() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--receipt", "json"]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    let sending = std::thread::spawn(move || {
        client.write_all(&bytes(421, 4 * MIB)).unwrap();
        client
    });
    target.read_exactly(4 * MIB);
    let mut client = sending.join().unwrap();
    for _ in 0..20 {
        client.write_all(b"small").unwrap();
        target.read_exactly(5);
    }
    drop((client, target));
    let receipts = relay.receipts();
    assert_eq!(receipts[0]["up"]["demotions"], 1, "{receipts:?}");
}

#[test]
fn a_route_that_is_asked_for_is_kept() {
    for route in ["splice", "read-write"] {
        let host = Host::tcp();
        let relay = Relay::to(&host.address(), &["--receipt", "json", "--route", route]);
        let (mut client, mut target) = (relay.connect(), host.accept());
        client.write_all(b"small").unwrap();
        target.read_exactly(5);
        let sending = std::thread::spawn(move || {
            client.write_all(&bytes(422, MIB)).unwrap();
            client
        });
        target.read_exactly(MIB);
        drop((sending.join().unwrap(), target));
        let receipts = relay.receipts();
        assert_eq!(
            by(&receipts[0]["up"], route),
            MIB as u64 + 5,
            "{receipts:?}"
        );
    }
}

#[test]
fn a_receipt_says_who_reset_and_what_was_lost() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--receipt", "json"]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"some").unwrap();
    target.read_exactly(4);
    target.reset();
    client.drain().unwrap_err();
    let receipts = relay.receipts();
    let receipt = &receipts[0];
    assert_eq!(receipt["ended"], "reset", "{receipt}");
    assert_eq!(
        (&receipt["by"], &receipt["errno"]),
        (&"far".into(), &"ECONNRESET".into())
    );
    assert_eq!(
        receipt["far"]["name"],
        host.address().trim_start_matches("tcp://")
    );
    assert_eq!(receipt["complete"], false, "{receipt}");
}

#[test]
fn metrics_tell_of_bytes_while_they_pass() {
    let host = Host::tcp();
    let mut relay = Relay::to(&host.address(), &["--metrics", "127.0.0.1:0"]);
    let mut metrics = relay.metrics();
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"interactive").unwrap();
    target.read_exactly(11);
    // Bytes are counted a moment after they have arrived.
    let copied = "underpass_relay_carried_bytes_total{route=\"read-write\"}";
    metrics.await_more_than(copied, 10);
    assert_eq!(metrics.sample(copied), 11);
    assert_eq!(
        metrics.sample("underpass_relay_carried_bytes_total{route=\"splice\"}"),
        0
    );
    assert_eq!(metrics.sample("underpass_relay_connections_open"), 1);
    client.end();
    target.end();
    client.read_all();
    target.read_all();
    assert_eq!(
        metrics.sample("underpass_relay_connections_accepted_total"),
        1
    );
    for how in ["reset", "timed-out", "cut", "unreached"] {
        let name = format!("underpass_relay_connections_ended_total{{how=\"{how}\"}}");
        assert_eq!(metrics.sample(&name), 0, "{how}");
    }
    relay.stop().ok();
}
