//! Which processes are shown.

use std::fs;

use underpass_measure::top::{Activity, ProcessActivity, TopSettings, own_pid};

use crate::args::Watched;
use crate::exit::Failure;
use crate::report;

/// The processes that were asked for.
pub(super) struct Wanted {
    pids: Vec<u32>,
    names: Vec<String>,
}

impl Wanted {
    /// Fails if there is no such process.
    pub(super) fn of(asked: &[Watched]) -> Result<Self, Failure> {
        let (mut pids, mut names) = (Vec::new(), Vec::new());
        for watched in asked {
            match watched {
                Watched::Pid(pid) => pids.push(*pid),
                Watched::Name(name) => names.push(name.clone()),
            }
        }
        for pid in &pids {
            match process_of(*pid) {
                Some(process) if process == *pid => note_kernel_thread(*pid),
                Some(process) => {
                    return Err(Failure::failed(format_args!(
                        "{pid}: this is a thread of process {process}; give that number"
                    )));
                }
                None => {
                    return Err(Failure::failed(format_args!(
                        "{pid}: there is no process of this number"
                    )));
                }
            }
        }
        let running = if names.is_empty() {
            Vec::new()
        } else {
            running()
        };
        for name in &names {
            if !running.iter().any(|process| process.is_called(name)) {
                return Err(Failure::failed(format_args!(
                    "{name}: no process has this name; a command to be run stands after --: underpass top -- {name}"
                )));
            }
        }
        Ok(Self { pids, names })
    }

    /// A process of a name may start later, so then the whole machine is watched.
    pub(super) fn settings(&self) -> TopSettings {
        let mut settings = TopSettings::default();
        if self.names.is_empty() {
            settings.processes.clone_from(&self.pids);
        }
        settings
    }

    /// Leaves only those that were asked for, with what they have started, and not this program
    /// itself, whose work is the watching.
    pub(super) fn select(&self, mut activity: Activity) -> Activity {
        let own = own_pid();
        if self.names.is_empty() {
            // The watcher watches nothing else.
            activity.processes.retain(|process| process.pid != own);
            return activity;
        }
        let parents: Vec<_> = activity
            .processes
            .iter()
            .map(|process| (process.pid, process.parent))
            .collect();
        activity
            .processes
            .retain(|process| self.is_named(process) || self.descends(process.pid, &parents));
        activity
    }

    fn is_named(&self, process: &ProcessActivity) -> bool {
        let command = process.command.as_deref().unwrap_or_default();
        let first = command.split(' ').next().unwrap_or_default();
        let names = Names {
            comm: &process.name,
            program: file_name(first),
        };
        self.names.iter().any(|name| names.has(name))
    }

    /// Whether it is one of the numbers, or was started by one of them.
    fn descends(&self, pid: u32, parents: &[(u32, u32)]) -> bool {
        let mut at = pid;
        // A process that is its own ancestor cannot be, but numbers are used again.
        for _ in 0..=parents.len() {
            if self.pids.contains(&at) {
                return true;
            }
            match parents.iter().find(|(pid, _)| *pid == at) {
                Some((_, parent)) => at = *parent,
                None => return false,
            }
        }
        false
    }
}

/// The names that a process goes by.
#[derive(Clone, Copy)]
struct Names<'a> {
    /// `comm` in proc(5): at most 15 bytes.
    comm: &'a str,
    /// The first word of its command line, without the directory.
    program: &'a str,
}

impl Names<'_> {
    fn has(self, name: &str) -> bool {
        self.comm == name || self.program == name
    }
}

struct Process {
    comm: String,
    program: String,
}

impl Process {
    fn is_called(&self, name: &str) -> bool {
        let names = Names {
            comm: &self.comm,
            program: &self.program,
        };
        names.has(name)
    }
}

fn file_name(path: &str) -> &str {
    // Some servers write `nginx: master process` there.
    let path = path.trim_end_matches(':');
    path.rsplit('/').next().unwrap_or(path)
}

/// The process that a process or thread belongs to: /proc has threads too, but does not list them.
fn process_of(number: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{number}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line?.trim().parse().ok()
}

