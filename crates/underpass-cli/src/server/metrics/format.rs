//! The two text formats: OpenMetrics 1.0, which prometheus-client writes, and the older one of
//! Prometheus, version 0.0.4, which every tool reads.

use std::fmt::Write;

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// Chooses by the request's Accept (RFC 9110, 12.5.1): OpenMetrics if it is asked for by name
    /// and not less than plain text, else the format that every tool reads.
    pub(super) fn accepted(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range
                .split(';')
                .map(|part| part.trim().to_ascii_lowercase());
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<String> = parts.collect();
            let value = |name: &str| {
                let given = parameters.iter().find_map(|it| it.strip_prefix(name));
                given.map(|value| value.trim_matches('"').to_owned())
            };
            let quality = value("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
            let version = value("version=").unwrap_or_default();
            match (kind.as_str(), version.as_str()) {
                ("application/openmetrics-text", "" | "1.0.0") => open = open.max(quality),
                ("text/plain", "" | "0.0.4") => plain = plain.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of Content-Type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The page in this format, from one of OpenMetrics.
    pub(super) fn page(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Prometheus => prometheus(&open_metrics),
        }
    }
}

/// Turns OpenMetrics into version 0.0.4. There a family is called as its samples are, so counters
/// end in `_total` and infos, which are gauges, in `_info`; units and the end are not told.
fn prometheus(open_metrics: &str) -> String {
    let mut page = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            let kind = lines.next_if(|next| next.starts_with("# TYPE "));
            let kind = kind.and_then(|kind| kind.rsplit(' ').next());
            let (suffix, kind) = match kind.unwrap_or("untyped") {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            // Writing to a String does not fail.
            let _ = writeln!(
                page,
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}"
            );
        } else if !line.starts_with('#') {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let by_prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=\"1.0.0\"",
            "text/plain, application/openmetrics-text",
            by_prometheus,
        ] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html, */*;q=0.1",
            "text/plain;version=0.0.4",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            "application/openmetrics-text;q=nonsense",
        ] {
            assert_eq!(Format::accepted(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn a_family_is_called_as_its_samples_are() {
        let open_metrics = "\
            # HELP build The program.\n# TYPE build info\nbuild_info{v=\"1\"} 1\n\
            # HELP cpu_seconds Time.\n# TYPE cpu_seconds counter\n# UNIT cpu_seconds seconds\n\
            cpu_seconds_total 1.5\n\
            # HELP open Now.\n# TYPE open gauge\nopen{a=\"# b\"} 2\n\
            # EOF\n";
        let expected = "\
            # HELP build_info The program.\n# TYPE build_info gauge\nbuild_info{v=\"1\"} 1\n\
            # HELP cpu_seconds_total Time.\n# TYPE cpu_seconds_total counter\n\
            cpu_seconds_total 1.5\n\
            # HELP open Now.\n# TYPE open gauge\nopen{a=\"# b\"} 2\n";
        assert_eq!(prometheus(open_metrics), expected);
    }
}
