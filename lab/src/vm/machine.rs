//! One run of QEMU. Standard output and standard error leave the machine by a virtio port each,
//! which is a socket pair on our side. The exit status leaves it by a third port, into a file.
//! Messages of the kernel and of init go to the serial console, which is another file.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Context, Error, Result};
use crate::run::last_line;
use crate::sys;

/// Time between two checks for Ctrl-C: the signal may be handled by a thread that is not waiting
/// here.
const LOOK: Duration = Duration::from_millis(200);

/// What is booted, and on what machine.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// An ext4 image, which is the machine's /mnt.
    pub(super) disk: &'a Path,
    /// Memory in bytes.
    pub(super) memory: u64,
    pub(super) cpus: u32,
    /// Whether the kernel prints everything to the console, which takes time.
    pub(super) talkative: bool,
    /// Added to the kernel's command line.
    pub(super) parameters: &'a [String],
    pub(super) timeout: Duration,
}

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With the command's exit status, 128 + n for a signal.
    Command(u8),
    TimedOut,
    Interrupted,
    /// It went down before the command ended; this is what QEMU printed.
    Lost(String),
}

/// The result of a machine's run.
pub(super) struct Outcome {
    pub(super) end: End,
    /// Everything that was printed on the serial console.
    pub(super) console: String,
}

/// Boots the machine, and copies its command's output to our own standard output and standard error
/// until it ends.
///
/// `dir` is for the machine's files.
pub(super) fn run(machine: &Machine<'_>, dir: &Path) -> Result<Outcome> {
    let (console, status) = (dir.join("console"), dir.join("status"));
    let mut said = crate::run::scratch()?;
    let (stdout, stdout_far) = socket_pair()?;
    let (stderr, stderr_far) = socket_pair()?;
    let mut command = machine.command(&console, &status);
    // QEMU finds the far ends at descriptors 0 and 1, which it inherits.
    command
        .stdin(OwnedFd::from(stdout_far))
        .stdout(OwnedFd::from(stderr_far))
        .stderr(crate::run::share(&said)?);
    sys::die_with_parent(&mut command);
    let mut qemu = command.spawn().context(|| "cannot start QEMU".into())?;
    // The command has the far ends too: without this drop, no stream would end.
    drop(command);
    let copies = [
        forward(stdout, std::io::stdout().as_fd())?,
        forward(stderr, std::io::stderr().as_fd())?,
    ];
    let stopped = wait(&qemu, machine.timeout)?;
    if stopped.is_some() {
        qemu.kill().context(|| "cannot end QEMU".into())?;
    }
    let ended = qemu.wait().context(|| "cannot wait for QEMU".into())?;
    for copy in copies {
        copy.join().expect("copying does not panic")?;
    }
    let console = fs::read(console).unwrap_or_default();
    Ok(Outcome {
        end: match stopped {
            Some(end) => end,
            None => verdict(&fs::read_to_string(status).unwrap_or_default())
                .unwrap_or(End::Lost(describe(ended, &mut said)?)),
        },
        console: String::from_utf8_lossy(&console).replace("\r\n", "\n"),
    })
}

impl Machine<'_> {
    fn command(&self, console: &Path, status: &Path) -> Command {
        let file = |path: &Path| path.display().to_string().replace(',', ",,");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-nic", "none"])
            .arg("-m")
            .arg(format!("{}M", self.memory >> 20))
            .arg("-smp")
            .arg(self.cpus.to_string())
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initramfs)
            .arg("-append")
            .arg(self.kernel_parameters())
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk,format=raw,cache=unsafe,file={}",
                file(self.disk)
            ))
            // This is the first virtio device: init knows its ports as those of device 0.
            .args(["-device", "virtio-serial-pci"])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(["-chardev", "socket,id=stdout,fd=0"])
            .args(["-chardev", "socket,id=stderr,fd=1"])
            .arg("-chardev")
            .arg(format!("file,id=status,path={}", file(status)));
        for (number, port) in (1..).zip(["stdout", "stderr", "status"]) {
            let device = format!("virtserialport,nr={number},chardev={port}");
            command.arg("-device").arg(device);
        }
        command
    }

    /// A panic makes the machine restart at once, and `-no-reboot` turns that into its end.
    fn kernel_parameters(&self) -> String {
        let level = if self.talkative { "" } else { " quiet" };
        let own = format!("console=ttyS0 panic=-1{level}");
        let more = self.parameters.iter().map(String::as_str);
        [own.as_str()]
            .into_iter()
            .chain(more)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn socket_pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().context(|| "cannot make a socket pair".into())
}

/// Copies to the end. If nobody reads our output any more, the rest is discarded, because a machine
/// stops while its port is not read.
fn forward(mut from: UnixStream, to: impl AsFd) -> Result<JoinHandle<Result<()>>> {
    let to = to.as_fd().try_clone_to_owned();
    let mut to = to
        .map(File::from)
        .context(|| "cannot share output".into())?;
    Ok(thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut failed = None;
        loop {
            let got = match from.read(&mut buffer) {
                Ok(0) => return failed.map_or(Ok(()), Err),
                Ok(got) => got,
                // QEMU was killed with bytes on their way to it; there are none.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(error).context(|| "cannot read from QEMU".into()),
            };
            if failed.is_none()
                && let Err(error) = to.write_all(&buffer[..got])
                && error.kind() != ErrorKind::BrokenPipe
            {
                failed = Some(Error::new(format!("cannot write the output: {error}")));
            }
        }
    }))
}

/// Waits for QEMU to end. If it has to be ended, returns why.
fn wait(qemu: &Child, timeout: Duration) -> Result<Option<End>> {
    let process = pidfd_open(Pid::from_child(qemu), PidfdFlags::empty())
        .context(|| "cannot watch QEMU".into())?;
    let deadline = Instant::now() + timeout;
    loop {
        if sys::interrupted() {
            return Ok(Some(End::Interrupted));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(End::TimedOut));
        }
        let slice = Timespec::try_from(left.min(LOOK)).expect("a part of a second");
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&slice)) {
            Ok(1..) => return Ok(None),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "cannot wait for QEMU".into()),
        }
    }
}

/// What init wrote to the third port, if anything.
fn verdict(status: &str) -> Option<End> {
    status.trim().parse().ok().map(End::Command)
}

fn describe(ended: ExitStatus, said: &mut File) -> Result<String> {
    let said = last_line(said)?;
    Ok(format!("QEMU ended ({ended}): {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_status_is_one() {
        assert_eq!(verdict("137\n"), Some(End::Command(137)));
        assert_eq!(verdict(""), None);
        assert_eq!(verdict("\n"), None);
        assert_eq!(verdict("256\n"), None);
    }
}