/// Otherwise nothing would be said about why no bytes are seen.
fn note_kernel_thread(pid: u32) {
    if is_kernel_thread(pid) == Some(true) {
        report::notice(format_args!(
            "{pid}: this is a thread of the kernel: it makes no system calls, and only its copies can be counted"
        ));
    }
}

/// By the ninth field of proc_pid_stat(5), `flags`: `PF_KTHREAD`. The second field, in parentheses,
/// may have spaces and parentheses itself.
fn is_kernel_thread(pid: u32) -> Option<bool> {
    const KERNEL_THREAD: u32 = 0x0020_0000;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let flags: u32 = after.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some(flags & KERNEL_THREAD != 0)
}

/// All processes but this one.
fn running() -> Vec<Process> {
    let own = own_pid();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32| {
        let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let first = line.split(|byte| *byte == 0 || *byte == b' ').next();
        let first = String::from_utf8_lossy(first.unwrap_or_default()).into_owned();
        Some(Process {
            comm: String::from_utf8_lossy(&comm).trim_end().to_owned(),
            program: file_name(&first).to_owned(),
        })
    };
    pids.filter(|pid| *pid != own).filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, name: &str, command: &str) -> ProcessActivity {
        let mut process = ProcessActivity::default();
        process.pid = pid;
        process.parent = parent;
        process.name = name.to_owned();
        process.command = Some(command.to_owned());
        process
    }

    fn selected(asked: &[Watched]) -> Vec<u32> {
        let wanted = Wanted {
            pids: asked
                .iter()
                .filter_map(|it| match it {
                    Watched::Pid(pid) => Some(*pid),
                    Watched::Name(_) => None,
                })
                .collect(),
            names: asked
                .iter()
                .filter_map(|it| match it {
                    Watched::Name(name) => Some(name.clone()),
                    Watched::Pid(_) => None,
                })
                .collect(),
        };
        let mut activity = Activity::default();
        activity.processes = vec![
            process(10, 1, "nginx", "nginx: master process"),
            process(11, 10, "nginx", "nginx: worker process"),
            process(20, 1, "python3.13", "/usr/bin/python3 -m http.server"),
            process(21, 20, "cat", "cat a b"),
            process(22, 21, "dog", "dog"),
            process(own_pid(), 1, "underpass", "underpass top"),
        ];
        let selected = wanted.select(activity);
        selected
            .processes
            .iter()
            .map(|process| process.pid)
            .collect()
    }

    #[test]
    fn names_are_of_the_program_and_numbers_have_their_children() {
        let name = |name: &str| Watched::Name(name.to_owned());
        assert_eq!(selected(&[name("nginx")]), [10, 11]);
        assert_eq!(selected(&[name("python3")]), [20]);
        assert_eq!(selected(&[name("python3.13")]), [20]);
        assert_eq!(selected(&[name("pyth")]), [0; 0]);
        assert_eq!(
            selected(&[name("nginx"), Watched::Pid(20)]),
            [10, 11, 20, 21, 22]
        );
        assert_eq!(selected(&[]), [10, 11, 20, 21, 22]);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let name = Watched::Name("no-program-has-this-name".to_owned());
        let refused = Wanted::of(&[name]).err().unwrap().to_string();
        assert!(
            refused.contains("no-program-has-this-name") && refused.contains("--"),
            "{refused}"
        );
        // The largest number that there can be is 4194304 (proc_sys_kernel_pid_max(5)).
        let refused = Wanted::of(&[Watched::Pid(4_194_305)])
            .err()
            .unwrap()
            .to_string();
        assert!(refused.contains("4194305"), "{refused}");
        let own = own_pid();
        assert!(Wanted::of(&[Watched::Pid(own)]).is_ok());
        let (told, thread) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            let own = fs::read_link("/proc/thread-self").unwrap();
            let number = own.file_name().unwrap().to_str().unwrap().parse();
            told.send(number.unwrap()).unwrap();
            let _ = ended.recv();
        });
        let refused = Wanted::of(&[Watched::Pid(thread.recv().unwrap())]);
        let refused = refused.err().unwrap().to_string();
        assert!(refused.contains(&format!("process {own}")), "{refused}");
        drop(end);
    }
}
