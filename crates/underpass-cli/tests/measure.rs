//! `underpass measure`: what is counted, how each number says how it is known, and that other
//! programs can read it.

use std::sync::LazyLock;

use serde_json::Value;

use crate::support::{Dir, Outcome, Running, needs, run, unprivileged};

const SCHEMA: &str = include_str!("../../underpass-measure/report.schema.json");

/// One run with every kind of row. It takes seconds, so the tests share it.
struct Taken {
    json: String,
    report: Value,
    page: String,
    stderr: String,
}

static TAKEN: LazyLock<Taken> = LazyLock::new(|| {
    let dir = Dir::new();
    let page = dir.path("page.html");
    let what = "measure --quick --sizes 64K --rounds 1 --ways read-write,sendfile,send-zerocopy,tls-read-write,tls-seal,tls-sendfile,relay,fan-out --json --html";
    let args: Vec<_> = what.split(' ').chain([page.as_str()]).collect();
    let outcome = run(&args).ok();
    let json = outcome.text().to_owned();
    Taken {
        report: serde_json::from_str(&json).unwrap(),
        json,
        page: std::fs::read_to_string(&page).unwrap(),
        stderr: outcome.stderr,
    }
});

impl Taken {
    fn used(&self, probe: &str) -> bool {
        let mut probes = list(&self.report, "probes");
        probes.any(|it| it["name"] == probe && it["used"] == true)
    }

    fn interface(&self, name: &str) -> &Value {
        let mut interfaces = list(&self.report, "interfaces");
        interfaces.find(|it| it["name"] == name).unwrap()
    }

    fn unit(&self, way: &str, interface: &str) -> &Value {
        let mut rows = list(&self.report, "per_unit");
        let row = rows.find(|row| row["way"] == way && row["interface"] == interface);
        row.unwrap_or_else(|| panic!("no {way} over {interface}"))
    }

    fn rows(&self) -> impl Iterator<Item = &Value> {
        list(&self.report, "per_unit").chain(list(&self.report, "by_size"))
    }
}

fn list<'a>(report: &'a Value, name: &str) -> std::slice::Iter<'a, Value> {
    report[name].as_array().unwrap().iter()
}

/// Whether this process can make interfaces and count in the kernel.
fn root() -> bool {
    needs::is_root() || needs::lacking("only root can count in the kernel and make interfaces")
}

#[test]
fn the_json_is_of_the_schema_and_nothing_else_is_said() {
    let schema = serde_json::from_str(SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let told: Vec<_> = schema
        .iter_errors(&TAKEN.report)
        .map(|it| it.to_string())
        .collect();
    assert_eq!(told, [""; 0]);
    assert_eq!(TAKEN.json.lines().count(), 1);
    assert_eq!(TAKEN.stderr, "", "no progress where nobody looks");
}

#[test]
fn the_kernel_counts_two_calls_for_a_copied_unit_and_one_for_sendfile() {
    if !root() {
        return;
    }
    assert!(TAKEN.used("tracepoints"), "{}", TAKEN.report["probes"]);
    for (way, calls, switches) in [("read-write", "2.00", "4.00"), ("sendfile", "1.00", "2.00")] {
        let row = TAKEN.unit(way, "loopback");
        assert_eq!(row["bytes"], 64 << 10);
        for (name, want) in [("syscalls", calls), ("mode_switches", switches)] {
            let count = &row[name];
            assert_eq!(count["evidence"], "measured", "{way}: {count}");
            assert_eq!(
                format!("{:.2}", count["value"].as_f64().unwrap()),
                want,
                "{way}: {name}"
            );
        }
    }
}

/// One stream to one consumer and to many. With reading and writing, this costs one call in and one
/// call out for each consumer, and as many copies.
#[test]
fn streams_are_passed_on_by_copying_and_by_splicing() {
    let rows: Vec<_> = list(&TAKEN.report, "streams").collect();
    let cases: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["stream"].as_str().unwrap(),
                row["consumers"].as_u64().unwrap(),
            )
        })
        .collect();
    let wanted = [
        ("relay", 1),
        ("fan-out", 1),
        ("fan-out", 4),
        ("fan-out", 16),
    ];
    assert_eq!(cases, wanted.map(|case| [case; 2]).concat());
    for pair in rows.chunks(2) {
        let [copied, spliced] = pair else {
            panic!("{} rows", rows.len())
        };
        assert_eq!(
            (&copied["way"], &spliced["way"]),
            (&"read-write".into(), &"splice".into())
        );
        let consumers = copied["consumers"].as_f64().unwrap();
        let by_cpu = |row: &Value| row["cpu_copies"]["value"].as_f64().unwrap();
        assert!(
            (by_cpu(copied) - (consumers + 1.0)).abs() < 0.01,
            "{copied}"
        );
        assert!(by_cpu(spliced) < 0.01, "{spliced}");
        for row in pair {
            assert_eq!(row["samples"].as_array().unwrap().len(), 1);
            assert!(row["gb_per_s"]["median"].as_f64().unwrap() > 0.0);
        }
    }
}

