//! Clients that others have written: openssl s_client and Python's ssl.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use underpass_testing::needs;

use crate::http::Server;
use crate::support::{bytes, is_kernel_required};

const REQUEST: &[u8] = b"GET /file HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// What a request is answered with: no byte of it can be taken for a line of `s_client`'s.
const CONTENT: &[u8] = b"all of the file\n";

/// `openssl s_client`, which sends what it is told, and understands commands between the lines.
struct OpenSsl {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl OpenSsl {
    fn connect(server: &Server, arguments: &[&str]) -> Self {
        // What it does on a command it says on standard error.
        let mut process = Command::new("sh")
            .args(["-c", "exec openssl s_client \"$@\" 2>&1", "sh"])
            .args(["-connect", &server.address.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    /// Asks for the file, and reads until it has come.
    fn get(&mut self) {
        self.input.write_all(REQUEST).unwrap();
        self.read_until("all of the file");
    }

    /// Reads lines until one contains `wanted`.
    fn read_until(&mut self, wanted: &str) -> String {
        loop {
            let mut line = Vec::new();
            let count = self.output.read_until(b'\n', &mut line).unwrap();
            assert!(count > 0, "openssl ended before it said {wanted:?}");
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Waits until it ends, and says whether it is content.
    fn end(mut self) -> bool {
        drop(self.input);
        let mut rest = Vec::new();
        self.output.read_to_end(&mut rest).unwrap();
        self.process.wait().unwrap().success()
    }
}

fn server() -> Option<(tempfile::TempDir, Server)> {
    if !needs::tool("openssl") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), CONTENT).unwrap();
    let server = Server::new(dir.path());
    Some((dir, server))
}

/// `K` asks for a new key of ours in return, `k` does not.
#[test]
fn pitfall_40_openssl_updates_its_keys() {
    if is_kernel_required() {
        return;
    }
    let Some((_dir, server)) = server() else {
        return;
    };
    for command in ["K\n", "k\n"] {
        let mut client = OpenSsl::connect(&server, &["-tls1_3"]);
        client.get();
        for _ in 0..3 {
            client.input.write_all(command.as_bytes()).unwrap();
            client.read_until("KEYUPDATE");
            client.get();
        }
        client.end();
    }
}

#[test]
fn openssl_may_not_renegotiate() {
    let Some((_dir, server)) = server() else {
        return;
    };
    let mut client = OpenSsl::connect(&server, &["-tls1_2"]);
    client.get();
    client.input.write_all(b"R\n").unwrap();
    client.read_until("RENEGOTIATING");
    assert!(!client.end(), "it takes the refusal for an error");
    // The server goes on with others.
    OpenSsl::connect(&server, &["-tls1_2"]).get();
}

#[test]
fn openssl_resumes_its_sessions() {
    let Some((dir, server)) = server() else {
        return;
    };
    let session = dir.path().join("session");
    let session = session.to_str().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut first = OpenSsl::connect(&server, &[version, "-sess_out", session]);
        first.read_until("New, TLS");
        first.get();
        first.end();
        let mut second = OpenSsl::connect(&server, &[version, "-sess_in", session]);
        second.read_until("Reused, TLS");
        second.get();
        second.end();
    }
    assert_eq!(server.tls.resumed.get(), 2);
}

#[test]
fn openssl_gets_an_alert_for_versions_that_are_not_spoken() {
    let Some((_dir, server)) = server() else {
        return;
    };
    for version in ["-tls1", "-tls1_1"] {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &server.address.to_string(), version])
            .args(["-cipher", "ALL:@SECLEVEL=0"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("SSL alert number"), "{said}");
    }
}

#[test]
fn python_gets_a_file_and_the_end() {
    if !needs::tool("python3") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(11, 5_000_000);
    std::fs::write(dir.path().join("file"), &content).unwrap();
    let server = Server::new(dir.path());
    let script = "\
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
version = getattr(ssl.TLSVersion, sys.argv[2])
context.minimum_version = context.maximum_version = version
# It is an error if the connection ends without close_notify.
plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
stream = context.wrap_socket(plain, suppress_ragged_eofs=False)
stream.sendall(b'GET /file HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')
answer = b''
while part := stream.recv(1 << 20):
    answer += part
sys.stdout.buffer.write(answer.split(b'\\r\\n\\r\\n', 1)[1])
";
    for version in ["TLSv1_2", "TLSv1_3"] {
        let output = Command::new("python3")
            .args(["-c", script, &server.address.port().to_string(), version])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(output.stdout == content, "{} bytes", output.stdout.len());
    }
}
