//! Runs the examples as a user does.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Files, MIB, bytes, needs};

/// Cargo builds examples beside test programs, unless it is told to build only those.
fn example(name: &str) -> Option<PathBuf> {
    let this = std::env::current_exe().unwrap();
    let path = this.ancestors().nth(2).unwrap().join("examples").join(name);
    (path.exists() || needs::lacking("the examples are not built")).then_some(path)
}

#[test]
fn the_axum_example_serves_and_stops_on_ctrl_c() {
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    let Some(program) = example("axum") else {
        return;
    };
    let mut running = Command::new(program)
        .args([files.root().to_str().unwrap(), "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(running.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let (_, address) = line.trim().split_once("http://").expect(&line);
    let mut client = Client::connect(address.parse().unwrap());
    assert_eq!(client.get("/hello").body, b"hello\n");
    assert!(client.get("/assets/file").body == content);
    assert!(client.get("/file").body == content);
    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(client.rest(), b"");
}
