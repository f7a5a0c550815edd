//! Runs a test in a process of its own: this program again, with an environment variable that says
//! so.

use std::process::Command;

const VARIABLE: &str = "UNDERPASS_TEST_CHILD";

/// Whether this process was started to run `test`.
pub(crate) fn is_child() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The command that runs `test` (`module::name`) in a child process, by way of the program `before`
/// and its arguments.
pub(crate) fn child(before: &[&str], test: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match before {
        [] => Command::new(this),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(this);
            command
        }
    };
    command.args(["--exact", test, "--nocapture"]);
    command.env(VARIABLE, "1");
    command
}
