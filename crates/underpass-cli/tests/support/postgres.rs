//! A PostgreSQL server for one test, at a Unix socket.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::program::collected;
use super::{Dir, Running, needs, nobody};

/// Its directory, and its programs.
pub(crate) struct Postgres {
    programs: PathBuf,
    pub(crate) dir: Dir,
}

impl Postgres {
    /// Makes an empty cluster, for `nobody`: the server refuses to run as root.
    pub(crate) fn make() -> Option<Self> {
        let Some(programs) = programs() else {
            needs::lacking("postgresql is not installed (scripts/install-test-tools)");
            return None;
        };
        let dir = Dir::new();
        let data = dir.path("data");
        let made = nobody(Command::new(programs.join("initdb")), &dir)
            .args(["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync"])
            .args(["--no-locale", "-E", "UTF8"])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb");
        Some(Self { programs, dir })
    }

    /// The program and the arguments of the server.
    pub(crate) fn words(&self) -> Vec<String> {
        let program = self.programs.join("postgres");
        let words = [
            program.to_str().unwrap(),
            "-D",
            &self.dir.path("data"),
            "-k",
            self.dir.root(),
            "-F",
            "-c",
            "listen_addresses=",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Starts the server, and waits until it is ready.
    pub(crate) fn start(&self) -> Running {
        let words = self.words();
        let mut command = collected(&words[0]);
        command.args(&words[1..]).stdout(Stdio::null());
        let mut server = Running::start(nobody(command, &self.dir));
        Self::await_ready(&mut server);
        server
    }

    /// Waits until a server, whose standard error this is, is ready.
    pub(crate) fn await_ready(server: &mut Running) {
        while !server.line().contains("ready to accept connections") {}
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.dir.path(".s.PGSQL.5432"))
    }

    /// The output of psql when it is connected to `place`, with the arguments `args` and the
    /// standard input `input`.
    pub(crate) fn ask(&self, (host, port): (&str, &str), args: [&str; 2], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
            .args(["-d", "postgres", "-h", host, "-p", port])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut psql = command.spawn().unwrap();
        let mut stdin = psql.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input).unwrap());
            let outcome = psql.wait_with_output().unwrap();
            assert!(outcome.status.success(), "{args:?}");
            outcome.stdout
        })
    }
}

/// Debian installs them by version, outside of PATH.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut programs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    programs.find(|path| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|it| Path::new(path).join(it).exists())
    })
}
