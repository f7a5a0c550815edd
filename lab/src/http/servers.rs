//! Who is compared: each serves one directory on one port until it is killed. Why each is set so:
//! `lab/RIVALS.md`.

use std::path::Path;

use super::embedded;
use crate::bench::Contender;
use crate::record::Side;
use crate::server::start::{self, Rival, Start};

const NGINX: Rival = Rival {
    name: "nginx, sendfile on",
    program: "nginx",
    package: "Debian package nginx-light",
    words: &["-e", "stderr", "-c", "{CONF}"],
    template: Some(include_str!("../../rivals/nginx.conf")),
    settings: &[("SENDFILE", "on")],
};

const FRAMEWORK: Rival = Rival {
    name: "actix-files",
    program: "rival-actix",
    package: "lab/rivals/embedded",
    words: &["{ROOT}", "{ADDR}"],
    template: None,
    settings: &[],
};

const RIVALS: &[Rival] = &[
    NGINX,
    Rival {
        name: "nginx, sendfile off",
        settings: &[("SENDFILE", "off")],
        ..NGINX
    },
    Rival {
        name: "h2o",
        program: "h2o",
        package: "Debian package h2o",
        words: &["-c", "{CONF}"],
        template: Some(include_str!("../../rivals/h2o.yaml")),
        settings: &[],
    },
    Rival {
        name: "lighttpd",
        program: "lighttpd",
        package: "Debian package lighttpd",
        words: &["-D", "-f", "{CONF}"],
        template: Some(include_str!("../../rivals/lighttpd.conf")),
        settings: &[],
    },
    Rival {
        name: "Caddy",
        program: "caddy",
        package: "Debian package caddy",
        words: &["run", "--adapter", "caddyfile", "--config", "{CONF}"],
        template: Some(include_str!("../../rivals/Caddyfile")),
        settings: &[],
    },
    Rival {
        name: "Apache",
        program: "apache2",
        package: "Debian package apache2",
        words: &["-D", "FOREGROUND", "-f", "{CONF}"],
        template: Some(include_str!("../../rivals/apache.conf")),
        settings: &[],
    },
    Rival {
        name: "static-web-server",
        program: "static-web-server",
        package: "crate static-web-server",
        words: &[
            "--host",
            "127.0.0.1",
            "--port",
            "{PORT}",
            "--root",
            "{ROOT}",
            "--threads-multiplier=1",
            "--log-level=error",
            "--compression=false",
            "--cache-control-headers=false",
        ],
        template: None,
        settings: &[],
    },
    Rival {
        name: "miniserve",
        program: "miniserve",
        package: "crate miniserve",
        words: &[
            "--interfaces",
            "127.0.0.1",
            "--port",
            "{PORT}",
            "--workers",
            "1",
            "{ROOT}",
        ],
        template: None,
        settings: &[],
    },
    Rival {
        name: "dufs",
        program: "dufs",
        package: "crate dufs",
        words: &[
            "--bind",
            "127.0.0.1",
            "--port",
            "{PORT}",
            "--log-format",
            "",
            "{ROOT}",
        ],
        template: None,
        settings: &[],
    },
    FRAMEWORK,
    Rival {
        name: "warp",
        program: "rival-warp",
        ..FRAMEWORK
    },
    Rival {
        name: "Python http.server",
        program: "python3",
        package: "Debian package python3",
        words: &[
            "-m",
            "http.server",
            "--bind",
            "127.0.0.1",
            "--protocol",
            "HTTP/1.1",
            "--directory",
            "{ROOT}",
            "{PORT}",
        ],
        template: None,
        settings: &[],
    },
];

const UNDERPASS: &[&str] = &[
    "serve",
    "{ROOT}",
    "--listen",
    "{ADDR}",
    "--metrics",
    "{METRICS}",
    "--threads",
    "1",
    "--quiet",
];

macro_rules! epoll {
    ($name:literal $(, $word:literal)*) => {
        ($name, &["child", "http-epoll", "{ROOT}", "{ADDR}" $(, $word)*])
    };
}

