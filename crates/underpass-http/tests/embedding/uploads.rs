//! Uploads when the system fails: disks that report errors late, no /proc, no permission to keep an
//! owner.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use underpass_http::{ServeDir, Uploads};

use crate::support::{Answer, Client, Files, Server, child, is_child, needs};

/// The environment variable with the status that the child has to expect.
const EXPECTED: &str = "UNDERPASS_TEST_EXPECTED";

/// Runs `test` in a child process by way of `before`. The upload in it must be answered with
/// `status`.
fn expecting(status: u16, before: &[&str], test: &str) {
    let mut command = child(before, &format!("uploads::{test}"));
    let output = command.env(EXPECTED, status.to_string()).output().unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{before:?}: {message}{error}");
    assert!(message.contains("1 passed"), "{message}");
}

fn put(files: &Files, content: &str) -> Answer {
    let root = files.root().to_owned();
    let server = Server::start(move |stats| {
        let uploads = Uploads::default();
        ServeDir::new(root)
            .stats(Arc::clone(stats))
            .uploads(uploads)
    });
    let mut client = Client::connect(server.address);
    client.ask(
        "PUT",
        "/file",
        &format!("Content-Length: {}\r\n", content.len()),
    );
    client.send(content);
    client.answer()
}

fn assert_is_as_expected(answer: &Answer) {
    let expected = std::env::var(EXPECTED).unwrap();
    assert_eq!(answer.status.to_string(), expected, "{}", answer.text());
}

fn names(files: &Files) -> Vec<String> {
    let entries = std::fs::read_dir(files.root()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn pitfall_26_what_could_not_be_synced_is_not_told_as_done() {
    const TEST: &str = "pitfall_26_what_could_not_be_synced_is_not_told_as_done";
    if is_child() {
        let files = Files::on_disk().with("file", b"old");
        let answer = put(&files, "new");
        assert_is_as_expected(&answer);
        assert_eq!(names(&files), ["file"]);
        let content = std::fs::read(files.path("file")).unwrap();
        let is_named = answer.text().contains("in its place");
        assert_eq!(content, if is_named { b"new" } else { b"old" });
        return;
    }
    if !needs::tool("strace") {
        return;
    }
    for (inject, status) in [
        // The first is the sync of the file, the second that of its directory after it has its
        // name.
        ("fsync:error=EIO:when=1", 500),
        ("fsync:error=ENOSPC:when=1", 507),
        ("fsync:error=EDQUOT:when=1", 507),
        ("fsync:error=EIO:when=2", 500),
        ("renameat:error=EIO", 500),
    ] {
        let inject = format!("inject={inject}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        expecting(status, &strace, TEST);
    }
}

/// A file without a name gets one through /proc. Without /proc, the file has a temporary name from
/// the beginning.
#[test]
fn uploads_work_without_proc() {
    const TEST: &str = "uploads_work_without_proc";
    if is_child() {
        assert!(!std::path::Path::new("/proc/self").exists());
        let files = Files::on_disk();
        let answer = put(&files, "new");
        assert_is_as_expected(&answer);
        assert_eq!(names(&files), ["file"]);
        assert_eq!(std::fs::read(files.path("file")).unwrap(), b"new");
        return;
    }
    if !needs::root() || !needs::tool("unshare") {
        return;
    }
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    expecting(201, &["unshare", "-m", "sh", "-c", script], TEST);
}

/// The new file has the owner, mode, ACL and attributes of the old one. But nothing survives that
/// lets a program run as its owner, since that was granted to the old content.
#[test]
fn pitfall_32_an_upload_keeps_whose_the_file_is_and_no_set_user_id() {
    if !needs::root() {
        return;
    }
    let files = Files::on_disk();
    for (mode, kept) in [
        (0o4755, 0o755),
        (0o2755, 0o755),
        (0o6711, 0o711),
        (0o1644, 0o644),
        (0o600, 0o600),
        (0o640, 0o640),
    ] {
        std::fs::write(files.path("file"), b"old").unwrap();
        std::os::unix::fs::chown(files.path("file"), Some(1234), Some(4321)).unwrap();
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(files.path("file"), permissions).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(files.path("file"), "user.kind", b"mine", flags).unwrap();
        assert_eq!(put(&files, "new").status, 204);
        let now = std::fs::metadata(files.path("file")).unwrap();
        assert_eq!(now.mode() & 0o7777, kept, "{mode:o}");
        assert_eq!((now.uid(), now.gid()), (1234, 4321));
        let mut value = [0; 10];
        let length = rustix::fs::getxattr(files.path("file"), "user.kind", &mut value[..]);
        assert_eq!(&value[..length.unwrap()], b"mine");
        assert_eq!(std::fs::read(files.path("file")).unwrap(), b"new");
    }
}

/// If the owner cannot be kept, the old file stays as it is, and the response says so.
#[test]
fn pitfall_32_an_upload_that_cannot_keep_the_owner_is_refused() {
    const TEST: &str = "pitfall_32_an_upload_that_cannot_keep_the_owner_is_refused";
    const ROOT: &str = "UNDERPASS_TEST_ROOT";
    if is_child() {
        let files = Files::at(std::env::var(ROOT).unwrap());
        assert_is_as_expected(&put(&files, "new"));
        return;
    }
    if !needs::root() || !needs::tool("setpriv") {
        return;
    }
    let files = Files::new().with("file", b"old");
    let root = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(files.root(), root).unwrap();
    let at = format!("{ROOT}={}", files.root().display());
    let setpriv = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let before: Vec<&str> = ["env", &at].into_iter().chain(setpriv).collect();
    expecting(403, &before, TEST);
    assert_eq!(std::fs::read(files.path("file")).unwrap(), b"old");
    assert_eq!(std::fs::metadata(files.path("file")).unwrap().uid(), 0);
    assert_eq!(names(&files), ["file"]);
}
