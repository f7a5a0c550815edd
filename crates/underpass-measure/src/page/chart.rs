//! CPU time against size, as a multiple of read-write's, with the crossing point of sendfile.

use maud::{Markup, html};

use super::{Page, words};
use crate::Way;
use crate::crossing::{self, Crossing};
use crate::number;
use crate::report::{Row, Summary};

/// Narrow enough that a phone shows the whole chart with letters that can be read.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 344.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 284.0;
/// Half of the space that the name of the crossing point may take.
const CROSSING_NAME: f64 = 150.0;
/// The least distance between the names of two lines.
const LINE_HEIGHT: f64 = 19.0;

/// The ways that have a line. The classic way is the line at 1.
const WAYS: [(Way, &str); 2] = [(Way::Sendfile, "sendfile"), (Way::Underpass, "own")];

/// One way's points: size, and ratio of CPU time to that of read-write.
struct Line {
    name: &'static str,
    class: &'static str,
    points: Vec<(u64, Summary)>,
}

/// The chart of one interface; nothing if fewer than two sizes were timed.
pub(super) fn over(page: &Page, interface: &str) -> Markup {
    let lines = lines(page, interface);
    let points = || lines.iter().flat_map(|line| &line.points);
    let mut sizes: Vec<u64> = points().map(|(bytes, _)| *bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < 2 {
        return html! {};
    }
    let ratios = points().map(|(_, ratio)| ratio);
    let scale = Scale::of(&sizes, ratios);
    html! {
        figure.chart {
            figcaption { (page.say(words::CHART)) }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(in_words(page, &lines)) {
                (axes(&scale, &sizes))
                (crossing_mark(page, &scale, interface))
                @for line in &lines { (draw(line, &scale)) }
                (names(&lines, &scale))
                text.tick.ground-name x=(LEFT + 6.0) y=(at(BOTTOM - 6.0)) { (page.say(words::CHART_CHEAPER)) }
            }
        }
    }
}

fn lines(page: &Page, interface: &str) -> Vec<Line> {
    let of = |way: Way| {
        let rows = page.report.by_size.iter();
        let own = rows.filter(move |row| row.way == way.name() && row.interface == interface);
        let point = |row: &Row| Some((row.bytes, row.to_read_write?.cpu));
        let mut points: Vec<_> = own.filter_map(point).collect();
        points.retain(|(bytes, ratio)| *bytes > 0 && ratio.min > 0.0);
        points.sort_by_key(|(bytes, _)| *bytes);
        points
    };
    let lines = WAYS.map(|(way, class)| Line {
        name: way.name(),
        class,
        points: of(way),
    });
    let lines = lines.into_iter();
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// Both axes are logarithmic: equal ratios are equal distances.
struct Scale {
    sizes: (f64, f64),
    ratios: (f64, f64),
}

impl Scale {
    fn of<'a>(sizes: &[u64], ratios: impl Iterator<Item = &'a Summary>) -> Self {
        let (mut low, mut high) = (-1.0_f64, 1.0_f64);
        for ratio in ratios {
            low = low.min(ratio.min.log2().floor());
            high = high.max(ratio.max.log2().ceil());
        }
        let log = |bytes: u64| (bytes as f64).log2();
        Self {
            sizes: (log(sizes[0]), log(sizes[sizes.len() - 1])),
            ratios: (low, high),
        }
    }

    fn x(&self, bytes: u64) -> f64 {
        let (low, high) = self.sizes;
        LEFT + 14.0 + ((bytes as f64).log2() - low) / (high - low) * (RIGHT - LEFT - 28.0)
    }

    fn y(&self, ratio: f64) -> f64 {
        let (low, high) = self.ratios;
        BOTTOM - (ratio.log2() - low) / (high - low) * (BOTTOM - TOP)
    }
}

fn axes(scale: &Scale, sizes: &[u64]) -> Markup {
    let (low, high) = scale.ratios;
    let powers = (low as i32..=high as i32).map(f64::from);
    let classic = scale.y(1.0);
    html! {
        rect.cheaper x=(LEFT) y=(at(classic)) width=(RIGHT - LEFT) height=(at(BOTTOM - classic)) {}
        @for power in powers {
            @let y = scale.y(power.exp2());
            line.grid x1=(LEFT) y1=(at(y)) x2=(RIGHT) y2=(at(y)) {}
            text.tick x=(LEFT - 6.0) y=(at(y + 5.0)) text-anchor="end" { "×" (number::power_of_two(power)) }
        }
        line.line.classic-line x1=(LEFT) y1=(at(classic)) x2=(RIGHT) y2=(at(classic)) {}
        @for (index, bytes) in sizes.iter().enumerate() {
            // Names of sizes that lie close together are on two rows.
            @let y = BOTTOM + 18.0 + if sizes.len() > 5 && index % 2 == 1 { 17.0 } else { 0.0 };
            line.grid x1=(at(scale.x(*bytes))) y1=(BOTTOM) x2=(at(scale.x(*bytes))) y2=(BOTTOM + 4.0) {}
            text.tick x=(at(scale.x(*bytes))) y=(y) text-anchor="middle" { (number::size(*bytes)) }
        }
    }
}

/// The line between the sizes where copying costs no more, and those where sendfile costs less.
fn crossing_mark(page: &Page, scale: &Scale, interface: &str) -> Markup {
    let Crossing::Between { copying, from, .. } =
        crossing::of(page.report, Way::Sendfile, interface)
    else {
        return html! {};
    };
    let x = f64::midpoint(scale.x(copying), scale.x(from));
    let x_text = x.clamp(CROSSING_NAME, WIDTH - CROSSING_NAME);
    let told = words::cheaper_from(page.language, &number::size(from));
    html! {
        line.crossing x1=(at(x)) y1=(TOP - 12.0) x2=(at(x)) y2=(BOTTOM) {}
        text.tick.strong x=(at(x_text)) y=(TOP - 18.0) text-anchor="middle" { (told) }
    }
}

fn draw(line: &Line, scale: &Scale) -> Markup {
    let corner = |(bytes, ratio): &(u64, Summary)| {
        format!("{},{}", at(scale.x(*bytes)), at(scale.y(ratio.median)))
    };
    let corners: Vec<String> = line.points.iter().map(corner).collect();
    html! {
        polyline.{ "line " (line.class) } points=(corners.join(" ")) {}
        @for (bytes, ratio) in &line.points {
            @let x = at(scale.x(*bytes));
            line.whisker x1=(x) y1=(at(scale.y(ratio.min))) x2=(x) y2=(at(scale.y(ratio.max))) {}
            circle.{ "point " (line.class) } cx=(x) cy=(at(scale.y(ratio.median))) r="4" {}
        }
    }
}

/// The names at the ends of the lines, moved apart where they would lie on each other.
fn names(lines: &[Line], scale: &Scale) -> Markup {
    let end = |line: &Line| {
        let last = line.points.last();
        last.map_or(scale.y(1.0), |(_, ratio)| scale.y(ratio.median))
    };
    let mut names = vec![("read-write", "classic-name", scale.y(1.0))];
    names.extend(lines.iter().map(|line| (line.name, line.class, end(line))));
    names.sort_by(|one, other| one.2.total_cmp(&other.2));
    let mut above = f64::NEG_INFINITY;
    for name in &mut names {
        name.2 = name.2.max(above + LINE_HEIGHT);
        above = name.2;
    }
    html! {
        @for (name, class, y) in names {
            text.{ "tick strong name-" (class) } x=(RIGHT + 10.0) y=(at(y + 5.0)) { (name) }
        }
    }
}

fn in_words(page: &Page, lines: &[Line]) -> String {
    let of = |line: &Line| {
        let points = line.points.iter();
        let points = points.map(|(bytes, ratio)| {
            let ratio = number::three_digits(ratio.median);
            format!("{}: ×{ratio}", number::size(*bytes))
        });
        format!("{}: {}", line.name, points.collect::<Vec<_>>().join(", "))
    };
    let told: Vec<String> = lines.iter().map(of).collect();
    format!("{} {}", page.say(words::CHART), told.join("; "))
}

/// A coordinate with one decimal.
fn at(value: f64) -> String {
    format!("{value:.1}")
}
