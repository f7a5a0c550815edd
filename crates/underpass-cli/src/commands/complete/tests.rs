use clap::error::ErrorKind;

use super::values::{Kind, kind, value_name};
use super::*;

fn built() -> Command {
    let mut command = Args::command();
    command.build();
    command
}

/// What is offered at the end of a line. A word that is yet to begin is an empty one.
fn offered(line: &str) -> Offer {
    let words: Vec<_> = line.split(' ').skip(1).collect();
    offer(&built(), &words)
}

fn words(line: &str) -> Vec<String> {
    offered(line).words.into_iter().map(|it| it.text).collect()
}

#[test]
fn each_place_has_its_values() {
    for (line, want) in [
        ("underpass se", &["send", "serve"][..]),
        ("underpass help se", &["send", "serve"]),
        ("underpass man fan", &["fan-out"]),
        ("underpass completions z", &["zsh"]),
        ("underpass send --rec", &["--receipt"]),
        ("underpass send --receipt ", &["human", "json", "none"]),
        ("underpass send --receipt=j", &["--receipt=json"]),
        ("underpass send --wa", &["--wait", "--wait="]),
        (
            "underpass send --wait=3",
            &["--wait=3s", "--wait=3ms", "--wait=3m", "--wait=3h"],
        ),
        ("underpass copy --route s", &["sendfile", "splice"]),
        ("underpass relay --route ", &["splice", "read-write"]),
        ("underpass measure --lang ", &["en", "zh"]),
        (
            "underpass measure --links veth",
            &["veth", "veth-no-gather"],
        ),
        (
            "underpass measure --ways sendfile,fan",
            &["sendfile,fan-out"],
        ),
        ("underpass measure --sizes 4K,16M", &["4K,16M", "4K,16MB"]),
        ("underpass recv :0 out --expect 5G", &["5G", "5GB"]),
        ("underpass serve --rate 3Mi", &["3MiB/s"]),
        ("underpass serve -p 80", &["8080"]),
        ("underpass serve --listen ", &["127.0.0.1:", ":", "unix:"]),
        ("underpass serve --listen :80,un", &[":80,unix:"]),
        ("underpass recv ", &["127.0.0.1:", ":", "unix:", "tls://:"]),
        ("underpass send in lo", &["localhost:"]),
        ("underpass copy in out --range 4K", &["4K.."]),
        ("underpass top --sort ", &["copies", "bytes", "cpu"]),
        ("underpass fan-out --slow d", &["drop"]),
        ("underpass serve --trusted-proxy un", &["unix:"]),
        ("underpass send -- --rec", &[]),
        ("underpass serve --socket-group roo", &["root"]),
    ] {
        assert_eq!(words(line), want, "{line}");
    }
}

#[test]
fn files_are_offered_only_where_files_go() {
    for (line, want) in [
        ("underpass send ", Paths::Files),
        ("underpass send in.bin ", Paths::Files),
        ("underpass send --route ", Paths::None),
        ("underpass send --timeout ", Paths::None),
        ("underpass send -q ", Paths::Files),
        ("underpass recv ", Paths::None),
        ("underpass recv :0 ", Paths::Files),
        ("underpass recv :0 out ", Paths::None),
        ("underpass copy a ", Paths::Files),
        ("underpass explain ", Paths::Files),
        ("underpass serve ", Paths::Files),
        ("underpass serve dir ", Paths::None),
        ("underpass serve -p ", Paths::None),
        ("underpass serve -p 80 ", Paths::Files),
        ("underpass serve -p80 ", Paths::Files),
        ("underpass serve --tls-cert=", Paths::Files),
        ("underpass serve --acme-state ", Paths::Directories),
        ("underpass measure --dir ", Paths::Directories),
        ("underpass measure ", Paths::None),
        ("underpass measure --html ", Paths::Files),
        ("underpass top ", Paths::None),
        ("underpass top -- ", Paths::Files),
        ("underpass top -- cp ", Paths::Files),
        ("underpass top --html ", Paths::Files),
        ("underpass relay --to ", Paths::None),
        ("underpass fan-out --from ", Paths::Files),
        ("underpass ", Paths::None),
    ] {
        assert_eq!(offered(line).paths, want, "{line}");
    }
}

/// Options are offered where nothing else can stand, and those that were given only if they may be
/// repeated.
#[test]
fn options_are_offered_once() {
    assert!(words("underpass copy a b ").contains(&"--force".to_owned()));
    let left = words("underpass copy --force --range 1..2 --");
    assert!(!left.contains(&"--force".to_owned()) && !left.contains(&"--range".to_owned()));
    assert!(words("underpass relay --to :1 --t").contains(&"--to".to_owned()));
    assert!(!words("underpass measure --s").contains(&"--swap-gather".to_owned()));
}

#[test]
fn sockets_and_directories_are_offered_after_unix() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("some.sock")).unwrap();
    let line = format!("underpass send in.bin unix:{at}/s");
    let want = [format!("unix:{at}/some.sock"), format!("unix:{at}/sub/")];
    assert_eq!(words(&line), want);
}

/// Every argument that takes a value has a name that says what belongs there.
#[test]
fn every_name_of_a_value_is_known() {
    for command in built().get_subcommands() {
        for argument in command.get_arguments() {
            if !argument.get_action().takes_values() {
                continue;
            }
            for name in value_name(argument).split('|') {
                let at = format!("{} {}", command.get_name(), argument.get_id());
                assert_ne!(kind(name), Kind::Unknown, "{at}: {name} is not in kind()");
            }
        }
    }
}

/// What is offered whole is taken by the command line.
#[test]
fn what_is_offered_can_be_parsed() {
    let root = built();
    let mut count = 0;
    for command in root.get_subcommands() {
        for option in command.get_arguments() {
            let Some(long) = option
                .get_long()
                .filter(|_| option.get_action().takes_values())
            else {
                continue;
            };
            for typed in ["", "7"] {
                let option = format!("--{long}={typed}");
                for word in offer(&root, &[command.get_name(), &option]).words {
                    if word.text.ends_with([':', '/']) && word.text != "--trusted-proxy=unix:" {
                        continue;
                    }
                    count += 1;
                    let typed = ["underpass", command.get_name(), &word.text];
                    let Err(error) = Args::command().try_get_matches_from(typed) else {
                        continue;
                    };
                    let wrong = [ErrorKind::ValueValidation, ErrorKind::InvalidValue];
                    assert!(!wrong.contains(&error.kind()), "{}: {error}", word.text);
                }
            }
        }
    }
    assert!(count > 100, "{count} values were tried");
}

#[test]
fn what_a_word_means_is_one_sentence() {
    let about = |text: &str| super::about(Some(&text.to_owned().into()));
    assert_eq!(about("Listen here: HOST:PORT. Repeatable"), "Listen here");
    assert_eq!(about("Send FILE.br\ninstead"), "Send FILE.br instead");
}
