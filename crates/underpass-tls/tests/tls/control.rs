//! Records without data: alerts, KeyUpdates, tickets.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::thread;

use rustls::client::Resumption;
use underpass_tls::LayerError;

use crate::support::{
    Ours, Peer, bytes, call, client_config, is_in_kernel, one_of_each_version, pair, serve,
    server_config, suite,
};

/// Pitfall 39: records that are not data come at any time, and are not an end.
#[test]
fn pitfall_39_tickets_between_the_data_are_no_data() {
    let (ours, mut peer) = call(None);
    is_in_kernel(&ours.session);
    // A server of rustls sends its tickets with the end of the handshake.
    peer.send(b"after the tickets");
    ours.expect(b"after the tickets");
    peer.close();
    assert_eq!(ours.receive(&mut [0; 10]).unwrap(), 0);
}

/// Pitfall 40: this process follows; the kernel before 6.14 cannot, and then the end is clean.
#[test]
fn pitfall_40_a_key_update_is_followed_or_ends_cleanly() {
    let (ours, mut peer) = serve(Some(suite("TLS13_AES_128_GCM_SHA256")));
    peer.send(b"old key");
    ours.expect(b"old key");
    peer.update_keys();
    peer.send(b"new key");
    if is_in_kernel(&ours.session) {
        let (got, end) = ours.receive_all(100);
        assert!(got.is_empty());
        let error = end.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains("6.14"), "{error}");
        // The peer sees an end, and no reset.
        assert_eq!(peer.receive_all().unwrap(), b"");
        drop(peer);
        assert!(ours.receive(&mut [0; 10]).is_err());
        return;
    }
    ours.expect(b"new key");
    // The peer asked for our new key, too.
    ours.send_all(&bytes(1, 100_000)).unwrap();
    peer.expect(&bytes(1, 100_000));
    peer.update_keys();
    peer.send(b"newer key");
    peer.close();
    let (got, end) = ours.receive_all(100);
    end.unwrap();
    assert_eq!(got, b"newer key");
}

/// Pitfall 40: a flood of them is an attack.
#[test]
fn pitfall_40_a_flood_of_key_updates_ends_the_connection() {
    let (ours, mut peer) = serve(Some(suite("TLS13_AES_128_GCM_SHA256")));
    for _ in 0..40 {
        peer.connection.refresh_traffic_keys().unwrap();
    }
    peer.flush();
    let (_, end) = ours.receive_all(100);
    let error = end.unwrap_err();
    assert!(
        matches!(LayerError::of(&error), Some(LayerError::Broken(_))),
        "{error}"
    );
}

#[test]
fn a_fatal_alert_is_told() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        // As if we had sent a record that rustls cannot open: it answers by an alert.
        let mut record = [0; 64];
        record[..5].copy_from_slice(&[23, 3, 3, 0, 59]);
        peer.connection.read_tls(&mut &record[..]).unwrap();
        assert!(peer.connection.process_new_packets().is_err());
        peer.flush();
        let (got, end) = ours.receive_all(100);
        assert!(got.is_empty());
        let error = end.unwrap_err();
        let expected = LayerError::Alert("bad_record_mac");
        assert_eq!(LayerError::of(&error), Some(expected), "{error}");
        let error = ours.send(&[b"too late"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn a_record_that_was_changed_ends_the_connection_by_an_alert() {
    for suite in one_of_each_version() {
        let (ours, mut peer) = serve(Some(suite));
        is_in_kernel(&ours.session);
        peer.connection.writer().write_all(b"not quite").unwrap();
        let mut records = peer.records();
        *records.last_mut().unwrap() ^= 1;
        peer.socket.write_all(&records).unwrap();
        let (got, end) = ours.receive_all(100);
        assert!(got.is_empty());
        let error = end.unwrap_err();
        assert!(
            matches!(LayerError::of(&error), Some(LayerError::Broken(_))),
            "{error}"
        );
        let told = peer.receive_all().unwrap_err().to_string();
        assert!(told.contains("BadRecordMac"), "{told}");
    }
}

#[test]
fn a_record_that_is_too_long_ends_the_connection_by_its_own_alert() {
    for (suite, longest) in one_of_each_version().into_iter().zip([2048, 256]) {
        let (ours, mut peer) = serve(Some(suite));
        let in_kernel = is_in_kernel(&ours.session);
        let too_long = ((16_u16 << 10) + longest + 1).to_be_bytes();
        let mut record = [&b"\x17\x03\x03"[..], &too_long].concat();
        if in_kernel {
            // Of TLS 1.2 the kernel looks at a header when it has the nonce behind it, too.
            record.extend([0; 8]);
        }
        peer.socket.write_all(&record).unwrap();
        let (_, end) = ours.receive_all(100);
        let error = end.unwrap_err();
        assert!(
            matches!(LayerError::of(&error), Some(LayerError::Broken(_))),
            "{error}"
        );
        let told = peer.receive_all().unwrap_err().to_string();
        assert!(told.contains("RecordOverflow"), "{told}");
    }
}

#[test]
fn a_client_resumes_its_session() {
    for suite in one_of_each_version() {
        let config = client_config();
        let server = crate::support::peer_server_config(Some(suite));
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let (near, far) = pair();
            let server = Arc::clone(&server);
            let peer = thread::spawn(move || {
                let mut peer = Peer::serve(far, server);
                peer.send(b"hello");
                peer
            });
            let ours = Ours::connect(near, &config).unwrap();
            ours.expect(b"hello");
            resumed.push(ours.session.info().resumed);
            drop(peer.join().unwrap());
        }
        assert_eq!(resumed, [false, true], "{suite:?}");
    }
}

#[test]
fn a_server_resumes_sessions_by_tickets() {
    for suite in one_of_each_version() {
        for offered in [true, false] {
            let config = server_config().resumption(offered).unwrap();
            let mut client = crate::support::peer_client_config(Some(suite));
            client.resumption = Resumption::in_memory_sessions(8);
            let client = Arc::new(client);
            let mut resumed = Vec::new();
            for _ in 0..2 {
                let (near, far) = pair();
                let client = Arc::clone(&client);
                let peer = thread::spawn(move || {
                    let mut peer = Peer::with(far, client, "localhost").unwrap();
                    peer.expect(b"hello");
                    peer
                });
                let ours = Ours::accept(near, &config).unwrap();
                ours.send_all(b"hello").unwrap();
                resumed.push(ours.session.info().resumed);
                drop(peer.join().unwrap());
            }
            assert_eq!(resumed, [false, offered], "{suite:?}");
        }
    }
}
