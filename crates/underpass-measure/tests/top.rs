//! What a watcher counts is what programs really did. The kernel's BPF is needed; where it cannot
//! be used, the tests say so.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use underpass_measure::report::Evidence;
use underpass_measure::top::{
    Activity, CopyHop, ProcessActivity, Source, TopSettings, Watcher, own_pid,
};

const LIMIT: Duration = Duration::from_secs(120);

/// A watcher of this process's descendants; `None` without BPF.
fn watcher(processes: Vec<u32>) -> Option<Watcher> {
    let mut settings = TopSettings::default();
    settings.processes = processes;
    settings.sample = false;
    let mut watcher = Watcher::start(&settings).unwrap();
    let first = now(&mut watcher);
    if first.source != Source::Bpf {
        eprintln!("skipped: {}", first.notes.join("; "));
        return None;
    }
    Some(watcher)
}

fn now(watcher: &mut Watcher) -> Activity {
    watcher.next(Instant::now(), None).unwrap()
}

/// Waits until the process's first thread waits in read(2) of this many bytes of its standard
/// input. Then every earlier call of it was counted.
fn await_reading(pid: u32, bytes: u32) {
    let began = Instant::now();
    let waits = |text: &str| {
        let words: Vec<_> = text.split(' ').collect();
        words.len() > 4 && words[..2] == ["0", "0x0"] && words[3] == format!("{bytes:#x}")
    };
    loop {
        let text = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        if waits(&text) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{pid} does {text}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends the child with the test, also if that fails.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn moves(directory: &Path) -> Reaped {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/top/moves.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Reaped(command.spawn().unwrap())
}

type Moved = BTreeMap<(String, String, String), u64>;

fn told(process: &ProcessActivity) -> Moved {
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let mut told = Moved::new();
    for call in &process.calls {
        let json = serde_json::to_value(call).unwrap();
        let [family, from, to] = ["family", "from", "to"].map(|field| word(json[field].clone()));
        *told.entry((family, from, to)).or_default() += call.bytes;
    }
    told
}

#[test]
fn each_family_is_counted_to_the_byte() {
    if !underpass_testing::needs::tool("python3") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut child = moves(directory.path());
    let pid = child.0.id();
    let Some(mut watcher) = watcher(vec![pid]) else {
        return;
    };
    await_reading(pid, 100);
    now(&mut watcher);
    let stdin = child.0.stdin.as_mut().unwrap();
    stdin.write_all(b"go\n").unwrap();
    await_reading(pid, 101);
    let activity = now(&mut watcher);
    child.0.stdin.as_mut().unwrap().write_all(b"on\n").unwrap();
    let mut line = String::new();
    let stdout = child.0.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let expected: Vec<(String, String, String, u64)> = serde_json::from_str(&line).unwrap();
    let expected: Moved = expected
        .into_iter()
        .map(|(family, from, to, bytes)| ((family, from, to), bytes))
        .collect();
    assert_eq!(activity.overhead.lost, 0);
    let process = activity.process(pid).unwrap();
    let mut told = told(process);
    let mapped = ["mmap_fault", "file", "memory"].map(str::to_owned).into();
    assert!(told.remove(&mapped) >= Some(1 << 16));
    assert_eq!(told, expected);
    assert!(!process.has_ended && process.name == "python3");
    assert!(process.command.as_ref().unwrap().contains("moves.py"));
    children(&activity, pid);
}

/// Those that were started and ended meanwhile.
fn children(activity: &Activity, parent: u32) {
    let written = |process: &ProcessActivity| {
        let key = ["write", "memory", "file"].map(str::to_owned).into();
        told(process).get(&key).copied()
    };
    let children = activity
        .processes
        .iter()
        .filter(|process| process.parent == parent);
    let mut found: Vec<_> = children
        .map(|child| {
            assert!(child.has_ended && child.cpu_seconds.is_some());
            (child.name.as_str(), written(child))
        })
        .collect();
    found.sort_unstable();
    // A kernel without 32-bit calls ends the process that makes one.
    found.retain(|child| *child != ("by-32-bits", None));
    let all = [
        ("by-32-bits", Some(19)),
        ("dd", Some(7000)),
        ("python3", Some(17)),
    ];
    assert_eq!(found, all[all.len() - found.len()..]);
    assert!(found.len() >= 2);
}

/// Runs a program to its end, and returns what it did.
fn run(command: &mut Command) -> Option<ProcessActivity> {
    let mut watcher = watcher(vec![std::process::id()])?;
    let mut child = Reaped(command.spawn().unwrap());
    let pid = child.0.id();
    assert!(child.0.wait().unwrap().success());
    let activity = now(&mut watcher);
    let mut processes = activity.processes.into_iter();
    Some(processes.find(|process| process.pid == pid).unwrap())
}

#[test]
fn a_test_suite_can_say_how_often_a_program_may_copy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, vec![0; 8 << 20]).unwrap();
    // It reads and writes: two copies of each byte.
    let source = std::fs::File::open(&file).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = thread::spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()).unwrap());
    let script =
        "import sys\nwhile (b := sys.stdin.buffer.raw.read(65536)): sys.stdout.buffer.raw.write(b)";
    let mut command = Command::new("python3");
    command
        .args(["-S", "-E", "-c", script])
        .stdin(source)
        .stdout(writer);
    let process = run(&mut command);
    drop(command);
    assert_eq!(sink.join().unwrap(), 8 << 20);
    let Some(process) = process else { return };
    let copies = process.copies_per_byte().unwrap();
    assert!((1.98..2.3).contains(&copies), "{copies}: {process:#?}");
    let hop = |kind| process.copies.iter().find(|hop| hop.hop == kind).unwrap();
    assert_eq!(hop(CopyHop::UserToPipe).bytes, Some(8 << 20));
    assert!(hop(CopyHop::FileToUser).bytes >= Some(8 << 20));
    assert!(hop(CopyHop::FileToUser).evidence >= Evidence::Expected);
}

