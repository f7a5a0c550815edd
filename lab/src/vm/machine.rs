//! One run of QEMU. Standard output and error leave the machine through a virtio port each, a
//! socket pair on our side; the exit status through a third, into a file; what the kernel and init
//! say goes to the serial console, another file.

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

/// Between two looks whether Ctrl-C came: a signal may be handled by a thread that is not waiting
/// here.
const LOOK: Duration = Duration::from_millis(200);

/// What is booted, and in what.
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// An ext4 image: the machine's /mnt.
    pub(super) disk: &'a Path,
    /// In bytes.
    pub(super) memory: u64,
    pub(super) cpus: u32,
    /// Whether the kernel tells the console everything, which takes time.
    pub(super) talkative: bool,
    pub(super) timeout: Duration,
}

/// How a machine came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command's exit status, 128 + n for a signal.
    Command(u8),
    TimedOut,
    Interrupted,
    /// It went down before the command ended; what QEMU said.
    Lost(String),
}

/// What a machine leaves behind.
pub(super) struct Outcome {
    pub(super) end: End,
    /// All that was said on the serial console.
    pub(super) console: String,
}

/// Boots the machine and copies what its command says to our own standard output and error until it
/// ends.
///
/// `dir` is for the machine's files.
pub(super) fn run(machine: &Machine<'_>, dir: &Path) -> Result<Outcome> {
    let (console, status) = (dir.join("console"), dir.join("status"));
    let mut said = crate::run::scratch()?;
    let (stdout, stdout_far) = socket_pair()?;
    let (stderr, stderr_far) = socket_pair()?;
    let mut command = machine.command(&console, &status);
    // QEMU finds the far ends at descriptors 0 and 1, which are the ones it inherits.
    command
        .stdin(OwnedFd::from(stdout_far))
        .stdout(OwnedFd::from(stderr_far))
        .stderr(crate::run::share(&said)?);
    sys::die_with_parent(&mut command);
    let mut qemu = command.spawn().context(|| "cannot start QEMU".into())?;
    // The command holds the far ends too: without this no stream would end.
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
            // The first virtio device: init knows its ports as those of number 0.
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

    /// A panic restarts at once, which `-no-reboot` makes the end.
    fn kernel_parameters(&self) -> String {
        let level = if self.talkative { "" } else { " quiet" };
        format!("console=ttyS0 panic=-1{level}")
    }
}

fn socket_pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().context(|| "cannot make a socket pair".into())
}

/// Copies to its end. When nobody reads our output any more the rest is dropped, since a machine
/// whose port is not emptied stands still.
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
                // QEMU was killed with bytes on their way to it, of which there are none.
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

/// Waits for QEMU's end; or says why it must be ended.
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

/// What init wrote into the third port, if it came to that.
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
