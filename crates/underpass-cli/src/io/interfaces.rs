//! The addresses of this machine's network interfaces.

use std::net::IpAddr;

use if_addrs::{IfOperStatus, Interface};

/// Prefixes of the names that container engines and hypervisors give to interfaces which lead
/// nowhere but into this machine.
const INTERNAL: [&str; 4] = ["docker", "br-", "veth", "virbr"];

/// The addresses at which other machines may reach this one, with the names of their interfaces.
/// Interfaces that are down are left out, and so are addresses that are not unique: loopback and
/// link-local ones, which no URL can name portably.
pub(crate) fn addresses() -> Vec<(String, IpAddr)> {
    // They are shown for convenience: without them the server works just as well.
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let reachable = found.into_iter().filter(is_reachable);
    reachable.map(|it| (it.name.clone(), it.ip())).collect()
}

fn is_reachable(interface: &Interface) -> bool {
    let is_internal = INTERNAL.iter().any(|it| interface.name.starts_with(it));
    let is_down = matches!(
        interface.oper_status,
        IfOperStatus::Down | IfOperStatus::NotPresent | IfOperStatus::LowerLayerDown
    );
    !is_internal && !is_down && !interface.is_loopback() && !interface.is_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;
    use if_addrs::{IfAddr, Ifv4Addr};

    fn interface(name: &str, ip: &str, oper_status: IfOperStatus) -> Interface {
        Interface {
            name: name.to_owned(),
            addr: IfAddr::V4(Ifv4Addr {
                ip: ip.parse().unwrap(),
                netmask: [255, 255, 255, 0].into(),
                prefixlen: 24,
                broadcast: None,
            }),
            index: None,
            oper_status,
            is_p2p: false,
        }
    }

    #[test]
    fn only_interfaces_that_lead_elsewhere_count() {
        let table = [
            ("eth0", "192.0.2.1", IfOperStatus::Up, true),
            ("wg0", "192.0.2.1", IfOperStatus::Unknown, true),
            ("eth0", "192.0.2.1", IfOperStatus::Down, false),
            ("lo", "127.0.0.1", IfOperStatus::Up, false),
            ("eth0", "169.254.0.1", IfOperStatus::Up, false),
            ("docker0", "172.17.0.1", IfOperStatus::Up, false),
        ];
        for (name, ip, status, wanted) in table {
            let one = interface(name, ip, status);
            assert_eq!(is_reachable(&one), wanted, "{one:?}");
        }
    }
}
