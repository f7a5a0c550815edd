//! An urgent byte of TCP (`MSG_OOB`) ends nothing. For every command and route, the bytes before
//! and behind it arrive. The urgent byte itself does not, as for any program that just reads
//! (pitfall 24).

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::{JoinHandle, spawn};

use rustix::net::SendFlags;

use crate::support::{Dir, FanOut, Host, MIB, Relay, Running, Stream, bytes, reading, underpass};

/// On both sides of the mark, more than a relay or a fan-out needs to treat the stream as bulk.
const PART: usize = MIB;

const ROUTES: [&[&str]; 3] = [&[], &["--route", "splice"], &["--route", "read-write"]];

fn parts() -> [Vec<u8>; 2] {
    [bytes(240, PART), bytes(241, PART + 7)]
}

/// Sends one part, an urgent byte and the other part, and then ends its side.
fn send(peer: &Stream) -> JoinHandle<()> {
    let mut peer = peer.try_clone();
    spawn(move || {
        let [before, behind] = parts();
        peer.write_all(&before).unwrap();
        rustix::net::send(peer.as_fd(), b"!", SendFlags::OOB).unwrap();
        peer.write_all(&behind).unwrap();
        peer.end();
    })
}

/// Runs a command, and returns what arrives and whether splice(2) moved most of it.
type Arrives = fn(&Dir, &[&str]) -> (Vec<u8>, bool);

const COMMANDS: [(&str, Arrives); 6] = [
    ("recv ADDR FILE", recv_file),
    ("recv ADDR -", recv_stdout),
    ("copy - FILE", copy_stdin),
    ("fan-out --from tcp://", fan_out),
    ("relay up", relay_up),
    ("relay down", relay_down),
];

#[test]
fn pitfall_24_an_urgent_byte_ends_nothing() {
    let all = parts().concat();
    for (command, arrives) in COMMANDS {
        for route in ROUTES {
            let dir = Dir::in_memory();
            let (came, spliced) = arrives(&dir, route);
            let (came_len, all_len) = (came.len(), all.len());
            assert!(
                came == all,
                "{command} {route:?}: {came_len} of {all_len} bytes"
            );
            if route.contains(&"splice") {
                assert!(spliced, "{command} {route:?}");
            }
        }
    }
}

fn recv_file(dir: &Dir, route: &[&str]) -> (Vec<u8>, bool) {
    let path = dir.path("out");
    let args = [
        &["tcp://127.0.0.1:0", &path, "--receipt", "json"][..],
        route,
    ];
    let (receiver, address) = Running::recv(&args.concat());
    let peer = Stream::connect(&address);
    let sending = send(&peer);
    let receipt = receiver.finish().ok().receipt();
    sending.join().unwrap();
    (std::fs::read(path).unwrap(), receipt.route() == "splice")
}

fn recv_stdout(_: &Dir, route: &[&str]) -> (Vec<u8>, bool) {
    let args = [&["tcp://127.0.0.1:0", "-", "--receipt", "json"][..], route];
    let (receiver, address) = Running::recv(&args.concat());
    let sending = send(&Stream::connect(&address));
    let outcome = receiver.finish().ok();
    sending.join().unwrap();
    let spliced = outcome.stderr.contains(r#""route":"splice""#);
    (outcome.stdout, spliced)
}

fn copy_stdin(dir: &Dir, route: &[&str]) -> (Vec<u8>, bool) {
    let host = Host::tcp();
    let peer = Stream::connect(&host.address());
    let Stream::Tcp(stdin) = host.accept() else {
        unreachable!("it is TCP");
    };
    let path = dir.path("out");
    let mut command = underpass(&[&["copy", "-", &path, "--receipt", "json"][..], route].concat());
    command.stdin(OwnedFd::from(stdin));
    let sending = send(&peer);
    let receipt = Running::start(command).finish().ok().receipt();
    sending.join().unwrap();
    (std::fs::read(path).unwrap(), receipt.route() == "splice")
}

fn fan_out(_: &Dir, route: &[&str]) -> (Vec<u8>, bool) {
    let options = [&["--await", "1", "--receipt", "json"][..], route].concat();
    let (fan_out, producer) = FanOut::produced(&options);
    let subscriber = reading(fan_out.connect());
    let sending = send(&producer);
    let (came, _) = subscriber.join().unwrap();
    sending.join().unwrap();
    let outcome = fan_out.running.finish().ok();
    (came, outcome.text().contains("splice"))
}

fn relay_up(_: &Dir, route: &[&str]) -> (Vec<u8>, bool) {
    relayed(route, |client, target| (client, target))
}

fn relay_down(_: &Dir, route: &[&str]) -> (Vec<u8>, bool) {
    relayed(route, |client, target| (target, client))
}

/// `ways` says which of a client and a target sends to the other.
fn relayed(route: &[&str], ways: fn(Stream, Stream) -> (Stream, Stream)) -> (Vec<u8>, bool) {
    let host = Host::tcp();
    let options = [&["--receipt", "json"][..], route].concat();
    let relay = Relay::to(&host.address(), &options);
    let client = relay.connect();
    let (sender, mut receiver) = ways(client, host.accept());
    let sending = send(&sender);
    let mut came = Vec::new();
    receiver.read_to_end(&mut came).unwrap();
    sending.join().unwrap();
    drop((sender, receiver));
    let receipts = relay.receipts();
    let complete = receipts[0]["complete"] == true;
    assert!(complete, "{receipts:?}");
    (came, receipts[0].to_string().contains("splice"))
}
