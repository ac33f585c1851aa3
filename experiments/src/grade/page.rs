//! The page of the scorecards: the points of all balancers, their rules, and what each balancer did.

use crate::grade::score::RULES;
use crate::grade::{Card, Cards};
use crate::report::doc::{Doc, Table, plain};

/// Makes the page. The balancer with the most points stands first.
pub(crate) fn page(cards: &Cards) -> Doc {
    let mut sorted: Vec<&Card> = cards.cards.iter().collect();
    sorted.sort_by(|a, b| b.total.total_cmp(&a.total));
    let mut doc = Doc::default();
    doc.title("Scorecards of HTTP/1.1 load balancers");
    doc.text(verdict(&sorted));
    doc.text(
        "A load balancer gets up to 100 points: 45 for the rules of HTTP/1.1, 30 for its behaviour beside a bad backend, 12 \
         for fairness among 1000 connections, and 13 for throughput.",
    );
    doc.table(&points(&sorted));
    doc.part("How the points are given");
    let rule = |(name, most, rule): &(&str, f64, &str)| format!("**{name}** ({most:.0}): {rule}");
    doc.list(&RULES.iter().map(rule).collect::<Vec<_>>());
    doc.text(
        "A case passes if the outcome is one that RFC 9110 and RFC 9112 allow. Where the RFCs leave a choice, every choice \
         passes. The cases are in [experiments/grade/cases.json](../../grade/cases.json).",
    );
    doc.part("Each balancer");
    sorted.iter().for_each(|card| one(card, &mut doc));
    limits(cards, &mut doc);
    doc.finish()
}

fn verdict(cards: &[&Card]) -> String {
    let each: Vec<String> =
        cards.iter().map(|card| format!("{} **{:.1}**", plain(&card.title), card.total)).collect();
    format!("Points of 100: {}.", each.join(", "))
}

fn points(cards: &[&Card]) -> Table {
    let mut head = vec!["item".to_owned(), "most".into()];
    head.extend(cards.iter().map(|card| plain(&card.title)));
    let mut table = Table::new("Points of each balancer", 1, &head);
    for (i, (name, most, _)) in RULES.iter().enumerate() {
        let of =
            |card: &&Card| card.items.get(i).map_or_else(|| "–".into(), |item| format!("{:.1}", item.points));
        table.push([(*name).to_owned(), format!("{most:.0}")].into_iter().chain(cards.iter().map(of)));
    }
    let totals = cards.iter().map(|card| format!("**{:.1}**", card.total));
    table.push(["**total**".to_owned(), "100".into()].into_iter().chain(totals));
    table
}

/// The part of one balancer.
fn one(card: &Card, doc: &mut Doc) {
    doc.heading(&format!("{}: {:.1} points", plain(&card.title), card.total));
    let mut table = Table::new("Points of each item", 4, &["item", "points", "of", "measured"]);
    for item in &card.items {
        let (points, most) = (format!("{:.1}", item.points), format!("{:.0}", item.most));
        table.push([item.name.clone(), points, most, plain(&item.seen)]);
    }
    doc.table(&table);
    let mut table = Table::new("Cases that did not pass", 4, &["case", "rule", "the rule says", "seen"]);
    for case in card.cases.iter().flatten().filter(|case| !case.passed) {
        table.push([plain(&case.name), case.rule.clone(), case.why.clone(), plain(&case.seen)]);
    }
    if table.rows.is_empty() {
        doc.text("Every case passed.");
    }
    doc.table(&table);
    let config = card.config.as_ref().map(|config| format!("\n\n{}", config.trim_end())).unwrap_or_default();
    doc.folded("Command and configuration", |doc| doc.block("text", &format!("{}{config}", card.command)));
}

fn limits(cards: &Cards, doc: &mut Doc) {
    let version = cards.neraca.as_ref().map_or_else(String::new, |neraca| {
        format!("neraca {} ({})", neraca.version, neraca.commit.as_deref().unwrap_or("unknown commit"))
    });
    let tools = ["haproxy", "nginx", "wrk"].into_iter().filter_map(|name| cards.tools.get(name).cloned());
    let versions: Vec<String> =
        std::iter::once(version).chain(tools).filter(|text| !text.is_empty()).collect();
    doc.part("What the scorecard does not say");
    doc.list(&[
        "It grades a program **with the configuration that is shown**. Other settings give other points.",
        "A balancer that copies bytes without reading HTTP is no HTTP intermediary, and the RFCs ask nothing of it. It gets \
         few points for cases that an HTTP intermediary must refuse.",
        "All cases count alike, whatever harm they could do.",
        "The times are short, and client, balancer and backends share one machine. The throughput of two balancers differs \
         only if the difference is large. The laboratory's full run measures such differences with intervals.",
        &format!("The reference of the throughput is {}.", plain(&cards.reference)),
    ]);
    let host = &cards.host;
    doc.text(format!(
        "Measured on {} with {} CPUs, Linux {}, at {}. Versions: {}.",
        host.cpu,
        host.cpus,
        host.kernel,
        cards.started,
        plain(&versions.join("; "))
    ));
}
