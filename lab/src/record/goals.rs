//! The goals of underpass in a scenario, and whether they were met.

use super::{BEFORE, Case, Record, Row, Side};
use crate::scenario::{Against, Goal};
use crate::stats::Summary;

/// One goal in one case.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) case: String,
    /// What is judged, such as "GB/s of underpass ÷ that of nginx (the best rival)".
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) measured: Option<Summary>,
    pub(crate) met: Option<bool>,
}

impl Judged {
    /// The verdict goes by the median; the spread beside it shows how certain that is.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.met {
            None => "not measured",
            Some(true) => "met",
            Some(false) => "NOT MET",
        }
    }
}

/// Every goal of the record's scenario, in every case that it is for.
pub(crate) fn judge(record: &Record) -> Vec<Judged> {
    let goals = record.scenario.goals.iter();
    let each = |goal: &Goal| {
        let cases = record.cases.iter().filter(|case| applies(goal, case));
        let mut judged: Vec<_> = cases.map(|case| judge_one(goal, case)).collect();
        if judged.is_empty() {
            judged.push(unjudged(goal));
        }
        judged
    };
    goals.flat_map(each).collect()
}

/// A metric of one row, divided by that of another.
pub(crate) struct Comparison<'a> {
    pub(crate) metric: &'a str,
    pub(crate) of: &'a Row,
    pub(crate) base: &'a Row,
}

impl Comparison<'_> {
    /// The ratios within each round.
    pub(crate) fn ratio(&self) -> Option<Summary> {
        self.of.rounds.ratio(&self.base.rounds, self.metric)
    }
}

/// The comparisons that decide a case: those of the goals, and ours with an earlier build by the
/// first metric.
pub(crate) fn comparisons<'a>(goals: &'a [Goal], case: &'a Case) -> Vec<Comparison<'a>> {
    let of_goal = |goal: &'a Goal| {
        Some(Comparison {
            metric: &goal.metric,
            of: judged_row(goal, case)?,
            base: base(goal, case).0?,
        })
    };
    let of_goals = goals.iter().filter(|goal| applies(goal, case));
    let before = case.row(BEFORE).zip(case.metrics.first());
    let before = before.and_then(|(base, metric)| {
        Some(Comparison {
            metric: &metric.name,
            of: ours(case)?,
            base,
        })
    });
    of_goals.filter_map(of_goal).chain(before).collect()
}

fn ours(case: &Case) -> Option<&Row> {
    case.rows.iter().find(|row| row.side == Side::Ours)
}

/// The row that a goal is for.
fn judged_row<'a>(goal: &Goal, case: &'a Case) -> Option<&'a Row> {
    match &goal.of {
        Some(name) => case.row(name),
        None => ours(case),
    }
}

/// The result of a goal that no case was for, so that the goal is not silently missing.
fn unjudged(goal: &Goal) -> Judged {
    Judged {
        case: goal.cases.join(", "),
        what: goal.metric.clone(),
        wanted: goal.wanted.to_string(),
        measured: None,
        met: None,
    }
}

fn applies(goal: &Goal, case: &Case) -> bool {
    let named = goal.cases.is_empty() || goal.cases.iter().any(|name| case.name.starts_with(name));
    named && case.metrics.iter().any(|metric| metric.name == goal.metric)
}

fn judge_one(goal: &Goal, case: &Case) -> Judged {
    let row = judged_row(goal, case);
    let (base, relation) = base(goal, case);
    let measured = row.and_then(|row| match &goal.against {
        None => row.rounds.summary(&goal.metric),
        Some(_) => row.rounds.ratio(&base?.rounds, &goal.metric),
    });
    let name = row.map_or("underpass", |row| &row.name);
    Judged {
        case: case.name.clone(),
        what: format!("{} of {name}{relation}", goal.metric),
        wanted: goal.wanted.to_string(),
        measured,
        met: measured.map(|all| goal.wanted.is_met(all.median)),
    }
}

fn base<'a>(goal: &Goal, case: &'a Case) -> (Option<&'a Row>, String) {
    let metric = case
        .metrics
        .iter()
        .find(|metric| metric.name == goal.metric);
    let name = |row: Option<&Row>| row.map_or("nobody", |row| &row.name).to_owned();
    match &goal.against {
        None => (None, String::new()),
        Some(Against::BestRival) => {
            let best = metric.and_then(|metric| case.best_rival(metric));
            let text = format!(" ÷ {} (the best rival)", name(best));
            (best, text)
        }
        Some(Against::Floor) => {
            let floor = case.rows.iter().find(|row| row.side == Side::Floor);
            let text = format!(" ÷ {} (the floor)", name(floor));
            (floor, text)
        }
        Some(Against::Row(row)) => (case.row(row), format!(" ÷ {row}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::FIXTURE;

    /// Ours is twice as fast as the best rival and as fast as the bare loop; another rival is void.
    fn record(goals: Value) -> Record {
        let mut record: Value = serde_json::from_str(FIXTURE).unwrap();
        record["scenario"]["goals"] = goals;
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn goals_are_judged_by_the_median_of_the_ratios_inside_a_round() {
        for (goal, measured, verdict) in [
            (
                json!({ "metric": "GB/s", "wanted": { "at-least": 5.0 } }),
                Some(5.0),
                "met",
            ),
            (
                json!({ "metric": "GB/s", "wanted": { "at-most": 4.9 } }),
                Some(5.0),
                "NOT MET",
            ),
            (
                json!({ "metric": "GB/s", "against": "the best rival", "wanted": { "at-least": 2.0 } }),
                Some(2.0),
                "met",
            ),
            (
                json!({ "metric": "GB/s", "against": "the floor", "wanted": { "at-least": 1.1 } }),
                Some(1.0),
                "NOT MET",
            ),
            (
                json!({ "metric": "GB/s", "against": "slow <&>", "wanted": { "at-least": 1.0 } }),
                Some(10.0),
                "met",
            ),
            (
                json!({ "metric": "GB/s", "of": "slow <&>", "against": "the floor", "wanted": { "at-least": 1.0 } }),
                Some(0.15625),
                "NOT MET",
            ),
            (
                json!({ "metric": "GB/s", "against": "broken", "wanted": { "at-least": 1.0 } }),
                None,
                "not measured",
            ),
            (
                json!({ "metric": "GB/s", "wanted": { "at-least": 1.0 }, "cases": ["2 GiB"] }),
                None,
                "not measured",
            ),
            (
                json!({ "metric": "requests/s", "wanted": { "at-least": 1.0 } }),
                None,
                "not measured",
            ),
        ] {
            let judged = judge(&record(json!([goal])));
            let [one] = &judged[..] else {
                panic!("{judged:?}")
            };
            assert_eq!(one.measured.map(|all| all.median), measured, "{goal}");
            assert_eq!(one.verdict(), verdict, "{goal}");
        }
    }
}
