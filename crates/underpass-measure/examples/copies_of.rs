//! Runs a command, and fails if the CPU copied its bytes more often than it may:
//!
//! ```sh
//! cargo run -p underpass-measure --example copies_of -- 1.0 cat /etc/hostname
//! ```

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use underpass_measure::top::{TopSettings, Watcher};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let most: f64 = words.next().ok_or("how many copies may it be?")?.parse()?;
    let program = words.next().ok_or("which command?")?;
    let mut settings = TopSettings::default();
    // Its descendants are those of this process.
    settings.processes = vec![std::process::id()];
    let mut watcher = Watcher::start(&settings)?;
    let status = Command::new(program).args(words).status()?;
    let activity = watcher.next(Instant::now() + Duration::from_millis(10), None)?;
    println!("{}", serde_json::to_string_pretty(&activity)?);
    let mut too_many = false;
    for process in activity
        .processes
        .iter()
        .filter(|process| process.has_ended)
    {
        let copies = process.copies_per_byte();
        println!("{}: {copies:?} copies a byte", process.name);
        let moved = process.bytes_in() + process.bytes_out() > 0;
        too_many |= moved && copies.is_none_or(|copies| copies > most);
    }
    Ok(ExitCode::from(u8::from(too_many || !status.success())))
}
