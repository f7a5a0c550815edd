//! `relay`: how connections end. What one side does is passed on to the other.

use std::io::{ErrorKind, Write};

use crate::support::{Dir, Host, MIB, Relay, Stream, bytes};

#[test]
fn pitfall_12_a_half_close_is_passed_on_and_the_other_direction_goes_on() {
    let dir = Dir::new();
    for host in Host::each(&dir) {
        let relay = Relay::to(&host.address(), &[]);
        let (mut client, mut target) = (relay.connect(), host.accept());
        client.write_all(b"a question").unwrap();
        client.end();
        assert_eq!(target.read_all(), b"a question");
        let answer = bytes(410, 3 * MIB);
        let sending = std::thread::spawn({
            let answer = answer.clone();
            move || target.write_all(&answer).map(|()| target.end())
        });
        assert!(client.read_all() == answer);
        sending.join().unwrap().unwrap();
        relay.stop().ok();
    }
}

#[test]
fn pitfall_12_a_reset_is_passed_on_as_a_reset() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &[]);
    for client_resets in [true, false] {
        let (mut client, mut target) = (relay.connect(), host.accept());
        client.write_all(b"some").unwrap();
        assert_eq!(target.read_exactly(4), b"some");
        let mut other = if client_resets {
            client.reset();
            target
        } else {
            target.reset();
            client
        };
        let error = other.drain().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{client_resets}");
    }
    relay.stop().ok();
}

#[test]
fn pitfall_12_what_was_said_before_a_reset_still_arrives() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &[]);
    for _ in 0..20 {
        let (mut client, mut target) = (relay.connect(), host.accept());
        let sending = std::thread::spawn({
            let mut client = client.try_clone();
            // An upload that is refused: the client gets the response, and then the rest of its
            // upload meets a closed socket.
            move || client.write_all(&vec![0; 64 * MIB]).unwrap_err()
        });
        target.read_exactly(1);
        target.write_all(b"refused").unwrap();
        drop(target);
        assert_eq!(client.read_exactly(7), b"refused");
        sending.join().unwrap();
    }
    relay.stop().ok();
}

/// A client that takes only about 128 KiB before it reads.
fn narrow_client(relay: &Relay) -> Stream {
    let address: std::net::SocketAddr = relay.place().parse().unwrap();
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 32 << 10).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    Stream::Tcp(socket.into())
}

const ANSWER: usize = 1_500_000;

/// A target sends all of its response, and the relay has all of it.
fn answer(target: &mut Stream, answer: &[u8]) {
    target.write_all(answer).unwrap();
    while unacknowledged(target) > 0 {
        std::thread::yield_now();
    }
}

/// Bytes of a TCP connection that the other side has not acknowledged: the column `tx_queue` of
/// /proc/net/tcp.
fn unacknowledged(stream: &Stream) -> u64 {
    let Stream::Tcp(stream) = stream else {
        unreachable!("it is accepted by TCP");
    };
    let [local, peer] = [stream.local_addr().unwrap(), stream.peer_addr().unwrap()];
    let hex = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table.lines().find(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&hex(local)) && fields[2].ends_with(&hex(peer))
    });
    let queues = line.unwrap().split_whitespace().nth(4).unwrap();
    u64::from_str_radix(&queues[..8], 16).unwrap()
}

/// Waits a moment for a hang-up that must not come.
fn give_a_reset_time(client: &Stream) {
    let mut fds = [rustix::event::PollFd::new(
        client,
        rustix::event::PollFlags::empty(),
    )];
    let moment = rustix::event::Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let _ = rustix::event::poll(&mut fds, Some(&moment));
}

#[test]
fn an_answer_of_a_target_that_resets_is_waited_for_until_its_client_has_it() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--receipt", "json"]);
    let (mut client, mut target) = (narrow_client(&relay), host.accept());
    let content = bytes(413, ANSWER);
    client.write_all(&bytes(414, 200_000)).unwrap();
    target.read_exactly(10);
    answer(&mut target, &content);
    // Its unread bytes turn this into a reset.
    drop(target);
    give_a_reset_time(&client);
    let mut got = Vec::new();
    let end = std::io::Read::read_to_end(&mut client, &mut got).unwrap_err();
    assert_eq!(
        (got.len(), end.kind()),
        (ANSWER, ErrorKind::ConnectionReset)
    );
    assert!(got == content);
    drop(client);
    let receipt = &relay.receipts()[0];
    assert_eq!(receipt["ended"], "reset", "{receipt}");
    assert_eq!(
        (&receipt["complete"], &receipt["by"]),
        (&false.into(), &"far".into())
    );
    assert_eq!(receipt["down"]["bytes"], ANSWER, "{receipt}");
    assert_eq!(receipt["down"]["unacknowledged"], 0, "{receipt}");
}

#[test]
fn what_a_client_that_goes_has_not_taken_is_never_called_complete() {
    let host = Host::tcp();
    for how_it_goes in [Stream::reset, drop] {
        let relay = Relay::to(&host.address(), &["--receipt", "json"]);
        let (client, mut target) = (narrow_client(&relay), host.accept());
        client.end();
        answer(&mut target, &bytes(415, ANSWER));
        target.end();
        assert_eq!(target.read_all(), b"");
        give_a_reset_time(&client);
        how_it_goes(client);
        let receipt = &relay.receipts()[0];
        let down = &receipt["down"];
        let missing = ["undelivered", "unacknowledged"].map(|name| down[name].as_u64().unwrap());
        assert!(
            missing.iter().sum::<u64>() > (ANSWER / 2) as u64,
            "{receipt}"
        );
        assert_eq!(
            (&receipt["complete"], &down["complete"]),
            (&false.into(), &false.into())
        );
    }
}
