//! The units in `packaging`: systemd accepts them, and their restrictions work.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Authority, Dir, Server, curl, needs, nobody, underpass, unprivileged};

/// The highest exposure level of a service that `systemd-analyze security` may report, of 100. The
/// three have 14, because they use the network.
const EXPOSURE: &str = "20";

#[test]
fn systemd_takes_the_units_and_finds_the_services_confined() {
    if !needs::tool("systemd-analyze") {
        return;
    }
    let dir = Dir::new();
    let units = units(&dir);
    assert!(units.len() >= 6, "{units:?}");
    let mut verify = Command::new("systemd-analyze");
    succeeds(verify.args(["verify", "--man=no"]).args(&units));
    for service in units.iter().filter(|unit| unit.ends_with(".service")) {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=yes", "--no-pager", "--threshold"]);
        succeeds(security.args([EXPOSURE, service]));
    }
}

/// Under these, systemd forbids openat2(2), and `serve` opens nothing without it: every file was
/// answered with 500. scripts/check-service shows it under a systemd that was booted.
#[test]
fn the_unit_of_serve_leaves_it_openat2() {
    let unit = std::fs::read_to_string(packaging().join("underpass-serve.service")).unwrap();
    let mut lines = unit.lines();
    let forbids = |line: &str| {
        ["DynamicUser=", "RestrictSUIDSGID="]
            .iter()
            .any(|name| line.starts_with(name))
    };
    assert_eq!(lines.find(|line| forbids(line)), None);
    assert!(unit.contains("User=underpass"));
}

/// HTTPS as it is shipped, and with all that is commented out in it.
#[test]
fn systemd_takes_the_drop_ins_for_https() {
    if !needs::tool("systemd-analyze") {
        return;
    }
    for name in ["underpass-serve-https.conf", "underpass-serve-acme.conf"] {
        let example = std::fs::read_to_string(packaging().join(name)).unwrap();
        succeeds(&mut with_drop_in(&Dir::new(), &example));
        succeeds(&mut with_drop_in(&Dir::new(), &uncommented(&example)));
    }
    // The drop-in is read: what is wrong in it is reported.
    let dir = Dir::new();
    let mut wrong = with_drop_in(&dir, "[Service]\nNoSuchThing=1\n");
    let outcome = wrong.output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(said.contains("NoSuchThing"), "{said}");
}

/// The service as systemd starts it with the drop-in for HTTPS: the settings that are variables,
/// with copies of the certificate and the key in a directory of credentials that only the service
/// may read.
#[test]
fn the_service_serves_https_with_credentials() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, credentials) = (Dir::new(), Dir::new());
    let authority = Authority::new("authority");
    let pair = authority.pair("site", &["127.0.0.1"]);
    dir.file("a", b"content");
    let drop_in = std::fs::read_to_string(packaging().join("underpass-serve-https.conf")).unwrap();
    let settings = |name: &str| {
        let prefix = format!("{name}=");
        let values = drop_in
            .lines()
            .filter_map(move |line| line.strip_prefix(&prefix));
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut loaded = Vec::new();
    for credential in settings("LoadCredential") {
        let (name, from) = credential.split_once(':').unwrap();
        let from = match from {
            "/etc/underpass/cert.pem" => &pair.certificate,
            "/etc/underpass/key.pem" => &pair.key,
            other => panic!("{other}"),
        };
        let copy = credentials.file(name, &std::fs::read(from).unwrap());
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o400)).unwrap();
        loaded.push(copy);
    }
    let mut command = underpass(&["serve", "--listen=127.0.0.1:0"]);
    command.env("UNDERPASS_DIR", dir.root());
    command.env("CREDENTIALS_DIRECTORY", credentials.root());
    for variable in settings("Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        // %d is the directory of credentials (systemd.unit(5)).
        command.env(name, value.replace("%d", credentials.root()));
    }
    let Some(command) = as_another_user(command, &dir, &credentials, &loaded) else {
        return;
    };
    let server = Server::of(command);
    let url = format!("{}a", server.url);
    assert!(url.starts_with("https://"), "{url}");
    assert_eq!(curl(&["--cacert", &authority.file, &url]).text(), "content");
    server.stop().ok();
}

/// Runs it as the user to whom systemd gives the credentials, if it can be run so.
fn as_another_user(
    command: Command,
    dir: &Dir,
    credentials: &Dir,
    files: &[String],
) -> Option<Command> {
    unprivileged(&["--version"])?;
    let command = nobody(nobody(command, dir), credentials);
    if rustix::process::geteuid().is_root() {
        for file in files {
            std::os::unix::fs::chown(file, Some(65534), Some(65534)).unwrap();
        }
    }
    Some(command)
}

/// With the settings that are comments; comments in words have a space before them.
fn uncommented(unit: &str) -> String {
    let setting = |line| {
        str::strip_prefix(line, "#")
            .filter(|rest| !rest.starts_with(' '))
            .unwrap_or(line)
    };
    unit.lines().map(setting).collect::<Vec<_>>().join("\n")
}

/// What verifies underpass-serve.service with this drop-in.
fn with_drop_in(dir: &Dir, drop_in: &str) -> Command {
    let units = units(dir);
    let mut units = units.iter();
    let service = units.find(|unit| unit.ends_with("underpass-serve.service"));
    std::fs::create_dir(dir.path("underpass-serve.service.d")).unwrap();
    dir.file("underpass-serve.service.d/drop-in.conf", drop_in.as_bytes());
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", service.unwrap()]);
    verify
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

/// Makes copies of the units that start the program from where it was built. Returns their paths.
fn units(dir: &Dir) -> Vec<String> {
    let program = underpass(&[]).get_program().to_str().unwrap().to_owned();
    let entries = std::fs::read_dir(packaging()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let units = paths.filter(|path| {
        path.extension()
            .is_some_and(|it| it == "service" || it == "socket")
    });
    units
        .map(|path| {
            let unit = std::fs::read_to_string(&path).unwrap();
            let unit = unit.replace("/usr/bin/underpass", &program);
            dir.file(path.file_name().unwrap().to_str().unwrap(), unit.as_bytes())
        })
        .collect()
}

/// Checks that standard error is empty: systemd only warns about what it ignores in a unit.
fn succeeds(command: &mut Command) {
    let outcome = command.output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        outcome.status.success() && said.is_empty(),
        "{command:?}: {said}"
    );
}

/// The example of a configuration file, as it is shipped, and with all that is commented out in it.
#[test]
fn the_example_of_a_configuration_is_one() {
    let dir = Dir::in_memory();
    let example = std::fs::read_to_string(packaging().join("underpass-serve.toml")).unwrap();
    let users = dir.file("users", b"a:1\n");
    let all = uncommented(&example).replace("/etc/underpass/users", &users);
    assert_ne!(all, example);
    for text in [&example, &all] {
        let config = dir.file("serve.toml", text.as_bytes());
        let args = ["serve", dir.root(), "--check-config", "--config", &config];
        crate::support::run(&args).ok();
    }
}
