//! The page of the scorecards: the points of all balancers, their rules, and what each balancer did.

use crate::grade::score::RULES;
use crate::grade::{Card, Cards};
use crate::report::page::{Block, Page, Table, Tone};

/// Makes the page. The balancer with the most points stands first.
pub(crate) fn page(cards: &Cards) -> Page {
    let mut sorted: Vec<&Card> = cards.cards.iter().collect();
    sorted.sort_by(|a, b| b.total.total_cmp(&a.total));
    let mut blocks = vec![
        Block::Verdict(verdict(&sorted)),
        Block::text(
            "A load balancer gets up to 100 points: 45 for the rules of HTTP/1.1, 30 for its behaviour beside a bad backend, 12 \
             for fairness among 1000 connections, and 13 for throughput.",
        ),
        Block::Table(points(&sorted)),
        Block::part("rules", "How the points are given"),
        Block::List(
            RULES.iter().map(|(name, most, rule)| format!("**{name}** ({most:.0}): {rule}")).collect(),
        ),
        Block::text(
            "A case passes if the outcome is one that RFC 9110 and RFC 9112 allow. Where the RFCs leave a choice, every choice \
             passes. The cases are in [experiments/grade/cases.json](../../grade/cases.json).",
        ),
    ];
    for card in &sorted {
        blocks.extend(of(card));
    }
    blocks.extend(limits(cards));
    Page { title: "Scorecards of HTTP/1.1 load balancers".into(), blocks }
}

fn verdict(cards: &[&Card]) -> String {
    let each: Vec<String> =
        cards.iter().map(|card| format!("{} **{:.1}**", card.title, card.total)).collect();
    format!("Points of 100: {}.", each.join(", "))
}

fn points(cards: &[&Card]) -> Table {
    let mut head = vec!["item", "most"];
    head.extend(cards.iter().map(|card| card.title.as_str()));
    let mut table = Table::new(1, &head);
    for (i, (name, most, _)) in RULES.iter().enumerate() {
        let of =
            |card: &&Card| card.items.get(i).map_or_else(|| "–".into(), |item| format!("{:.1}", item.points));
        let cells = [(*name).to_owned(), format!("{most:.0}")].into_iter().chain(cards.iter().map(of));
        table.push(Tone::Plain, cells.collect());
    }
    let totals = cards.iter().map(|card| format!("**{:.1}**", card.total));
    table.push(Tone::Plain, ["**total**".to_owned(), "100".into()].into_iter().chain(totals).collect());
    table
}

/// The part of one balancer.
fn of(card: &Card) -> Vec<Block> {
    let mut table = Table::new(1, &["item", "points", "of", "measured"]);
    table.words = 1;
    for item in &card.items {
        let cells = [
            item.name.clone(),
            format!("{:.1}", item.points),
            format!("{:.0}", item.most),
            item.seen.clone(),
        ];
        table.push(Tone::Plain, cells.into());
    }
    let mut blocks =
        vec![Block::Heading(format!("{}: {:.1} points", card.title, card.total)), Block::Table(table)];
    let failed: Vec<_> = card.cases.iter().flatten().filter(|case| !case.passed).collect();
    if failed.is_empty() {
        blocks.push(Block::text("Every case passed."));
    } else {
        let mut table = Table::new(4, &["case that did not pass", "rule", "the rule says", "seen"]);
        for case in &failed {
            table.push(
                Tone::Plain,
                vec![case.name.clone(), case.rule.clone(), case.why.clone(), case.seen.clone()],
            );
        }
        blocks.push(Block::Table(table));
    }
    let config = card.config.as_ref().map(|config| format!("\n\n{}", config.trim_end())).unwrap_or_default();
    blocks.push(Block::Folded {
        summary: "Command and configuration".into(),
        blocks: vec![Block::Code("text", format!("{}{config}", card.command))],
    });
    blocks
}

fn limits(cards: &Cards) -> Vec<Block> {
    let version = cards.neraca.as_ref().map_or_else(String::new, |neraca| {
        format!("neraca {} ({})", neraca.version, neraca.commit.as_deref().unwrap_or("unknown commit"))
    });
    let tools = ["haproxy", "nginx", "wrk"].into_iter().filter_map(|name| cards.tools.get(name).cloned());
    let versions: Vec<String> =
        std::iter::once(version).chain(tools).filter(|text| !text.is_empty()).collect();
    vec![
        Block::part("limits", "What the scorecard does not say"),
        Block::List(vec![
            "It grades a program **with the configuration that is shown**. Other settings give other points.".into(),
            "A balancer that copies bytes without reading HTTP is no HTTP intermediary, and the RFCs ask nothing of it. It gets \
             few points for cases that an HTTP intermediary must refuse."
                .into(),
            "All cases count alike, whatever harm they could do.".into(),
            "The times are short, and client, balancer and backends share one machine. The throughput of two balancers differs \
             only if the difference is large. The laboratory's full run measures such differences with intervals."
                .into(),
            format!("The reference of the throughput is {}.", cards.reference),
        ]),
        Block::text(format!(
            "Measured on {} with {} CPUs, Linux {}, at {}. Versions: {}.",
            cards.host.cpu,
            cards.host.cpus,
            cards.host.kernel,
            cards.started,
            versions.join("; ")
        )),
    ]
}
