//! The page of the scorecards: the points of all balancers, their rules, and what each balancer did.

use itertools::Itertools;

use crate::grade::cases::CaseResult;
use crate::grade::score::{Card, Cards, Item};
use crate::report::doc::{Doc, Table, plain};
use crate::report::words::{self, Lang};

/// Makes the page. The balancer with the most points stands first.
pub(crate) fn page(cards: &Cards) -> Doc {
    let mut sorted: Vec<&Card> = cards.cards.iter().collect();
    sorted.sort_by(|a, b| b.total.total_cmp(&a.total));
    let total = |card: &&Card| format!("{} **{:.1}**", plain(&card.title), card.total);
    let (mut table, mut balancers, mut doc) = (Doc::default(), Doc::default(), Doc::default());
    table.table(&points(&sorted));
    sorted.iter().for_each(|card| one(card, &mut balancers));
    doc.text(format!(
        include_str!("page.md"),
        totals = sorted.iter().map(total).join(", "),
        points = table.text.trim_end(),
        balancers = balancers.text.trim_end(),
        reference = plain(&cards.reference),
        cpu = cards.setting.host.cpu,
        cpus = cards.setting.host.cpus,
        kernel = cards.setting.host.kernel,
        started = cards.setting.started,
        versions = plain(&versions(cards)),
    ));
    doc
}

fn points(cards: &[&Card]) -> Table {
    let mut table = words::table(Lang::En, "points");
    table.head.extend(cards.iter().map(|card| plain(&card.title)));
    for (i, Item { name, most, .. }) in cards.iter().take(1).flat_map(|card| &card.items).enumerate() {
        let of =
            |card: &&Card| card.items.get(i).map_or_else(|| "–".into(), |item| format!("{:.1}", item.points));
        table.push([name.clone(), format!("{most:.0}")].into_iter().chain(cards.iter().map(of)));
    }
    let totals = cards.iter().map(|card| format!("**{:.1}**", card.total));
    table.push(["**total**".to_owned(), "100".into()].into_iter().chain(totals));
    table
}

/// The part of one balancer.
fn one(card: &Card, doc: &mut Doc) {
    doc.heading(3, &format!("{}: {:.1} points", plain(&card.title), card.total));
    let item = |Item { name, points, most, seen }: &Item| {
        [name.clone(), format!("{points:.1}"), format!("{most:.0}"), plain(seen)]
    };
    doc.table(&words::table(Lang::En, "items").with(card.items.iter().map(item)));
    let case =
        |case: &CaseResult| [plain(&case.name), case.rule.clone(), case.why.clone(), plain(&case.seen)];
    let failed = card.cases.iter().flatten().filter(|case| !case.passed).map(case);
    let table = words::table(Lang::En, "failed_cases").with(failed);
    if table.rows.is_empty() {
        doc.text("Every case passed.");
    }
    doc.table(&table);
    let config = card.config.as_ref().map(|config| format!("\n\n{}", config.trim_end())).unwrap_or_default();
    doc.folded("Command and configuration", |doc| doc.block("text", &format!("{}{config}", card.command)));
}

fn versions(cards: &Cards) -> String {
    let neraca = cards.setting.neraca.iter().map(|neraca| {
        format!("neraca {} ({})", neraca.version, neraca.commit.as_deref().unwrap_or("unknown commit"))
    });
    let tools =
        ["haproxy", "nginx", "wrk"].into_iter().filter_map(|name| cards.setting.tools.get(name).cloned());
    neraca.chain(tools).join("; ")
}
