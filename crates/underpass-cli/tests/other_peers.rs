//! Peers that share no code with underpass: socat, OpenBSD's nc, and a Python script, as receivers
//! and as senders, over TCP and Unix sockets.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::support::{Dir, MIB, Running, assert_same, bytes, needs, run};

const LENGTH: usize = 4 * MIB + 7;

/// The arguments in one line; `{path}` stands for the socket's path and `{port}` for the port.
struct Tool {
    name: &'static str,
    receive_tcp: &'static str,
    receive_unix: &'static str,
    send_tcp: &'static str,
    send_unix: &'static str,
}

const RECEIVE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/scripts/receive.py"
);
const SEND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/scripts/send.py");

const SOCAT: Tool = Tool {
    name: "socat",
    receive_tcp: "-u -d -d TCP-LISTEN:0,bind=127.0.0.1 STDOUT",
    receive_unix: "-u -d -d UNIX-LISTEN:{path} STDOUT",
    send_tcp: "-u STDIN TCP:127.0.0.1:{port}",
    send_unix: "-u STDIN UNIX-CONNECT:{path}",
};

const NC: Tool = Tool {
    name: "nc",
    receive_tcp: "-d -l -v 127.0.0.1 0",
    receive_unix: "-d -l -v -U {path}",
    send_tcp: "-N 127.0.0.1 {port}",
    send_unix: "-N -U {path}",
};

const PYTHON: Tool = Tool {
    name: "python3",
    receive_tcp: "{receive} tcp",
    receive_unix: "{receive} unix {path}",
    send_tcp: "{send} tcp {port}",
    send_unix: "{send} unix {path}",
};

impl Tool {
    fn command(&self, line: &str, path: &str, port: &str) -> Command {
        let mut command = Command::new(self.name);
        command.args(line.split(' ').map(|word| {
            let word = word.replace("{receive}", RECEIVE).replace("{send}", SEND);
            word.replace("{path}", path).replace("{port}", port)
        }));
        command
    }
}

/// The port at the end of the line in which a program says that it listens.
fn await_port(peer: &mut Running) -> String {
    loop {
        let line = peer.line();
        if line.to_lowercase().contains("listening on") {
            let digits = line.rsplit(|c: char| !c.is_ascii_digit()).next();
            return digits.unwrap().to_owned();
        }
    }
}

fn sends_to(tool: &Tool, unix: bool) {
    let dir = Dir::new();
    let (source, sink) = (dir.file("in", &bytes(10, LENGTH)), dir.path("out"));
    let path = dir.path("socket");
    let line = if unix {
        tool.receive_unix
    } else {
        tool.receive_tcp
    };
    let mut command = tool.command(line, &path, "");
    command
        .stdin(Stdio::null())
        .stdout(File::create(&sink).unwrap())
        .stderr(Stdio::piped());
    let mut peer = Running::start(command);
    let port = await_port(&mut peer);
    let address = if unix {
        format!("unix:{path}")
    } else {
        format!("tcp://127.0.0.1:{port}")
    };

    let sent = run(&["send", &source, &address, "--receipt", "json"]).ok();
    peer.finish().ok();
    sent.receipt().assert_route("sendfile", LENGTH);
    assert_same(&source, &sink);
}

fn receives_from(tool: &Tool, unix: bool) {
    let dir = Dir::new();
    let (source, sink) = (dir.file("in", &bytes(11, LENGTH)), dir.path("out"));
    let at = &dir.listening_addresses()[usize::from(unix)];
    let (receiver, address) = Running::recv(&[at, &sink, "--receipt", "json"]);
    let port = address.rsplit(':').next().unwrap();
    let line = if unix { tool.send_unix } else { tool.send_tcp };
    let mut command = tool.command(line, &dir.path("socket"), port);
    command
        .stdin(File::open(&source).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());

    Running::start(command).finish().ok();
    let got = receiver.finish().ok();
    got.receipt().assert_route("splice", LENGTH);
    assert_same(&source, &sink);
}

fn both_ways(tool: &Tool) {
    if !needs::tool(tool.name) {
        return;
    }
    for unix in [false, true] {
        sends_to(tool, unix);
        receives_from(tool, unix);
    }
}

#[test]
fn socat_understands_us_and_we_socat() {
    both_ways(&SOCAT);
}

#[test]
fn nc_understands_us_and_we_nc() {
    both_ways(&NC);
}

#[test]
fn python_understands_us_and_we_python() {
    both_ways(&PYTHON);
}
