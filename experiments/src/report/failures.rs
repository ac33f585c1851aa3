//! The failures of the loads by class: the sentence of a table, and the plot.

use std::cmp::Reverse;
use std::fmt::Display;

use crate::judge::record::{Record, load};
use crate::judge::study::{Group, Study};
use crate::report::doc::Figure;
use crate::report::number::{grouped, load_name, short};
use crate::report::shapes::{Bar, bars};
use crate::report::words::{self, english};
use crate::run::reply::Errors;

/// The classes with the CSS classes of their bars.
pub(crate) const CLASSES: [(&str, &str); 6] = [
    ("connect", "bar s0"),
    ("read", "bar s1"),
    ("write", "bar s2"),
    ("status", "bar s3"),
    ("timeout", "bar s5"),
    ("stalled", "bar s7"),
];

/// Sums the failures of each class over the runs.
fn by_class<'a>(runs: impl IntoIterator<Item = &'a &'a Record>) -> [u64; 6] {
    let sum: Errors = runs.into_iter().filter_map(|run| load(run)).map(|load| load.failures).sum();
    [sum.connect, sum.read, sum.write, sum.status, sum.timeout, sum.stalled]
}

pub(crate) fn failed(group: &Group<'_>) -> u64 {
    by_class(&group.runs).iter().sum()
}

/// Describes the failures of all runs by class, in one sentence.
pub(crate) fn sentence(groups: &[Group<'_>]) -> String {
    let counts = by_class(groups.iter().flat_map(|group| &group.runs));
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return "Nothing failed in any run of this table.".into();
    }
    let total = grouped(total as f64);
    let counts = counts.iter().map(|count| count as &dyn Display);
    english("failures", &[&total as &dyn Display].into_iter().chain(counts).collect::<Vec<_>>())
}

/// Draws the failures; None without failures.
pub(crate) fn figure(study: &Study) -> Option<Figure> {
    let mut groups = study.groups(|_| true);
    groups.retain(|group| failed(group) > 0);
    groups.sort_by_key(|group| Reverse(failed(group)));
    let bar = |group: &Group<'_>| Bar {
        label: format!("{}, {}", study.title(&group.cell.target), load_name(group.cell)),
        values: by_class(&group.runs).map(|count| count as f64).into(),
        said: short(failed(group) as f64),
    };
    let rows: Vec<Bar> = groups.iter().take(12).map(bar).collect();
    let draw = || bars("failed, over all repetitions", &CLASSES, &rows);
    (!rows.is_empty()).then(|| words::figure(study, "failures", &[], Some(draw())))
}
