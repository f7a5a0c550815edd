//! The units in `packaging`: systemd accepts them, and their restrictions work.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Dir, needs, underpass};

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
