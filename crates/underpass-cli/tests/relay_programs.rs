//! `relay` between real programs that talk in both directions: nc, socat and PostgreSQL. (curl,
//! nginx and redis would not show more than these.)

use std::fs::File;
use std::process::Command;

use crate::support::{Dir, MIB, Postgres, Relay, assert_same, await_listener, by, bytes, needs};

#[test]
fn nc_talks_to_nc_and_to_socat_and_each_side_half_closes() {
    const NC: &str = "nc.openbsd";
    if !needs::tool(NC) || !needs::tool("socat") {
        return;
    }
    let dir = Dir::new();
    let place = dir.path("target");
    let spawn = |program: &str, args: &[&str], input: &str, output: &str| {
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(File::open(input).unwrap())
            .stdout(File::create(dir.path(output)).unwrap());
        command.spawn().unwrap()
    };
    // One side has more to send than the other, so that each is the first to end once. A listening
    // nc exits when the other side ends, so there socat is the one that continues.
    let listen = format!("UNIX-LISTEN:{place}");
    let nc = ["-N", "-l", "-U", &place];
    let socat = ["-t", "60", &listen, "-"];
    for (up, down, program, args) in [
        (6 * MIB + 1, 100, NC, &nc[..]),
        (100, 6 * MIB + 1, "socat", &socat[..]),
    ] {
        let up = dir.file("up", &bytes(470, up));
        let down = dir.file("down", &bytes(471, down));
        let mut target = spawn(program, args, &down, "up.got");
        await_listener(&place);
        let relay = Relay::to(&format!("unix:{place}"), &["--receipt", "json"]);
        let (host, port) = relay.place().rsplit_once(':').unwrap();
        let mut client = spawn(NC, &["-N", host, port], &up, "down.got");
        assert!(client.wait().unwrap().success() && target.wait().unwrap().success());
        assert_same(&up, &dir.path("up.got"));
        assert_same(&down, &dir.path("down.got"));
        assert_eq!(relay.receipts()[0]["ended"], "closed", "{program}");
        // socat removes it by itself.
        let _ = std::fs::remove_file(&place);
    }
}

#[test]
fn postgresql_answers_and_copies_in_and_out_through_it() {
    let Some(postgres) = Postgres::make() else {
        return;
    };
    let _server = postgres.start();
    let relay = Relay::to(&postgres.address(), &["--receipt", "json"]);
    let (host, port) = relay.place().rsplit_once(':').unwrap();
    let through = (host, port);
    let direct = (postgres.dir.root(), "5432");
    let rows = "select n, repeat(md5(n::text), 8) from generate_series(1, 40000) n";

    // A large result, and the same as a binary copy out of the database.
    let result = postgres.ask(through, ["-c", rows], b"");
    assert!(result.len() > 10 * MIB);
    assert!(result == postgres.ask(direct, ["-c", rows], b""), "result");
    let out = format!("copy ({rows}) to stdout (format binary)");
    let copied = postgres.ask(through, ["-c", &out], b"");
    assert!(copied == postgres.ask(direct, ["-c", &out], b""), "out");

    // And back into the database.
    let table = "create table kept (n int, t text)";
    postgres.ask(direct, ["-c", table], b"");
    let into = "copy kept from stdin (format binary)";
    postgres.ask(through, ["-c", into], &copied);
    let back = "copy (select * from kept order by n) to stdout (format binary)";
    assert!(postgres.ask(direct, ["-c", back], b"") == copied, "in");

    // Question and answer, thousands of times.
    let numbers: Vec<_> = (0..3000).map(|n| n.to_string()).collect();
    let asked = format!("select {};\n", numbers.join(";\nselect "));
    let answers = format!("{}\n", numbers.join("\n"));
    let answered = postgres.ask(through, ["-f", "-"], asked.as_bytes());
    assert!(answered == answers.as_bytes());

    // How much is bulk depends on which side is slower: the server sends 8 KiB at a time.
    let receipts = relay.receipts();
    for (connection, way) in [(0, "down"), (1, "down"), (2, "up")] {
        let direction = &receipts[connection][way];
        let all = direction["bytes"].as_u64().unwrap();
        assert!(all > 10 * MIB as u64, "{direction}");
        let carried = by(direction, "splice") + by(direction, "read-write");
        assert_eq!(carried, all, "{direction}");
    }
    assert_eq!(by(&receipts[3]["down"], "splice"), 0, "{}", receipts[3]);
    for receipt in receipts {
        assert_eq!(receipt["ended"], "closed", "{receipt}");
    }
}
