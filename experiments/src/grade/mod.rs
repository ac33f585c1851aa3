//! `neraca-lab grade`: a scorecard for any HTTP/1.1 load balancer. 100 points for the rules of HTTP, for the behaviour
//! beside a bad backend, for fairness and for throughput.

mod behaviour;
mod cases;
mod conformance;
pub(crate) mod origin;
mod page;
mod score;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::plans::given::Given;
use crate::plans::model::{Target, TargetKind, What};
use crate::plans::targets::{self, ASYNC, THREAD};
use crate::report;
use crate::run::doctor;
use crate::run::files::{read_json, said, write_json};
use crate::run::lab::{self, Lab, Stopped, Trouble};
use crate::run::manifest::{Binary, Host};
use behaviour::Subject;
pub(crate) use behaviour::cell;
use cases::Corpus;
use conformance::CaseResult;
use origin::Origins;
use score::{Behaviour, Item};

/// The programs that are graded when the user gives none.
const BUILT_IN: [&str; 4] = [THREAD, ASYNC, "haproxy", "nginx"];

/// The arguments of `neraca-lab grade`.
#[derive(Debug, clap::Args)]
pub(crate) struct Grade {
    #[command(flatten)]
    given: Given,
    /// Only these balancers [default: every --target; without --target: thread, async, haproxy and nginx]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// The balancer whose throughput gives all points
    #[arg(long, value_name = "NAME", default_value = ASYNC)]
    reference: String,
    /// Directory for grade.json, README.md and index.html
    #[arg(long, value_name = "DIR", default_value = "experiments/results/grade")]
    out: PathBuf,
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    neraca: PathBuf,
}

/// The scorecards of one run, as stored in grade.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cards {
    /// UTC.
    pub(crate) started: String,
    pub(crate) host: Host,
    pub(crate) neraca: Option<Binary>,
    pub(crate) tools: BTreeMap<String, String>,
    pub(crate) reference: String,
    pub(crate) cards: Vec<Card>,
}

impl Cards {
    /// True when the cards of both runs may stand on one page.
    fn fits(&self, other: &Cards) -> bool {
        let same = |cards: &Cards| cards.neraca.as_ref().map(|neraca| neraca.sha256.clone());
        (same(self), &self.host.fingerprint, &self.reference)
            == (same(other), &other.host.fingerprint, &other.reference)
    }
}

/// The scorecard of one balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) command: String,
    /// The configuration file with placeholders.
    pub(crate) config: Option<String>,
    pub(crate) total: f64,
    pub(crate) items: Vec<Item>,
    /// The cases of requests, then those of responses.
    pub(crate) cases: [Vec<CaseResult>; 2],
    pub(crate) behaviour: Behaviour,
}

/// Returns the chosen balancers: those of the user, or the built-in ones.
pub(crate) fn chosen(
    given: &Given,
    only: &[String],
    installed: &BTreeMap<String, String>,
) -> Result<Vec<Target>, String> {
    let user: Vec<Target> = given.targets().map_err(|error| error.to_string())?;
    let user: Vec<Target> = user.into_iter().filter(|target| target.what == What::Balancer).collect();
    let built_in = user.is_empty() || !only.is_empty();
    let mut all = targets::all();
    all.retain(|target| built_in && target.what == What::Balancer);
    all.retain(|target| target.needs.as_ref().is_none_or(|tool| installed.contains_key(tool)));
    all.extend(user);
    let known = all.iter().map(|target| target.id.clone()).collect::<Vec<_>>();
    if let Some(wrong) = only.iter().find(|name| !known.contains(name)) {
        return Err(format!("--only {wrong:?}: expected one of {}", known.join(", ")));
    }
    all.retain(|target| match only.is_empty() {
        true => target.kind == TargetKind::User || BUILT_IN.contains(&target.id.as_str()),
        false => only.contains(&target.id),
    });
    Ok(all)
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
pub(crate) fn run(arguments: &Grade, stop: &AtomicBool) -> Result<PathBuf, Stopped> {
    let corpus = Corpus::load()?;
    let diagnosis = doctor::examine(&arguments.neraca, None);
    let chosen = chosen(&arguments.given, &arguments.only, &diagnosis.tools)?;
    let reference = targets::all().into_iter().find(|target| target.id == arguments.reference);
    let reference =
        reference.or_else(|| chosen.iter().find(|target| target.id == arguments.reference).cloned());
    let reference = reference.filter(|target| target.what == What::Balancer).ok_or_else(|| {
        format!("--reference {:?}: expected thread, async or a --target", arguments.reference)
    })?;
    let mut cards = Cards {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        host: diagnosis.host,
        neraca: diagnosis.neraca,
        tools: diagnosis.tools,
        reference: reference.title.clone(),
        cards: Vec::new(),
    };
    lab::with(&arguments.neraca, stop, |lab| {
        for target in chosen.into_iter().map(fit) {
            println!("{}: about a minute and a half", target.title);
            let card = card(lab, &corpus, &target, &reference)?;
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

fn card(lab: &Lab<'_>, corpus: &Corpus, target: &Target, reference: &Target) -> Result<Card, Trouble> {
    let subject = Subject { lab, target, reference, cell: behaviour::cell() };
    let (cases, command) = {
        let origins = Origins::start(&subject.backend_ports())
            .map_err(|error| Trouble::Failed(format!("--backends: {error}")))?;
        let mut server = None;
        let cases = conformance::run(corpus, &origins, || {
            // The old process must end before the new one takes its port.
            drop(server.take());
            let started = subject.start(&origins.ports)?;
            let address = started.address()?;
            server = Some(started);
            lab.pause(std::time::Duration::ZERO)?;
            Ok(address)
        })?;
        (cases, server.map_or_else(String::new, |server| lab.shorten(&server.command)))
    };
    let behaviour = subject.measure()?;
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
    if let Some(before) = read_json::<Cards>(&path).ok().filter(|before| before.fits(&cards)) {
        let is_new = |card: &Card| cards.cards.iter().any(|new| new.name == card.name);
        let kept: Vec<Card> = before.cards.into_iter().filter(|card| !is_new(card)).collect();
        cards.cards.splice(0..0, kept);
    }
    write_json(&path, &cards)?;
    report::write_page(directory, &page::page(&cards))
}