/// Each byte is encrypted once, in one place. A kernel without TLS is named as the reason why the
/// way through it is absent.
#[test]
fn with_tls_each_byte_is_encrypted_once_wherever_that_is() {
    let mut ways = vec![("tls-read-write", "user", 2.0), ("tls-seal", "user", 1.0)];
    let absent: Vec<_> = list(&TAKEN.report, "absent_ways").collect();
    match absent[..] {
        [] => ways.push(("tls-sendfile", "kernel", 0.0)),
        [way] => {
            assert_eq!(way["way"], "tls-sendfile");
            let why = way["missing"].as_str().unwrap();
            assert!(why.starts_with("the kernel "), "{why}");
        }
        _ => panic!("{absent:?}"),
    }
    for (way, place, copies) in ways {
        let row = TAKEN.unit(way, "loopback");
        let near = |count: &Value, want: f64| {
            let value = count["value"].as_f64().unwrap();
            assert!((value - want).abs() < 0.01, "{way}: {count}, not {want}");
        };
        near(&row["copies"]["by_cpu"], copies);
        near(&row["crypto"]["by_cpu"], 1.0);
        for pass in list(&row["crypto"], "passes") {
            assert_eq!(pass["work"], "encrypt");
            near(&pass["count"], f64::from(u8::from(pass["place"] == place)));
        }
    }
    assert_eq!(TAKEN.unit("sendfile", "loopback")["crypto"], Value::Null);
    let tls = TAKEN.report["method"]["tls"].as_str().unwrap();
    assert!(tls.starts_with("TLS 1.3 "), "{tls}");
}

#[test]
fn links_of_its_own_gather_as_they_are_called() {
    if !root() {
        return;
    }
    for (name, gathers) in [("veth", true), ("veth-no-gather", false)] {
        let interface = TAKEN.interface(name);
        assert_eq!(interface["gathers"], gathers, "{interface}");
        assert_eq!(interface["missing"], Value::Null);
        assert_eq!(TAKEN.unit("sendfile", name)["repeats"], 1024);
    }
}

/// Only what a probe counted is `measured`. Only the kernel's own report about zero-copy sends is
/// `reported`.
#[test]
fn no_copy_is_called_measured_that_nobody_counted() {
    let kprobes = TAKEN.used("kprobes");
    for row in TAKEN.rows() {
        let reports = ["send-zerocopy", "underpass"].contains(&row["way"].as_str().unwrap());
        let cpu = &row["copies"]["by_cpu"];
        let hops = list(&row["copies"], "hops");
        for count in hops
            .filter(|hop| hop["mover"] == "cpu")
            .map(|hop| &hop["copies"])
            .chain([cpu])
        {
            match count["evidence"].as_str().unwrap() {
                "measured" => assert!(kprobes && mentions(count, "kprobes"), "{count}"),
                "reported" => assert!(reports && mentions(count, "the kernel said"), "{count}"),
                "expected" => assert!(!mentions(count, "kprobes") || !kprobes, "{count}"),
                unknown => assert_eq!(unknown, "unknown", "{count}"),
            }
        }
        let dma = list(&row["copies"], "hops").filter(|hop| hop["mover"] == "dma");
        assert_eq!(
            dma.map(|hop| hop["copies"]["evidence"].as_str().unwrap())
                .collect::<Vec<_>>(),
            ["expected"; 2]
        );
        assert_eq!(
            row["copies"]["by_dma"]["evidence"], "expected",
            "no software sees it"
        );
        // Only the kernel can tell how many page faults there were.
        let counted = row["mode_switches"]["evidence"] == "measured";
        assert_eq!(
            counted,
            TAKEN.used("tracepoints") && mentions(&row["mode_switches"], "two a page fault")
        );
    }
}

fn mentions(count: &Value, words: &str) -> bool {
    count["why"].as_str().unwrap().contains(words)
}

#[test]
fn without_root_it_measures_what_it_can_and_says_what_root_would_add() {
    let what = "measure --quick --sizes 64K --rounds 1 --ways read-write";
    let args: Vec<_> = what.split(' ').collect();
    let Some(run) = unprivileged(&args) else {
        return;
    };
    let outcome = Running::start(run).finish().ok();
    let text = outcome.text();
    assert!(text.contains("\nloopback (it gathers)"), "{text}");
    for name in ["veth", "veth-no-gather", "tracepoints", "kprobes"] {
        assert!(tells(text, name).contains("root (CAP_SYS_ADMIN"), "{text}");
    }
    // Some machines let everybody sample.
    let allowed = text.lines().any(|line| line.starts_with("  + sampling: "));
    assert!(
        allowed || tells(text, "sampling").contains("root (CAP_SYS_ADMIN"),
        "{text}"
    );
    assert!(!text.contains("veth (it"), "{text}");
    assert_eq!(outcome.stderr, "");
}

