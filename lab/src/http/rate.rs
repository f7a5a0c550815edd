//! Files in the page cache to keep-alive connections in a closed loop: responses per second for
//! small files, bytes for large ones.

use std::sync::Arc;

use super::check;
use super::load::{Load, Window};
use super::store::Store;
use crate::bench::{Bench, WARMUP, remove};
use crate::contender::{Contender, Places};
use crate::error::Result;
use crate::record::{Case, Metric, Row, Sample, noise, warning};
use crate::scenario::Kind;
use crate::server::routes;
use crate::server::running::Running;
use crate::size;
use crate::tls::Tls;

pub(super) const REQUESTS: &str = "requests/s";
pub(super) const CPU_PER_REQUEST: &str = "CPU µs/request";
const P50: &str = "p50 µs";
const P99: &str = "p99 µs";
pub(super) const RATE: &str = "GB/s";
pub(super) const CPU_PER_GB: &str = "CPU s/GB";
/// How much of its processor each side used.
pub(super) const SERVER_BUSY: &str = "server busy %";
pub(super) const LOAD_BUSY: &str = "load busy %";
/// Above this, the load rather than the server may be what is measured.
const LOAD_LIMIT: f64 = 95.0;
/// Below this, the server waited for something; mostly for others on its processor.
const SERVER_LIMIT: f64 = 95.0;

/// Over plain TCP.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    cases(bench, None)
}

/// With a certificate made for this run.
pub(crate) fn run_over_tls(bench: &Bench) -> Result<Vec<Case>> {
    cases(bench, Some(&Arc::new(Tls::new()?)))
}

fn cases(bench: &Bench, tls: Option<&Arc<Tls>>) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let scenario = bench.scenario;
    let needs_store = contenders.iter().any(|who| who.row.store);
    let store = needs_store.then(|| Store::start(bench.root));
    let mut cases = Vec::new();
    for (at, size) in scenario.sizes.iter().enumerate() {
        let file = bench.file(&format!("hot-{at}"), size.0)?;
        store.as_ref().map_or(Ok(()), |store| store.put(&file))?;
        for &connections in &scenario.connections {
            let route = scenario.routes.get(at).map(String::as_str);
            let of = Of {
                file: &file,
                size: size.0,
                connections,
                route,
                tls,
                store: store.as_ref(),
            };
            cases.push(of.case(bench, &contenders)?);
        }
        if let Some(store) = &store {
            store.remove(&file);
        }
        remove(&file)?;
    }
    Ok(cases)
}

/// What one case measures.
struct Of<'a> {
    file: &'a std::path::Path,
    size: u64,
    connections: usize,
    /// The route that ours must have taken.
    route: Option<&'a str>,
    tls: Option<&'a Arc<Tls>>,
    /// What has the file as an object, if a contender serves one.
    store: Option<&'a Store>,
}

impl Of<'_> {
    fn case(&self, bench: &Bench, contenders: &[Contender]) -> Result<Case> {
        let plural = if self.connections == 1 { "" } else { "s" };
        let size = size::exact(self.size);
        let name = format!("{size}, {} connection{plural}", self.connections);
        let metrics = metrics(bench.scenario.kind);
        let mut case = bench.case(&name, metrics, contenders, |who, round| {
            self.measure(bench, who, round)
        })?;
        let remarks = remarks(&case.rows, &case.metrics[0]);
        case.remarks.extend(remarks);
        Ok(case)
    }

    fn measure(&self, bench: &Bench, who: &Contender, round: u32) -> Result<Sample> {
        let mut places = self.tls.map_or_else(Places::default, |tls| tls.places());
        let store = self.store.filter(|_| who.row.store);
        if let Some(store) = store {
            places = store.places(who, places)?;
        }
        let mut server = Running::start_at(bench, who, places)?;
        let path = self.file.file_name().unwrap_or_default().to_string_lossy();
        let load = Load::new(server.addr, &path, self.size, self.connections);
        let load = load.over(self.tls);
        // A cache gets the object by this, or reads again what it has of it.
        if round == 0 || store.is_some() {
            server.explain(check::content(&load, self.file))?;
        }
        let asked = store.map(|store| store.asked(self.file));
        let load_side = || load.run(WARMUP, bench.window(round), &|| server.cpu());
        let window = bench.on_load_side(load_side);
        let window = server.explain(window)?.some_arrived()?;
        let routes = server.routes()?;
        if let (Some(route), Some(_)) = (self.route, &who.row.metric) {
            routes::check(&routes, route, window.bytes)?;
        }
        if let (Some(store), Some(before)) = (store, asked) {
            store.check_idle(self.file, before)?;
            server.check_cache(window.bytes)?;
        }
        Ok(sample(&window).with_routes(routes))
    }
}

fn metrics(kind: Kind) -> Vec<Metric> {
    let told = [Metric::told(SERVER_BUSY, 0), Metric::told(LOAD_BUSY, 0)];
    let by = match kind {
        Kind::HttpBulk | Kind::HttpsBulk => {
            vec![Metric::more(RATE, 2), Metric::less(CPU_PER_GB, 3)]
        }
        _ => vec![
            Metric::more(REQUESTS, 0),
            Metric::less(CPU_PER_REQUEST, 2),
            Metric::told(P50, 0),
            Metric::told(P99, 0),
        ],
    };
    by.into_iter().chain(told).collect()
}

fn sample(window: &Window) -> Sample {
    let (requests, bytes, seconds) = (window.requests as f64, window.bytes as f64, window.seconds);
    Sample::of([
        (REQUESTS, requests / seconds),
        (CPU_PER_REQUEST, window.server_cpu_s * 1e6 / requests),
        (P50, window.p50_us),
        (P99, window.p99_us),
        (RATE, bytes / 1e9 / seconds),
        (CPU_PER_GB, window.server_cpu_s * 1e9 / bytes),
        (SERVER_BUSY, window.server_cpu_s * 100.0 / seconds),
        (LOAD_BUSY, window.load_cpu_s * 100.0 / seconds),
        ("requests", requests),
        ("bytes", bytes),
        ("seconds", seconds),
        ("server CPU s", window.server_cpu_s),
        ("load CPU s", window.load_cpu_s),
        ("load waited s", window.load_wait_s),
        ("longest µs", window.max_us),
    ])
}

/// Remarks on numbers that are not the server's: it was not the limit, or was not alone on its
/// processor.
pub(super) fn remarks(rows: &[Row], first: &Metric) -> Vec<String> {
    let load = "the load may be the limit, it used nearly all of its processor";
    let load = warning(rows, LOAD_BUSY, |busy| busy > LOAD_LIMIT, load);
    let server = "the rate means little, only some of the processor was used";
    let server = warning(rows, SERVER_BUSY, |busy| busy < SERVER_LIMIT, server);
    [load, server, noise(rows, &first.name)]
        .into_iter()
        .flatten()
        .collect()
}
