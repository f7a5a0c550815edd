//! Who is compared: each passes connections from one port to another until it is killed. Why each
//! is set so: `lab/RIVALS.md`.

use std::path::Path;

use crate::bench::Contender;
use crate::record::Side;
use crate::server::start::{self, Rival, Start};

const HAPROXY: Rival = Rival {
    name: "HAProxy, splice",
    program: "haproxy",
    package: "Debian package haproxy",
    words: &["-db", "-f", "{CONF}"],
    template: Some(include_str!("../../rivals/haproxy.cfg")),
    settings: &[(
        "SPLICE",
        "option splice-request\n    option splice-response",
    )],
};

const RIVALS: &[Rival] = &[
    HAPROXY,
    Rival {
        name: "HAProxy, splice-auto",
        settings: &[("SPLICE", "option splice-auto")],
        ..HAPROXY
    },
    Rival {
        name: "HAProxy, copying",
        settings: &[("SPLICE", "no option splice-auto")],
        ..HAPROXY
    },
    Rival {
        name: "nginx stream",
        program: "nginx",
        package: "Debian packages nginx-light and libnginx-mod-stream",
        words: &["-e", "stderr", "-c", "{CONF}"],
        template: Some(include_str!("../../rivals/nginx-stream.conf")),
        settings: &[("MODULE", "/usr/lib/nginx/modules/ngx_stream_module.so")],
    },
    Rival {
        name: "socat",
        program: "socat",
        package: "Debian package socat",
        words: &[
            "-b",
            "65536",
            "TCP-LISTEN:{PORT},bind=127.0.0.1,fork,reuseaddr,backlog=4096,nodelay",
            "TCP:{TARGET},nodelay",
        ],
        template: None,
        settings: &[],
    },
];

/// With this route alone, or with the one that its bursts decide.
fn words(route: Option<&'static str>) -> &'static [&'static str] {
    macro_rules! relay {
        ($($more:literal),*) => {
            &["relay", "--listen", "{ADDR}", "--to", "{TARGET}", "--metrics", "{METRICS}", "--threads", "1", "--quiet" $(, $more)*]
        };
    }
    match route {
        None => relay!(),
        Some("splice") => relay!("--route", "splice"),
        Some(_) => relay!("--route", "read-write"),
    }
}

const CARRIED: &str = "underpass_relay_carried_bytes_total";

/// Everyone.
pub(super) fn all(underpass: Option<&Path>) -> Vec<Contender<Start>> {
    let ours = |name, side, route| {
        Contender::new(
            name,
            side,
            start::underpass(underpass, words(route), CARRIED),
        )
    };
    let ours = [
        ours("underpass", Side::Ours, None),
        ours("underpass, read-write", Side::Variant, Some("read-write")),
        ours("underpass, splice", Side::Variant, Some("splice")),
    ];
    let child = |name, side, words| Contender::new(name, side, Start::child(words));
    let children = [
        child(
            "tokio copy_bidirectional",
            Side::Rival,
            &["child", "relay-tokio", "{ADDR}", "{TARGET}", "65536"],
        ),
        child(
            "bare splice loop",
            Side::Floor,
            &["child", "relay-splice", "{ADDR}", "{TARGET}"],
        ),
    ];
    let rivals = RIVALS.iter().map(Rival::contender);
    ours.into_iter().chain(rivals).chain(children).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::start::Places;

    #[test]
    fn every_name_in_words_and_templates_is_filled_in() {
        let addr = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let places = Places {
            root: Path::new("/r"),
            work: Path::new("/w"),
            addr: addr(1001),
            metrics: addr(1003),
            target: Some(addr(1002)),
        };
        for rival in RIVALS {
            let template = rival.template.unwrap_or_default();
            let text = format!("{}\n{template}", rival.words.join(" "));
            let text = places.fill(&text, Path::new("/c"), rival.settings);
            let upper = |rest: &str| rest.starts_with(|c: char| c.is_ascii_uppercase());
            assert!(!text.split('{').skip(1).any(upper), "{text}");
            assert!(text.contains("1001") && text.contains("1002"), "{text}");
        }
    }
}
