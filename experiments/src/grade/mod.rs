//! `neraca-lab grade`: a scorecard for any HTTP/1.1 load balancer. 100 points for the rules of HTTP, for the behaviour
//! beside a bad backend, for fairness and for throughput.

mod behaviour;
mod cases;
pub(crate) mod choice;
mod conformance;
mod page;
mod score;

use std::fs;
use std::path::{Path, PathBuf};

use crate::plans::model::{Target, What};
use crate::plans::targets::{self, ASYNC};
use crate::report;
use crate::run::files::{read_json, said, write_json};
use crate::run::lab::{self, Lab, Trouble};
use choice::{Choice, keep_earlier};
use score::{Card, Cards};

/// The arguments of `neraca-lab grade`.
#[derive(Debug, clap::Args)]
pub(crate) struct Grade {
    #[command(flatten)]
    choice: Choice,
    /// The balancer whose throughput gives all points
    #[arg(long, value_name = "NAME", default_value = ASYNC)]
    reference: String,
    /// Directory for grade.json, README.md and index.html
    #[arg(long, value_name = "DIR", default_value = "experiments/results/grade")]
    out: PathBuf,
}

/// Changes a configuration that is made for throughput alone: HAProxy may send a failed request to another backend.
fn fit(mut target: Target) -> Target {
    if target.id == "haproxy" {
        let repeat = "  option redispatch 1\n  retry-on conn-failure empty-response\n  option forwardfor\n";
        target.config = target.config.map(|config| config.replace("  option forwardfor\n", repeat));
    }
    target
}

/// Grades the chosen balancers and writes the page. Returns its path.
pub(crate) fn run(arguments: &Grade) -> Result<PathBuf, Trouble> {
    let (chosen, setting) = arguments.choice.examine()?;
    let mut candidates = targets::all().into_iter().chain(chosen.iter().cloned());
    let wanted = |target: &Target| target.what == What::Balancer && target.id == arguments.reference;
    let reference = candidates.find(wanted).ok_or_else(|| {
        format!("--reference {:?}: expected thread, async or a --target", arguments.reference)
    })?;
    let mut cards = Cards { setting, reference: reference.title.clone(), cards: Vec::new() };
    lab::with(&arguments.choice.neraca, |lab| {
        for target in chosen.into_iter().map(fit) {
            println!("{}: about a minute and a half", target.title);
            let card = card(lab, &target, &reference)?;
            for item in &card.items {
                println!("  {:<22} {:>4.1} of {:>2.0}  {}", item.name, item.points, item.most, item.seen);
            }
            println!("  {:<22} {:>4.1} of 100", "total", card.total);
            cards.cards.push(card);
        }
        Ok(())
    })?;
    Ok(write(&arguments.out, cards)?)
}

fn card(lab: &Lab, target: &Target, reference: &Target) -> Result<Card, Trouble> {
    let (cases, command) = conformance::run(lab, target)?;
    let behaviour = behaviour::measure(lab, target, reference)?;
    let items = score::items(&cases, &behaviour);
    let total = items.iter().map(|item| item.points).sum::<f64>();
    Ok(Card {
        name: target.id.clone(),
        title: target.title.clone(),
        command,
        config: target.config.clone(),
        total: (total * 10.0).round() / 10.0,
        items,
        cases,
        behaviour,
    })
}

/// Writes the files. Cards of other balancers that the same machine and the same build made earlier stay.
fn write(directory: &Path, mut cards: Cards) -> Result<PathBuf, String> {
    fs::create_dir_all(directory).map_err(said(directory))?;
    let path = directory.join("grade.json");
    if let Ok(earlier) = read_json::<Cards>(&path)
        && earlier.setting.difference(&cards.setting).is_none()
        && earlier.reference == cards.reference
    {
        keep_earlier(&mut cards.cards, earlier.cards, |card| &card.name);
    }
    write_json(&path, &cards)?;
    report::write_page(directory, page::page(&cards))
}
