//! `relay` and splice(2): how it is called, as strace(1) shows it, and what happens if the kernel
//! refuses it.

use std::io::Write;

use crate::support::{Dir, Host, MIB, REFUSING_SPLICE, Relay, Running, bytes, needs, underpass_by};

/// `program` and `before` are the beginning of a command that becomes `underpass relay`.
fn relay(program: &str, before: &[&str], to: &str, options: &[&str]) -> Relay {
    let args = ["relay", "--listen", "127.0.0.1:0", "--to", to];
    let command = underpass_by(program, before, &[&args, options].concat());
    Relay::of(Running::start(command))
}

#[test]
fn pitfall_09_where_splice_is_refused_bulk_is_copied_and_counted() {
    if !needs::tool("python3") {
        return;
    }
    let host = Host::tcp();
    let options = ["--receipt", "json", "--metrics", "127.0.0.1:0"];
    let mut relay = relay(
        "python3",
        &["-c", REFUSING_SPLICE],
        &host.address(),
        &options,
    );
    let mut metrics = relay.metrics();
    let (mut client, mut target) = (relay.connect(), host.accept());
    let content = bytes(460, 4 * MIB);
    let sending = std::thread::spawn({
        let content = content.clone();
        move || {
            client.write_all(&content).unwrap();
            client.end();
            client.read_all()
        }
    });
    assert!(target.read_all() == content);
    target.end();
    sending.join().unwrap();
    let refused = "underpass_relay_fallbacks_total{reason=\"refused\"}";
    assert_eq!(metrics.sample(refused), 1, "asked once, and not again");
    let receipts = relay.receipts();
    let up = &receipts[0]["up"];
    assert_eq!(up["splice_refused"], true, "{up}");
    let routes = up["routes"].as_array().unwrap();
    let copied = routes.iter().find(|used| used["route"] == "read-write");
    assert_eq!(copied.unwrap()["bytes"], 4 * MIB, "{up}");
}

#[test]
fn pitfall_11_and_14_splice_holds_nothing_back_and_vmsplice_is_not_used() {
    if !needs::tool("strace") {
        return;
    }
    let (dir, host) = (Dir::new(), Host::tcp());
    let trace = dir.path("trace");
    let calls = "trace=splice,tee,vmsplice,sendto,sendmsg,setsockopt";
    // strace runs as a daemon (-D), so the program stays our child and we can stop it.
    let strace = ["-D", "-f", "-qq", "-o", &trace, "-e", calls];
    let relay = relay("strace", &strace, &host.address(), &["--route", "splice"]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    // Bulk, and a few last bytes, which would be held back longest.
    for length in [3 * MIB + 7, 5, 1] {
        let content = bytes(461, length);
        let sending = std::thread::spawn({
            let (mut client, content) = (client.try_clone(), content.clone());
            move || client.write_all(&content).unwrap()
        });
        assert!(target.read_exactly(length) == content);
        sending.join().unwrap();
    }
    client.end();
    target.end();
    assert_eq!((client.read_all(), target.read_all()), (vec![], vec![]));
    relay.stop().ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    let made = |word: &str| trace.lines().filter(|line| line.contains(word)).count();
    assert!(made("splice(") > 6, "{trace}");
    for word in ["SPLICE_F_MORE", "MSG_MORE", "TCP_CORK", "vmsplice(", "tee("] {
        assert_eq!(made(word), 0, "{word}: {trace}");
    }
}
