use clap::Args as _;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::options;
use super::source::Source;
use crate::args::{Args, Command, ServeArgs};

/// Values for each option, which are not the defaults. A flag has none.
const VALUES: &[(&str, &[&str])] = &[
    ("dir", &["/srv", "a b"]),
    ("listen", &[":80", "unix:/run/a b", "127.0.0.1:0"]),
    ("socket-mode", &["0660"]),
    ("socket-group", &["0", "5"]),
    ("threads", &["3"]),
    ("tls-cert", &["a.pem", "b.pem"]),
    ("tls-key", &["a.key"]),
    ("tls-client-ca", &["ca.pem"]),
    ("tls-min-version", &["1.3"]),
    ("redirect-http", &[":80"]),
    ("hsts", &["60"]),
    ("acme-directory", &["https://ca.example/dir"]),
    ("acme-state", &["/var/lib/acme"]),
    ("acme-email", &["a@b.example"]),
    ("acme-ca", &["ca.pem"]),
    ("acme-retry", &["9m"]),
    ("max-streams", &["7"]),
    ("cache-control", &["no-store", "public, max-age=5"]),
    ("mime", &["log=text/plain", "x=a/b; c=\"d\""]),
    ("not-found", &["404.html"]),
    ("archive-max-files", &["8"]),
    ("archive-max-size", &["9MiB"]),
    ("auth", &["a:b", "c:d=e'\"\\"]),
    ("auth-file", &["users"]),
    ("trusted-proxy", &["10.0.0.0/8", "unix:"]),
    ("accept-proxy", &["10.0.0.0/8", "unix:"]),
    ("cors", &["https://a.example", "*"]),
    ("upload-limit", &["5", "2GiB"]),
    ("access-log", &["json"]),
    ("access-log-file", &["log"]),
    ("metrics", &["127.0.0.1:9"]),
    ("max-connections", &["10"]),
    ("drain", &["5", "1m"]),
    ("rate", &["10MiB/s"]),
    ("rate-total", &["90MiB/s"]),
    ("head-timeout", &["6"]),
    ("body-timeout", &["7"]),
    ("send-timeout", &["8"]),
    ("keep-alive", &["9"]),
    ("cache-entries", &["11"]),
    ("cache-valid", &["0", "500ms"]),
    ("cache", &["/var/cache/underpass"]),
    ("cache-size", &["12GiB"]),
    ("cache-max-age", &["13m"]),
    ("revalidate", &["0", "14"]),
    ("stale-if-error", &["15m"]),
];

/// Options that others exclude or need. They are tried by themselves.
const ALONE: [&str; 7] = [
    "port",
    "spa",
    "tls-self-signed",
    "proxy-header",
    "index",
    "archive",
    "acme",
];

fn names() -> Vec<String> {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    options::names(&command)
}

fn parsed(arguments: &[String]) -> String {
    let typed = ["underpass", "serve"].map(Into::into).into_iter();
    let typed: Vec<_> = typed.chain(arguments.iter().map(Into::into)).collect();
    let Ok(args) = Args::read(&typed) else {
        panic!("{arguments:?} are not read");
    };
    let Command::Serve(mut args) = args.command else {
        panic!("another command");
    };
    args.config.config = None;
    args.config.file = None;
    format!("{args:?}")
}

/// An option and its values; a flag has none.
type Chosen = (String, Vec<&'static str>);

fn chosen() -> impl Strategy<Value = Vec<Chosen>> {
    let names: Vec<_> = names()
        .into_iter()
        .filter(|name| !ALONE.contains(&name.as_str()))
        .collect();
    let most = names.len();
    subsequence(names, 0..=most).prop_flat_map(|names| {
        let values = names.into_iter().map(|name| {
            let known = VALUES.iter().find(|(one, _)| *one == name);
            let values = known.map_or(Just(Vec::new()).boxed(), |(_, values)| {
                select(*values).prop_map(|value| vec![value]).boxed()
            });
            (Just(name), values)
        });
        values.collect::<Vec<_>>()
    })
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

fn toml((name, values): &Chosen) -> String {
    match values.as_slice() {
        [] => format!("{name} = true\n"),
        [number] if is_number(number) => format!("{name} = {number}\n"),
        [one] => format!("{name} = {}\n", quoted(one)),
        several => {
            let several: Vec<_> = several.iter().map(|it| quoted(it)).collect();
            format!("{name} = [{}]\n", several.join(", "))
        }
    }
}

/// Whether it can stand without quotes.
fn is_number(text: &str) -> bool {
    let number = text.parse::<u32>();
    number.is_ok_and(|number| number.to_string() == text)
}

fn typed((name, values): &Chosen) -> Vec<String> {
    match values.as_slice() {
        [] => vec![format!("--{name}")],
        values if name == "dir" => values.iter().map(ToString::to_string).collect(),
        values => values.iter().map(|it| format!("--{name}={it}")).collect(),
    }
}

fn same(chosen: &[Chosen]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), chosen.iter().map(toml).collect::<String>()).unwrap();
    let by_file = parsed(&[format!("--config={}", file.path().display())]);
    let typed: Vec<_> = chosen.iter().flat_map(typed).collect();
    assert_eq!(by_file, parsed(&typed), "{typed:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A file and a command line that say the same mean the same.
    #[test]
    fn a_file_means_the_same_as_the_command_line(chosen in chosen()) {
        same(&chosen);
    }

    /// Nothing that is in a file makes the reader panic, and each place is in the file.
    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|\n|[\\[\\]='\"{}])*") {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let source = Source::read(file.path()).unwrap();
        let lines = text.lines().count() + 1;
        if let Err(failure) = options::read(&source, &command) {
            let place = failure.to_string();
            let mut parts = place.split(':').skip(1);
            let line: usize = parts.next().unwrap().parse().unwrap();
            prop_assert!(line <= lines, "{}", place);
        }
    }
}

#[test]
fn options_that_exclude_others_are_in_files_too() {
    let one = |name: &str, values: &[&'static str]| (name.to_owned(), values.to_vec());
    same(&[one("port", &["9000"])]);
    same(&[one("spa", &["app.html"])]);
    same(&[one("index", &[])]);
    same(&[one("tls-self-signed", &[])]);
    same(&[
        one("acme", &["a.example", "b.example"]),
        one("acme-state", &["/a"]),
    ]);
    same(&[one("archive", &[])]);
    same(&[
        one("proxy-header", &["forwarded"]),
        one("trusted-proxy", &["::1"]),
    ]);
    same(&[
        one("listen", &[":1", ":2"]),
        one("cors", &["*", "http://a.example"]),
    ]);
}

/// A new option has to be in the table above, or it is not compared.
#[test]
fn every_option_is_compared() {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    for name in names() {
        let takes_values = command
            .get_arguments()
            .any(|arg| options::is(arg, &name) && arg.get_action().takes_values());
        let has_values = VALUES.iter().any(|(one, _)| *one == name);
        let is_alone = ALONE.contains(&name.as_str());
        assert!(is_alone || has_values == takes_values, "{name}");
    }
}
