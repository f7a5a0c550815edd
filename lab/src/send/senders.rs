//! Who is compared: each a whole process that sends one file to one port.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::program;
use crate::run::{Invocation, run};

const JAVA_SOURCE: &str = include_str!("../../java/TransferTo.java");

/// One row of the table.
pub(super) struct Sender {
    pub(super) name: &'static str,
    /// The program to run, or why there is none.
    pub(super) program: std::result::Result<Program, String>,
}

pub(super) enum Program {
    /// A hidden subcommand of the lab.
    Child(&'static str),
    Underpass {
        path: PathBuf,
        route: Route,
    },
    Java {
        java: PathBuf,
        classes: PathBuf,
    },
}

/// How underpass is told to send, and the route its receipt must then name.
#[derive(Clone, Copy)]
pub(super) enum Route {
    Planned(&'static str),
    Forced(&'static str),
}

/// Everyone, the bare loop first: the others are held against it.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Sender> {
    let underpass = |route| {
        let path = underpass
            .map(Path::to_owned)
            .ok_or_else(|| "no underpass binary (see --underpass)".to_owned());
        path.map(|path| Program::Underpass { path, route })
    };
    vec![
        Sender {
            name: "bare sendfile loop",
            program: Ok(Program::Child("sendfile")),
        },
        Sender {
            name: "underpass send",
            program: underpass(Route::Planned("sendfile")),
        },
        Sender {
            name: "underpass send --route read-write",
            program: underpass(Route::Forced("read-write")),
        },
        Sender {
            name: "Rust std::io::copy",
            program: Ok(Program::Child("std-send")),
        },
        Sender {
            name: "Java FileChannel.transferTo",
            program: java(),
        },
    ]
}

impl Program {
    pub(super) fn invocation(&self, file: &Path, port: u16) -> Result<Invocation> {
        match self {
            Self::Child(name) => Ok(Invocation::child(name)?
                .arg(file)
                .arg(format!("127.0.0.1:{port}"))),
            Self::Underpass { path, route } => Ok(underpass_send(path, *route, file, port)),
            Self::Java { java, classes } => {
                let class_path = Invocation::new(java).arg("-cp").arg(classes);
                Ok(class_path
                    .arg("TransferTo")
                    .arg(file)
                    .arg("127.0.0.1")
                    .arg(port.to_string()))
            }
        }
    }
}

fn underpass_send(path: &Path, route: Route, file: &Path, port: u16) -> Invocation {
    let send = Invocation::new(path)
        .arg("send")
        .arg(file)
        .arg(format!("tcp://127.0.0.1:{port}"));
    let send = send.args(["--receipt", "json", "--quiet"]);
    match route {
        Route::Planned(_) => send,
        Route::Forced(name) => send.args(["--route", name]),
    }
}

fn java() -> std::result::Result<Program, String> {
    let (Some(java), Some(javac)) = (program::on_path("java"), program::on_path("javac")) else {
        return Err("java and javac are not both on PATH".to_owned());
    };
    let classes = compile(&javac).map_err(|error| error.to_string())?;
    Ok(Program::Java { java, classes })
}

/// Compiles beside the lab's own program, in the target directory.
fn compile(javac: &Path) -> Result<PathBuf> {
    let lab = std::env::current_exe().context(|| "cannot find the lab's own program".into())?;
    let classes = lab.with_file_name("lab-java");
    let source = classes.join("TransferTo.java");
    let written =
        std::fs::create_dir_all(&classes).and_then(|()| std::fs::write(&source, JAVA_SOURCE));
    written.context(|| format!("cannot write {}", source.display()))?;
    run(&Invocation::new(javac).arg("-d").arg(&classes).arg(&source))?;
    Ok(classes)
}
