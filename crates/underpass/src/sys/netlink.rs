//! Asks rtnetlink(7) one question: by which interface do packets to this address leave?
//!
//! This is one fixed request and a search for one attribute. So no netlink crate is needed, and the
//! engine's dependencies stay at rustix and libc.

use std::net::IpAddr;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Result;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// Sizes of `struct nlmsghdr`, `struct rtmsg` and `struct rtattr`.
const HEADER: usize = 16;
const RTMSG: usize = 12;
const ATTRIBUTE: usize = 4;

/// The index of the interface that a packet to `to` would leave by.
pub(crate) fn egress_index(to: IpAddr) -> Result<u32> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &request(to), SendFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let (len, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    outgoing_interface(&answer[..len])
}

/// `RTM_GETROUTE` for one destination.
fn request(to: IpAddr) -> Vec<u8> {
    let address = match to {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let len = HEADER + RTMSG + ATTRIBUTE + address.len();
    let mut bytes = Vec::with_capacity(len);
    bytes.extend((len as u32).to_ne_bytes());
    bytes.extend(RTM_GETROUTE.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port: one question on a socket of its own
    bytes.extend([family as u8, (address.len() * 8) as u8]);
    bytes.extend([0; RTMSG - 2]);
    bytes.extend(((ATTRIBUTE + address.len()) as u16).to_ne_bytes());
    bytes.extend(RTA_DST.to_ne_bytes());
    bytes.extend(address);
    bytes
}

/// Finds `RTA_OIF` in the kernel's answer. BADMSG if the answer is not a route, or a route without
/// this attribute.
pub(crate) fn outgoing_interface(answer: &[u8]) -> Result<u32> {
    let word = |at: usize| -> Option<[u8; 4]> { answer.get(at..at + 4)?.try_into().ok() };
    let half = |at: usize| -> Option<u16> {
        Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?))
    };
    match half(4) {
        Some(RTM_NEWROUTE) => {}
        Some(NLMSG_ERROR) => {
            // Error numbers lie between 1 and 4095. Any other number is not a valid answer, and
            // `Errno` cannot hold it.
            let errno = word(HEADER).map_or(0, i32::from_ne_bytes).saturating_neg();
            return Err(if (1..4096).contains(&errno) {
                Errno::from_raw_os_error(errno)
            } else {
                Errno::BADMSG
            });
        }
        _ => return Err(Errno::BADMSG),
    }
    let mut at = HEADER + RTMSG;
    while let (Some(len), Some(kind)) = (half(at), half(at + 2)) {
        if kind == RTA_OIF {
            return word(at + ATTRIBUTE)
                .map(u32::from_ne_bytes)
                .ok_or(Errno::BADMSG);
        }
        // Attributes are aligned to 4 bytes. An attribute shorter than its own header would make
        // this loop endless.
        at += usize::from(len).max(ATTRIBUTE).next_multiple_of(4);
    }
    Err(Errno::BADMSG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn loopback_leaves_by_lo() {
        let index = egress_index(IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        let any = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
        assert_eq!(
            rustix::net::netdevice::index_to_name(any, index).unwrap(),
            "lo"
        );
    }

    #[test]
    fn a_request_has_the_length_it_says() {
        for address in [IpAddr::V4(Ipv4Addr::BROADCAST), Ipv6Addr::LOCALHOST.into()] {
            let bytes = request(address);
            let said = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
            assert_eq!(said as usize, bytes.len());
        }
    }

    #[test]
    fn an_error_is_the_kernels_or_nonsense() {
        let answer = |errno: i32| {
            let mut bytes = vec![0; HEADER + 4];
            bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            bytes[HEADER..].copy_from_slice(&errno.to_ne_bytes());
            outgoing_interface(&bytes)
        };
        assert_eq!(answer(-101), Err(Errno::NETUNREACH));
        for nonsense in [0, 5, i32::MIN, i32::MAX, -4096] {
            assert_eq!(answer(nonsense), Err(Errno::BADMSG));
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = outgoing_interface(&answer);
        }

        #[test]
        fn the_interface_is_found_behind_other_attributes(index: u32, before in 0_usize..40) {
            let mut answer = vec![0_u8; HEADER + RTMSG];
            answer[4..6].copy_from_slice(&RTM_NEWROUTE.to_ne_bytes());
            answer.extend(((ATTRIBUTE + before) as u16).to_ne_bytes());
            answer.extend(99_u16.to_ne_bytes());
            answer.resize(answer.len() + before.next_multiple_of(4), 7);
            answer.extend(8_u16.to_ne_bytes());
            answer.extend(RTA_OIF.to_ne_bytes());
            answer.extend(index.to_ne_bytes());
            prop_assert_eq!(outgoing_interface(&answer), Ok(index));
        }
    }
}
