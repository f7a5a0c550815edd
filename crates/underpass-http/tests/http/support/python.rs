//! Python's http.client, whose keep-alive implementation is independent of ours.

use std::process::Command;

use super::{Server, Tree, needs};

/// Asks for all of `paths` in turn on one connection, and compares each body with the file.
const SCRIPT: &str = r#"
import http.client, json, sys

port, root, paths = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
connection.connect()
ours = connection.sock.getsockname()
for method, path, status in paths:
    connection.request(method, path)
    response = connection.getresponse()
    assert response.status == status, (method, path, response.status)
    content = response.read()
    if method == "HEAD":
        assert content == b""
    elif status == 200:
        with open(root + path, "rb") as file:
            assert content == file.read(), path
    assert connection.sock.getsockname() == ours, "another connection"
print(len(paths))
"#;

/// Makes the requests `(method, path, status)`. Without Python it says so and returns false.
#[track_caller]
pub(crate) fn on_one_connection(
    server: &Server,
    tree: &Tree,
    requests: &[(&str, &str, u16)],
) -> bool {
    if !needs::tool("python3") {
        return false;
    }
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(server.address.port().to_string())
        .arg(tree.root())
        .arg(serde_json::to_string(requests).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let done = String::from_utf8(output.stdout).unwrap();
    assert_eq!(done.trim(), requests.len().to_string());
    true
}
