//! Processes that `underpass top` counts: many at once, those of a container, and those of a user
//! without rights.

use serde_json::Value;

use crate::support::{
    Dir, Running, Terminal, Watched, collected, moved, needs, run, underpass, unprivileged,
};

/// A thousand wait until all of them run. Then each writes five bytes and ends.
#[test]
fn a_thousand_processes_at_once_are_all_counted() {
    const PROCESSES: usize = 1000;
    let dir = Dir::in_memory();
    let script = format!(
        "cd {} && mkfifo gate && exec 9<>gate && i=0
        while [ $i -lt {PROCESSES} ]; do
            (read line <&9; printf 12345 >>file) &
            i=$((i+1))
        done
        yes '' | head -n {PROCESSES} >&9
        wait",
        dir.root()
    );
    let Some(counted) = Watched::start(&["sh", "-c", &script]).finish() else {
        return;
    };
    let length = std::fs::metadata(dir.path("file")).unwrap().len();
    assert_eq!(length, 5 * PROCESSES as u64);
    let wrote = |process: &&Value| moved(process, "memory", "file") == 5;
    let processes = counted.processes().iter().filter(wrote);
    let processes: Vec<_> = processes.collect();
    assert_eq!(processes.len(), PROCESSES);
    let shell = &processes[0]["parent"];
    for process in processes {
        assert_eq!(process["has_ended"], true);
        assert_eq!(&process["parent"], shell);
        assert_eq!(moved(process, "pipe", "memory"), 1);
    }
}

/// A process of another PID namespace has the number that it has here, and the name of the program
/// that it became.
#[test]
fn a_containers_process_is_known_by_its_number_outside() {
    if !needs::root() || !needs::tool("unshare") {
        return;
    }
    let dir = Dir::in_memory();
    let (inside, output) = (dir.path("inside"), dir.path("output"));
    let script =
        format!("echo $$ >{inside}; exec dd if=/dev/zero of={output} bs=1000 count=77 status=none");
    let words = ["unshare", "--pid", "--fork", "sh", "-c", &script];
    let Some(counted) = Watched::start(&words).finish() else {
        return;
    };
    assert_eq!(std::fs::read_to_string(inside).unwrap(), "1\n");
    let dd = counted.busiest("memory", "file");
    assert_eq!(dd["name"], "dd");
    assert_eq!(moved(dd, "memory", "file"), 77_000 + 2);
    let all = counted.processes().iter();
    let unshare = all.filter(|it| it["name"] == "unshare" && it["pid"] == dd["parent"]);
    assert_eq!(unshare.count(), 1);
    assert!(dd["pid"].as_u64() > Some(1));
}

#[test]
fn a_command_of_a_user_without_rights_is_summed_with_what_it_started() {
    let words = ["top", "--json", "--", "sh", "-c"];
    let script = "head -c 77000 /dev/zero >/dev/null; exec head -c 1000 /dev/zero";
    let Some(command) = unprivileged(&[&words[..], &[script]].concat()) else {
        return;
    };
    let outcome = Running::start(command).finish().ok();
    assert_eq!(outcome.stdout.len(), 1000);
    let report: Value = serde_json::from_str(outcome.stderr.lines().last().unwrap()).unwrap();
    if report["source"] == "proc" {
        let processes = report["processes"].as_array().unwrap();
        let written = processes.iter().map(|it| moved(it, "memory", "unknown"));
        assert_eq!(written.sum::<u64>(), 78_000, "{report:#}");
        assert_eq!(report["notes"].as_array().unwrap().len(), 1, "{report:#}");
    }
}

#[test]
fn the_screen_says_what_root_would_add() {
    let Some(command) = unprivileged(&["top", "--interval=100ms"]) else {
        return;
    };
    let mut terminal = Terminal::with_keys(command, 300);
    let shown = terminal.until("† ended");
    let shown = shown + &terminal.until("root would add all other processes");
    assert!(shown.contains("* expected"), "{shown}");
    terminal.press("q");
    assert_eq!(terminal.exit_code(), Some(0));
}

/// As in a pipe: its input is the caller's, and so is its output.
#[test]
fn a_command_has_the_standard_streams_of_its_caller() {
    let dir = Dir::in_memory();
    let input = std::fs::File::open(dir.file("input", b"some words\n")).unwrap();
    let mut command = underpass(&["top", "--", "cat"]);
    command.stdin(input);
    let outcome = Running::start(command).finish().ok();
    assert_eq!(outcome.text(), "some words\n");
}

/// A daemon that the command leaves behind is not waited for.
#[test]
fn a_command_that_leaves_a_process_behind_is_over_when_it_ends() {
    let dir = Dir::in_memory();
    let gate = dir.path("gate");
    run(&["top", "--", "mkfifo", &gate]).ok();
    let script = format!("cat {gate} >/dev/null 2>&1 & echo $!; exit 3");
    let outcome = run(&["top", "--", "sh", "-c", &script]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    let left = outcome.text().trim().to_owned();
    let mut open = collected("sh");
    open.args(["-c", &format!("exec 9>{gate}; kill -0 {left}")]);
    Running::start(open).finish().ok();
}