/// What is said about a probe or link that was not used. It may go on below its line.
fn tells(text: &str, name: &str) -> String {
    let start = format!("  - {name}: ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&start));
    let line = lines.next();
    let line = line.unwrap_or_else(|| panic!("nothing on {name}: {text}"));
    let rest = lines.take_while(|line| line.starts_with("    "));
    rest.fold(line.to_owned(), |all, more| all + " " + more.trim_start())
}

#[test]
fn the_page_names_the_kernel_and_needs_no_network() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(TAKEN.page.contains(release.trim()), "no {release}");
    assert!(TAKEN.page.contains("<html lang=\"en\">"));
    let command = TAKEN.report["command"].as_str().unwrap();
    assert!(
        command.starts_with("underpass measure --quick --sizes 64K --rounds 1 --ways read-write,"),
        "{command}"
    );
    assert!(TAKEN.page.contains(command), "{command}");
    for word in [
        "http:",
        "https:",
        "<link rel=\"stylesheet",
        "@import",
        "src=",
    ] {
        assert!(!TAKEN.page.contains(word), "the page has {word}");
    }
}

#[test]
fn what_was_kept_is_printed_and_drawn_as_the_run_itself_did() {
    let dir = Dir::in_memory();
    let kept = dir.file("report.json", TAKEN.json.as_bytes());
    let page = dir.path("page.html");
    let from = ["measure", "--from", &kept, "--html", &page];
    assert_eq!(
        run(&[&from[..], &["--json"]].concat()).ok().text(),
        TAKEN.json
    );
    assert!(
        std::fs::read_to_string(&page).unwrap() == TAKEN.page,
        "another page"
    );
    run(&[&from[..], &["--lang", "zh"]].concat()).ok();
    let chinese = std::fs::read_to_string(&page).unwrap();
    assert!(chinese.contains("<html lang=\"zh-Hans\">"));
}

/// Claims are compared with counts: a claim that was not counted neither holds nor fails.
#[test]
fn verify_tells_what_held_from_what_was_not_counted() {
    let dir = Dir::in_memory();
    let kept = dir.file("report.json", TAKEN.json.as_bytes());
    let outcome = run(&["measure", "--from", &kept, "--verify"]);
    let of = |verdict: &str| count_lines(&outcome, &format!("underpass: {verdict}: "));
    assert_eq!(of("FAILS"), 0, "{outcome:?}");
    // kprobes count copies, of files (three claims, and two with TLS in user space) and of streams
    // (eight), and both claims of TLS in the kernel; tracepoints count calls. This process counts
    // what it encrypts itself, which two claims are about.
    let kernel_tls = list(&TAKEN.report, "absent_ways").next().is_none();
    let by_kprobes = 13 + 2 * usize::from(kernel_tls);
    let counted = by_kprobes * usize::from(TAKEN.used("kprobes"))
        + 3 * usize::from(TAKEN.used("tracepoints"))
        + 2 * usize::from(needs::is_root());
    assert_eq!(
        (of("holds"), of("not counted")),
        (counted, 20 - counted),
        "{outcome:?}"
    );
    let told = format!(
        "20 claims: {counted} held, 0 failed, {} not counted here",
        20 - counted
    );
    assert!(outcome.stderr.contains(&told), "{outcome:?}");
    assert_eq!(outcome.code, if counted < 20 { 4 } else { 0 });
}

/// A claim that fails is told from all that was not counted.
#[test]
fn verify_fails_if_one_count_differs() {
    let mut report = TAKEN.report.clone();
    let rows = report["per_unit"].as_array_mut().unwrap();
    rows.retain(|row| row["interface"] == "loopback" && row["way"] == "sendfile");
    // A copy that was counted where none is claimed.
    let row = &mut rows[0];
    row["interface"] = "veth".into();
    row["copies"]["by_cpu"] = serde_json::json!({"value": 1.0, "evidence": "measured", "why": ""});
    let dir = Dir::in_memory();
    let kept = dir.file("report.json", report.to_string().as_bytes());
    let outcome = run(&["measure", "--from", &kept, "--verify"]);
    assert_eq!(
        count_lines(&outcome, "underpass: FAILS: "),
        1,
        "{outcome:?}"
    );
    assert_eq!(outcome.code, 1, "{outcome:?}");
}

fn count_lines(outcome: &Outcome, start: &str) -> usize {
    outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with(start))
        .count()
}
