//! S2 and S3 side by side: the same transfer over an interface that gathers, and over one that does
//! not.

use std::process::{Command, Stdio};

use crate::support::{Dir, MIB, Outcome, Running, bytes, needs, underpass};

/// Two hosts on this machine, joined by a virtual cable: network namespaces and a veth pair.
struct TwoHosts {
    names: [String; 2],
}

const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";

impl TwoHosts {
    /// `None` if this machine cannot do it.
    fn new() -> Option<Self> {
        if !needs::root() || !needs::tool("ip") || !needs::tool("ethtool") {
            return None;
        }
        let process = std::process::id();
        let hosts = Self {
            names: ["near", "far"].map(|end| format!("underpass-{end}-{process}")),
        };
        let [near, far] = &hosts.names;
        let made = ip(&format!("netns add {near}")) && ip(&format!("netns add {far}"));
        if !made {
            needs::lacking("network namespaces cannot be made here");
            return None;
        }
        assert!(ip(&format!(
            "link add veth0 netns {near} type veth peer name veth0 netns {far}"
        )));
        for (host, address) in [(near, NEAR), (far, FAR)] {
            assert!(ip(&format!("-n {host} addr add {address}/24 dev veth0")));
            assert!(ip(&format!("-n {host} link set veth0 up")));
        }
        Some(hosts)
    }

    fn on(host: &str, program: &Command) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", host])
            .arg(program.get_program());
        command.args(program.get_args());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn set_scatter_gather(&self, setting: &str) {
        let mut ethtool = Command::new("ethtool");
        ethtool.args(["-K", "veth0", "sg", setting]);
        let output = Self::on(&self.names[0], &ethtool).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Sends `source` to the far host, and returns the sender's outcome.
    fn send(&self, source: &str, sink: &str) -> Outcome {
        let at = format!("tcp://{FAR}:0");
        let recv = Self::on(&self.names[1], &underpass(&["recv", &at, sink]));
        let (receiver, address) = Running::listening(recv);
        let sender = underpass(&["send", source, &address, "--receipt", "json"]);
        let sent = Running::start(Self::on(&self.names[0], &sender))
            .finish()
            .ok();
        receiver.finish().ok();
        sent
    }
}

impl Drop for TwoHosts {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

fn ip(args: &str) -> bool {
    Command::new("ip")
        .args(args.split(' '))
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn an_interface_that_cannot_gather_costs_one_copy_a_byte() {
    let Some(hosts) = TwoHosts::new() else {
        return;
    };
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(31, 8 * MIB));
    for (setting, copies, why) in [
        ("on", 0, "veth0 gathers"),
        ("off", 1, "veth0 does not gather"),
    ] {
        hosts.set_scatter_gather(setting);
        let sent = hosts.send(&source, "/dev/null");
        sent.receipt().assert_route("sendfile", 8 * MIB);
        let want = copies * (8 * MIB as u64);
        assert_eq!(
            sent.receipt().cpu_bytes(),
            Some(want),
            "scatter-gather {setting}"
        );
        assert!(
            sent.receipt().why().ends_with(why),
            "{}",
            sent.receipt().why()
        );
    }
}