/// The bare epoll loop, as it is and with what a large file's turns can be made of.
#[rustfmt::skip]
const EPOLL: &[(&str, &[&str])] = &[
    epoll!("bare epoll loop"),
    epoll!("epoll, 64 KiB", "--turn=64KiB", "--turns-a-look=1"),
    epoll!("epoll, 128 KiB", "--turn=128KiB", "--turns-a-look=1"),
    epoll!("epoll, 256 KiB", "--turn=256KiB", "--turns-a-look=1"),
    epoll!("epoll, 512 KiB", "--turn=512KiB", "--turns-a-look=1"),
    epoll!("epoll, 2 MiB", "--turn=2MiB", "--turns-a-look=1"),
    epoll!("epoll, 256 KiB, 8 a look", "--turn=256KiB", "--turns-a-look=8"),
    epoll!("epoll, 256 KiB, Nagle", "--turn=256KiB", "--turns-a-look=1", "--nagle"),
    epoll!("epoll, 256 KiB, cork", "--turn=256KiB", "--turns-a-look=1", "--cork"),
    epoll!("epoll, 2 MiB, Nagle", "--turn=2MiB", "--turns-a-look=1", "--nagle"),
    epoll!("epoll, 2 MiB, cork", "--turn=2MiB", "--turns-a-look=1", "--cork"),
    epoll!("epoll, 256 KiB, low water 256 KiB", "--turn=256KiB", "--turns-a-look=1", "--notsent-lowat=256KiB"),
    epoll!("epoll, low water 128 KiB", "--notsent-lowat=128KiB"),
];

const EMBEDDED: &[&str] = &["child", "http-embedded", "{ROOT}", "{ADDR}", "{METRICS}"];

const SENT: &str = "underpass_http_response_bytes_total";

/// Everyone.
pub(crate) fn all(underpass: Option<&Path>) -> Vec<Contender<Start>> {
    let ours = Contender::new(
        "underpass",
        Side::Ours,
        start::underpass(underpass, UNDERPASS, SENT),
    );
    let embedded = Start::child(EMBEDDED).map(|start| Start {
        routes: Some(embedded::SENT),
        ..start
    });
    let embedded = Contender::new("axum + underpass_http", Side::Ours, embedded);
    let rivals = RIVALS.iter().map(Rival::contender);
    let child = |name, side, words| Contender::new(name, side, Start::child(words));
    let epoll = EPOLL.iter().map(|(name, words)| {
        let words: &'static [_] = words;
        child(name, Side::Floor, words)
    });
    let children = [
        child(
            "axum + tower-http",
            Side::Rival,
            &["child", "tower-http", "{ROOT}", "{ADDR}"],
        ),
        child(
            "bare sendfile loop",
            Side::Floor,
            &["child", "http-sendfile", "{ROOT}", "{ADDR}"],
        ),
    ];
    [ours, embedded]
        .into_iter()
        .chain(rivals)
        .chain(children)
        .chain(epoll)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::server::start::Places;

    #[test]
    fn every_name_in_words_and_templates_is_filled_in() {
        let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
        let places = Places {
            root: Path::new("/r"),
            work: Path::new("/w"),
            addr,
            metrics: addr,
            target: None,
        };
        for rival in RIVALS {
            let words = rival.words.join(" ");
            let template = rival.template.unwrap_or_default();
            let text = places.fill(
                &format!("{words}\n{template}"),
                Path::new("/c"),
                rival.settings,
            );
            let upper = |line: &str| {
                let mut after = line.split('{').skip(1);
                after.any(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
            };
            let mut lines = text.lines().filter(|line| !line.starts_with('#'));
            assert!(!lines.any(upper), "{}", rival.name);
            assert!(text.contains("8080"), "{}", rival.name);
        }
    }

    #[test]
    fn a_rival_that_is_missing_names_its_package() {
        let missing = Rival {
            program: "no-such-server",
            package: "Debian package its-package",
            ..NGINX
        };
        let why = missing.contender().program.unwrap_err();
        assert_eq!(
            why,
            "not installed: Debian package its-package (scripts/install-rivals)"
        );
    }
}