#[test]
fn many_processes_are_all_counted() {
    const PROCESSES: usize = 1000;
    let Some(mut watcher) = watcher(vec![std::process::id()]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    // Each writes six bytes and ends.
    let script =
        format!("i=0; while [ $i -lt {PROCESSES} ]; do (echo 12345 >>file); i=$((i+1)); done");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(&directory);
    let mut child = Reaped(command.spawn().unwrap());
    let shell = child.0.id();
    let (mut bytes, mut ends, mut is_over) = (0, 0, false);
    while !is_over {
        is_over = child.0.try_wait().unwrap().is_some();
        let activity = watcher
            .next(Instant::now() + Duration::from_millis(20), None)
            .unwrap();
        assert_eq!(activity.overhead.lost, 0);
        let processes = activity.processes.iter();
        for process in processes.filter(|process| process.parent == shell) {
            bytes += process.bytes_out();
            ends += usize::from(process.has_ended);
        }
    }
    assert_eq!((bytes, ends), (6 * PROCESSES as u64, PROCESSES));
}

#[test]
fn two_watchers_count_the_same() {
    let Some(mut first) = watcher(vec![std::process::id()]) else {
        return;
    };
    let mut second = watcher(vec![std::process::id()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("dd");
    command
        .args([
            "if=/dev/zero",
            "of=file",
            "bs=1000",
            "count=77",
            "status=none",
        ])
        .current_dir(&directory);
    let mut child = Reaped(command.spawn().unwrap());
    let pid = child.0.id();
    assert!(child.0.wait().unwrap().success());
    for watcher in [&mut first, &mut second] {
        let activity = now(watcher);
        let process = activity.process(pid).unwrap();
        assert_eq!((process.bytes_out(), process.name.as_str()), (77_000, "dd"));
    }
    drop(first);
    assert!(now(&mut second).process(pid).is_none());
}

#[test]
fn the_code_of_a_program_is_no_file_that_it_maps() {
    if !underpass_testing::needs::static_tool("busybox") {
        return;
    }
    let mut command = Command::new("busybox");
    let Some(process) = run(command.arg("true")) else {
        return;
    };
    assert_eq!(told(&process), Moved::new());
    assert!(process.system_calls > Some(0));
}

/// In the process that runs as another user.
const INSIDE: &str = "UNDERPASS_TESTS_TOP_INSIDE";

#[test]
fn another_user_sees_less_and_is_told_what_root_would_add() {
    if std::env::var_os(INSIDE).is_some() || !rustix::process::geteuid().is_root() {
        return sees_less();
    }
    if !underpass_testing::needs::tool("setpriv") {
        return;
    }
    // Other users may not enter the directory where it was built.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("tests");
    underpass_testing::copy_program(std::env::current_exe().unwrap(), &program);
    for path in [directory.path(), &program] {
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=-all",
        ])
        .arg(&program)
        .args([
            "--exact",
            "another_user_sees_less_and_is_told_what_root_would_add",
        ]);
    let output = command.env(INSIDE, "1").current_dir("/").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "{output:?}"
    );
}

fn sees_less() {
    let mut watcher = Watcher::start(&TopSettings::default()).unwrap();
    let null = std::fs::File::create("/dev/null").unwrap();
    (&null).write_all(&[0; 12_345]).unwrap();
    let activity = now(&mut watcher);
    assert_eq!(activity.source, Source::Proc);
    let [note] = activity.notes.as_slice() else {
        panic!("not one line: {:?}", activity.notes);
    };
    for part in [
        "of one's own processes",
        "root would add all other processes",
    ] {
        assert!(note.contains(part), "{note}");
    }
    let own = activity.process(std::process::id()).unwrap();
    assert!(own.bytes_out() >= 12_345, "{own:?}");
    assert_eq!(
        (own.copied_bytes(), own.copies_evidence()),
        (None, Evidence::Unknown)
    );
    assert_eq!(own.copies_per_byte(), None);
}

#[test]
fn in_a_pid_namespace_processes_have_the_numbers_that_its_proc_has() {
    const NAME: &str = "in_a_pid_namespace_processes_have_the_numbers_that_its_proc_has";
    if std::env::var_os(INSIDE).is_some() {
        return sees_its_namespace();
    }
    let may_unshare = rustix::process::geteuid().is_root();
    if !may_unshare || !underpass_testing::needs::tool("unshare") {
        return eprintln!("skipped: unshare(1) and root are needed");
    }
    let counts = watcher(vec![std::process::id()]).is_some();
    // With a /proc of its own, as in a container, and with that of the machine.
    for (proc, own) in [(&["--mount-proc"][..], true), (&[], false)] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).args(proc);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]);
        let output = command.env(INSIDE, own.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let is_skipped = String::from_utf8_lossy(&output.stderr).contains("skipped: ");
        assert!(
            output.status.success() && said.contains("1 passed") && is_skipped != counts,
            "{output:?}"
        );
    }
}

fn sees_its_namespace() {
    let has_own_proc = std::env::var(INSIDE).unwrap() == "true";
    assert_eq!(std::process::id() == own_pid(), has_own_proc);
    let Some(mut watcher) = watcher(vec![own_pid()]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("dd");
    command
        .args(["if=/dev/zero", "of=file", "bs=1000", "count=77"])
        .args(["status=none"])
        .current_dir(&directory);
    let mut child = Reaped(command.spawn().unwrap());
    assert!(child.0.wait().unwrap().success());
    let activity = now(&mut watcher);
    let started = |process: &&ProcessActivity| process.parent == own_pid();
    let process = activity.processes.iter().find(started).unwrap();
    assert_eq!((process.bytes_out(), process.name.as_str()), (77_000, "dd"));
    assert_eq!(process.pid == child.0.id(), has_own_proc);
    let only_these = "only processes of this PID namespace are shown";
    let is_said = activity.notes.iter().any(|note| note == only_these);
    assert_eq!(is_said, has_own_proc);
}
