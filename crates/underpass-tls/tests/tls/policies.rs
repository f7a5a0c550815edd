//! Policies (seccomp) that keep this process from a part of the kernel's TLS: it encrypts itself,
//! or fails, and never sends plain text. There is something to refuse only where the kernel has
//! TLS.
#![cfg(target_arch = "x86_64")]

use std::ffi::c_int;
use std::io;
use std::thread;

use underpass_tls::{Mode, UserReason};

use crate::support::{Ours, Peer, is_in_kernel, pair, refuse_option, serve, server_config};

const TCP_ULP: c_int = 31;

/// A server of ours, on a thread that may not set this option, and its client. `None` where the
/// kernel has no TLS.
fn serve_without(level: c_int, name: c_int) -> Option<(io::Result<Ours>, Peer)> {
    // What the kernel has is tried here, without the policy.
    if !is_in_kernel(&serve(None).0.session) {
        return None;
    }
    let (near, far) = pair();
    let peer = thread::spawn(move || Peer::client(far, None));
    let ours = thread::spawn(move || {
        refuse_option(level, name).unwrap();
        Ours::accept(near, &server_config())
    });
    Some((ours.join().unwrap(), peer.join().unwrap()))
}

/// The client, who speaks TLS only, gets what was sent, and its bytes come.
fn works_in_user_space(ours: &Ours, mut peer: Peer, reason: UserReason) {
    assert_eq!(ours.session.info().mode, Mode::User(reason));
    ours.send_all(b"from the server").unwrap();
    peer.expect(b"from the server");
    peer.send(b"from the client");
    ours.expect(b"from the client");
}

#[test]
fn a_policy_against_tcp_ulp_leaves_tls_to_this_process() {
    if let Some((ours, peer)) = serve_without(libc::IPPROTO_TCP, TCP_ULP) {
        let reason = UserReason::RefusedSocket(libc::EPERM);
        assert_eq!(reason.to_string(), "the kernel refused the socket: EPERM");
        works_in_user_space(&ours.unwrap(), peer, reason);
    }
}

#[test]
fn a_policy_against_tls_tx_leaves_tls_to_this_process() {
    if let Some((ours, peer)) = serve_without(libc::SOL_TLS, libc::TLS_TX) {
        let reason = UserReason::NoKernelCipher(libc::EPERM);
        works_in_user_space(&ours.unwrap(), peer, reason);
    }
}

/// The kernel has one key by then, and there is no way back.
#[test]
fn a_policy_against_tls_rx_ends_the_connection() {
    if let Some((ours, mut peer)) = serve_without(libc::SOL_TLS, libc::TLS_RX) {
        let error = ours.err().expect("an error").to_string();
        assert!(
            error.starts_with("TLS_RX was refused after TLS_TX"),
            "{error}"
        );
        assert!(
            peer.receive_all().is_err(),
            "no end, and nothing in plain text"
        );
    }
}
