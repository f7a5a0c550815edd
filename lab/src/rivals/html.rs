//! `summary.html`: one self-contained file, for light and dark, for wide and narrow screens.

use std::fmt::Write;

use super::bars::{self, escape};
use super::markdown::{head_of, warnings};
use super::summary::{Grid, NOTES, Told, goals, grid, took};
use crate::record::{Better, Case, Record, judge};

const STYLE: &str = include_str!("summary.css");

/// The summary of everything in a folder.
pub(super) fn summary(told: &Told<'_>) -> String {
    let records = told.records;
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>underpass and its rivals, side by side</title>\n<style>\n{STYLE}</style>\n<main>\n\
         <h1>underpass and its rivals, side by side</h1>\n<pre>{}</pre>\n",
        escape(&head_of(told.machine))
    );
    for warning in warnings(told) {
        let _ = writeln!(html, "<p class=\"warning\">{}</p>", escape(&warning));
    }
    html += "<p>Bars are medians over rounds, the line across them is the lowest and the highest round. \
        <span class=\"ours\">underpass</span>, <span class=\"rival\">rivals</span> and \
        <span class=\"floor\">the floor</span>: a bare loop of the best system call, what the kernel itself costs.</p>\n";
    html += "<nav>";
    for record in records {
        let name = escape(&record.scenario.name);
        let _ = write!(html, "<a href=\"#{name}\">{name}</a> ");
    }
    html += "</nav>\n<h2>Goals</h2>\n";
    if told.notes {
        let _ = writeln!(
            html,
            "<p><a href=\"{NOTES}\">{NOTES}</a> says why some were not met.</p>"
        );
    }
    for record in records {
        let judged = judge(record);
        if !judged.is_empty() {
            let name = escape(&record.scenario.name);
            let goals = table(&goals(&judged), |_| "");
            let _ = writeln!(html, "<h3>{name}</h3>\n<div class=\"goals\">{goals}</div>");
        }
    }
    html.extend(records.iter().map(section));
    html + "</main>\n</html>\n"
}

fn section(record: &Record) -> String {
    let scenario = &record.scenario;
    let (name, what) = (escape(&scenario.name), escape(&scenario.what));
    let took = took(record);
    let mut html =
        format!("<section id=\"{name}\">\n<h2>{name}</h2>\n<p>{what} <small>{took}.</small></p>\n");
    record.cases.iter().for_each(|case| html += &of_case(case));
    let _ = writeln!(
        html,
        "<p><small>{}</small></p>\n</section>",
        escape(&scenario.note)
    );
    html
}

fn of_case(case: &Case) -> String {
    let mut html = format!("<h3>{}</h3>\n<div class=\"figures\">\n", escape(&case.name));
    let drawn = case
        .metrics
        .iter()
        .filter(|metric| metric.better != Better::Neither);
    html.extend(drawn.map(|metric| bars::of(case, metric)));
    html += "</div>\n";
    for row in &case.rows {
        if let Some(why) = row.missing() {
            let (name, why) = (escape(&row.name), escape(&why));
            let _ = writeln!(html, "<p class=\"missing\">{name}: {why}</p>");
        }
    }
    for remark in &case.remarks {
        let _ = writeln!(html, "<p class=\"remark\">{}</p>", escape(remark));
    }
    let side = |name: &str| case.row(name).map_or("", |row| bars::class(row.side));
    let table = table(&grid(case), side);
    if case
        .metrics
        .iter()
        .all(|metric| metric.better == Better::Neither)
    {
        return html + &table;
    }
    html + &format!("<details><summary>All numbers</summary>\n{table}</details>\n")
}

fn table(grid: &Grid, class: impl Fn(&str) -> &'static str) -> String {
    let mut html = String::from("<div class=\"table\"><table>\n<tr>");
    for heading in &grid.headings {
        let _ = write!(html, "<th>{}</th>", escape(heading));
    }
    html += "</tr>\n";
    for row in &grid.rows {
        let class = row.first().map_or("", |name| class(name));
        let _ = write!(html, "<tr class=\"{class}\">");
        for (at, cell) in row.iter().enumerate() {
            let last = at + 1 == row.len() && row.len() < grid.headings.len();
            let span = if last { grid.headings.len() - at } else { 1 };
            let _ = write!(
                html,
                "<td colspan=\"{span}\" class=\"{}\">{}</td>",
                verdict(cell),
                escape(cell)
            );
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

fn verdict(cell: &str) -> &'static str {
    match cell {
        "met" => "met",
        "NOT MET" => "unmet",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FIXTURE;

    #[test]
    fn a_page_draws_the_best_first_and_names_who_has_no_bar() {
        let record: Record = serde_json::from_str(FIXTURE).unwrap();
        let page = summary(&Told {
            records: &[record],
            missing: Vec::new(),
            machine: "",
            notes: false,
        });
        assert!(!page.contains(NOTES));
        let bars = |metric: &str| {
            let (_, figure) = page.split_once(&format!("<figcaption>{metric} ")).unwrap();
            let (figure, _) = figure.split_once("</figure>").unwrap();
            let bars = figure.split("aria-label=\"").skip(1);
            let label = |bar: &str| bar.split_once('"').unwrap().0.to_owned();
            bars.map(label).collect::<Vec<_>>()
        };
        let slow = "slow &lt;&amp;&gt;";
        assert_eq!(
            bars("GB/s"),
            [
                "ours: 5.00, 2.00–8.00".to_owned(),
                "bare: 5.00, 2.00–8.00".to_owned(),
                "fast: 2.50, 1.00–4.00".to_owned(),
                format!("{slow}: 0.50, 0.50–0.50"),
            ]
        );
        assert!(bars("CPU s/GB")[0].starts_with("bare: 0.150"));
        assert!(
            page.contains("<rect width=\"625.0\""),
            "5 of 8, the highest of all"
        );
        for part in [
            "<p class=\"missing\">broken: VOID: it broke (1 of 1 runs)</p>",
            "<p class=\"missing\">missing: absent: not installed: its package</p>",
            "class=\"unmet\">NOT MET<",
            "<tr class=\"ours\">",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(
            !page.contains("slow <&>") && !page.contains("http:"),
            "escaped, and by itself"
        );
    }
}
