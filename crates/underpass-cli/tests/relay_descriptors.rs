//! `relay` when descriptors run out while it works.

use std::io::Write;

use crate::support::{Host, MIB, Relay, bytes};

const ACCEPTED: &str = "underpass_relay_connections_accepted_total";
const PAUSES: &str = "underpass_relay_accept_pauses_total";
const WITHOUT_PIPE: &str = "underpass_relay_fallbacks_total{reason=\"no-pipe\"}";

#[test]
fn without_a_descriptor_accepting_pauses_and_goes_on() {
    let host = Host::tcp();
    let options = ["--metrics", "127.0.0.1:0", "--threads", "1"];
    let mut relay = Relay::to(&host.address(), &options);
    let mut metrics = relay.metrics();
    let (mut first, mut its_target) = (relay.connect(), host.accept());
    first.write_all(b"x").unwrap();
    its_target.read_exactly(1);
    assert_eq!((metrics.sample(ACCEPTED), metrics.sample(PAUSES)), (1, 0));

    let usual = relay.running.forbid_descriptors();
    let mut second = relay.connect();
    second.write_all(b"?").unwrap();
    for pauses in 0..3 {
        metrics.await_more_than(PAUSES, pauses);
        // It sleeps between two attempts.
        relay.running.await_sleep();
    }
    assert_eq!(metrics.sample(ACCEPTED), 1);

    // Open connections continue, without a pipe if there is none.
    let content = bytes(450, 2 * MIB);
    let sending = std::thread::spawn({
        let content = content.clone();
        move || {
            first.write_all(&content).unwrap();
            first
        }
    });
    assert!(its_target.read_exactly(content.len()) == content);
    assert!(metrics.sample(WITHOUT_PIPE) > 0);
    let mut first = sending.join().unwrap();
    first.end();
    its_target.end();
    assert_eq!((first.read_all(), its_target.read_all()), (vec![], vec![]));
    drop((first, its_target));

    relay.running.limit_descriptors(usual);
    let mut target = host.accept();
    assert_eq!(target.read_exactly(1), b"?");
    target.write_all(b"!").unwrap();
    assert_eq!(second.read_exactly(1), b"!");
    assert_eq!(metrics.sample(ACCEPTED), 2);
    drop((second, target));
    relay.stop().ok();
}
