//! What `--help` shows: a screen with the essential arguments, a screen for each topic, or everything. And the texts that
//! follow the lists of arguments.
//!
//! The heading of an argument is its topic. So each argument has one topic, and a new heading is a new topic.
use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::value::nearest;
use crate::simulate;

/// The commands whose arguments do not fit a screen.
const LONG: [&str; 2] = ["balance", "serve"];
/// The topic that has all arguments.
const ALL: &str = "all";
/// The arguments that `--help` without a topic shows.
const ESSENTIAL: [&str; 12] = [
    "backends",
    "demo",
    "config",
    "root",
    "listen",
    "policy",
    "check",
    "admin",
    "access_log",
    "engine",
    "workers",
    "trust",
];

/// An example for each topic that is easier to see than to read.
const TOPIC_EXAMPLES: [(&str, &str); 8] = [
    (
        "backends",
        "neraca balance --backend 10.0.0.1:80,weight=2 --backend 10.0.0.2:80,cap=100 --policy two-choices",
    ),
    (
        "clients",
        "neraca balance --listen 0.0.0.0:80 --listen [::]:80 --trust 10.0.0.0/8 --backend localhost:9001",
    ),
    (
        "checks",
        "neraca balance --backend 10.0.0.1:80 --check /health --check-interval-ms 500 --check-contains ok",
    ),
    (
        "health",
        "neraca balance --backend 10.0.0.1:80 --backend 10.0.0.2:80 --ejection-ms 5000 --retry-answers",
    ),
    ("timeouts", "neraca balance --backend 10.0.0.1:80 --connect-timeout-ms 500 --response-timeout-ms 10000"),
    ("limits", "neraca balance --backend 10.0.0.1:80,cap=50 --connections 10000 --queue 200"),
    ("admin", "neraca balance --backend 10.0.0.1:80 --admin 127.0.0.1:9000 --drain-delay-seconds 5"),
    ("logs", "neraca balance --backend 10.0.0.1:80 --access-log access.log --access-log-sample 100"),
];

/// Returns the command line with the arguments that `words` ask help for; all others are hidden. When the words ask for no
/// help, or for that of a command whose arguments fit a screen, returns `line` as it is.
///
/// # Errors
/// When there is no such topic.
pub(super) fn asked(line: Command, words: &[OsString]) -> Result<Command, clap::Error> {
    let mut words = words.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    let Some(name) = words.next().filter(|name| LONG.contains(name)) else { return Ok(line) };
    let mut words =
        words.take_while(|word| *word != "--").skip_while(|word| !["-h", "--help"].contains(word));
    if words.next().is_none() {
        return Ok(line);
    }
    match words.next().filter(|word| !word.starts_with('-')) {
        None => Ok(line.mut_subcommand(name, essential)),
        Some(ALL) => Ok(line),
        Some(topic) => {
            let topics = line.find_subcommand(name).map(topics).unwrap_or_default();
            match topics.contains(topic) {
                true => Ok(line.mut_subcommand(name, |command| about(command, topic))),
                false => Err(unknown(line, name, topic, &topics)),
            }
        }
    }
}

/// Returns the topic of an argument: the first word of its heading. None for `--help`.
fn topic(argument: &Arg) -> Option<String> {
    Some(argument.get_help_heading()?.split(' ').next()?.to_lowercase())
}

/// Returns the topics of a command.
fn topics(command: &Command) -> BTreeSet<String> {
    command.get_arguments().filter_map(topic).collect()
}

fn list(topics: &BTreeSet<String>) -> String {
    let topics: Vec<&str> = topics.iter().map(String::as_str).chain([ALL]).collect();
    topics.join(", ")
}

fn unknown(mut line: Command, name: &str, topic: &str, topics: &BTreeSet<String>) -> clap::Error {
    let tip = nearest(topic, topics.iter().map(String::as_str));
    let tip = tip.map(|near| format!("\n\n  tip: a similar topic exists: '{near}'")).unwrap_or_default();
    let message = format!("unknown topic '{topic}' for '--help': expected one of {}{tip}", list(topics));
    line.build();
    match line.find_subcommand_mut(name) {
        Some(command) => command.error(ErrorKind::InvalidValue, message),
        None => line.error(ErrorKind::InvalidValue, message),
    }
}

/// Shows the essential arguments, each with its first sentence.
fn essential(command: Command) -> Command {
    let more = format!(
        "neraca {} --help TOPIC shows more. Topics: {}.",
        command.get_name(),
        list(&topics(&command))
    );
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let show = |argument: Arg| match ESSENTIAL.contains(&argument.get_id().as_str()) {
        true => brief(argument).help_heading(None),
        false => argument.hide(true),
    };
    command.mut_args(show).after_help(format!("{more}\n\n{examples}"))
}

/// Shortens the help of an argument to its first sentence and its default, and the value of `--backend` to the part that must
/// be given.
fn brief(argument: Arg) -> Arg {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let (text, default) = help.split_at(help.find(" [default").unwrap_or(help.len()));
    let first = text.split(". ").next().unwrap_or_default();
    let argument = argument.help(format!("{first}{default}"));
    match argument.get_id() == "backends" {
        true => argument.value_name("HOST:PORT"),
        false => argument,
    }
}

/// Shows the arguments of one topic.
fn about(command: Command, wanted: &str) -> Command {
    let name = format!("neraca {} ", command.get_name());
    let examples = TOPIC_EXAMPLES.iter().filter(|(of, text)| *of == wanted && text.starts_with(&name));
    let examples: String = examples.map(|(_, text)| format!("Example:\n  {text}")).collect();
    let hide = |argument: Arg| {
        let is_shown = topic(&argument).as_deref() == Some(wanted);
        argument.hide(!is_shown)
    };
    command.mut_args(hide).after_help(examples)
}

/// Shown after the help of the program.
pub(super) const EXAMPLES: &str = "\
Examples:
  neraca balance --demo
  neraca balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080
  neraca serve --listen 127.0.0.1:9001 --root /srv/www

Log messages go to stderr. NERACA_LOG sets their level: off, error, warn (default), info, debug or trace.
Exit codes: 0 after SIGTERM or SIGINT, 1 if the program cannot run, 2 if an argument is wrong.";

/// Shown after the help of `neraca balance`.
pub(super) const BALANCE_EXAMPLES: &str = "\
Examples:
  neraca balance --demo
  neraca balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080,weight=2
  neraca balance --backend 10.0.0.1:8080 --check /health --admin 127.0.0.1:9000
  neraca balance --listen 0.0.0.0:443 --tls-cert site.pem --tls-key site.key --backend 10.0.0.1:8080
  neraca balance --config neraca.toml

The first SIGTERM or SIGINT lets running requests end, the second one ends the program at once.";

/// Shown after the help of `neraca check`.
pub(super) const CHECK_HELP: &str = "\
Every error is shown with FILE:LINE:COLUMN and what was expected. neraca balance --config says the same about a file.

Exit codes: 0 if the file is good, 1 if it is not, 2 if an argument is wrong.";

/// Shown after the help of `neraca serve`.
pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  neraca serve --root /srv/www
  neraca serve --listen 0.0.0.0:443 --root /srv/www --tls-cert site.pem --tls-key site.key
  neraca serve --engine thread --listen 127.0.0.1:9001 --listen 127.0.0.1:9002 --root /srv/www

The first SIGTERM or SIGINT lets running requests end, the second one ends the program at once.";

/// Returns the list of scenarios, for the help.
pub(super) fn simulate_help() -> String {
    let mut help = String::from("Scenarios (ten backends):\n");
    for (name, about) in simulate::scenarios() {
        help.push_str(&format!("  {name:<16} {about}\n"));
    }
    help.push_str(
        "\nThe balancer's own code decides; only backends, network and arrivals are simulated. The same arguments print \
         the\nsame bytes. Exit codes: 0, 1 if a promise of the scenario is broken, 2 if an argument is wrong.",
    );
    help
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use super::super::cli;
    use super::*;

    /// Columns of the screen.
    const COLUMNS: usize = 100;
    /// Lines of the screen.
    const LINES: usize = 40;

    fn words(line: &str) -> Vec<OsString> {
        once("neraca").chain(line.split_whitespace()).map(OsString::from).collect()
    }

    /// What the command line prints on a screen.
    fn screen(line: &str) -> String {
        let words = words(line);
        let shown = asked(cli::command().term_width(COLUMNS), &words).unwrap();
        let error = shown.try_get_matches_from(words).expect_err(line);
        assert_eq!(error.exit_code(), 0, "{line}: {error}");
        error.to_string()
    }

    /// Returns the arguments that a screen lists.
    fn arguments(screen: &str) -> Vec<&str> {
        let lines = screen.lines().map(str::trim_start).filter(|line| line.starts_with("--"));
        lines.filter_map(|line| line.split(' ').next()).collect()
    }

    #[test]
    fn each_help_fits_a_screen() {
        let mut lines = vec![String::from("--help")];
        for command in cli::command().get_subcommands() {
            let name = command.get_name();
            lines.push(format!("{name} --help"));
            if LONG.contains(&name) {
                lines.push(format!("{name} -h"));
                lines.extend(topics(command).iter().map(|topic| format!("{name} --help {topic}")));
            }
        }
        assert!(lines.len() > 20, "{lines:?}");
        for line in lines {
            let screen = screen(&line);
            let columns = screen.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(columns <= COLUMNS && screen.lines().count() <= LINES, "{line}:\n{screen}");
        }
    }

    #[test]
    fn each_argument_is_in_one_topic() {
        for name in LONG {
            let line = cli::command();
            let command = line.find_subcommand(name).unwrap();
            let mut shown = Vec::new();
            for topic in topics(command) {
                let screen = screen(&format!("{name} --help {topic}"));
                shown.extend(arguments(&screen).into_iter().map(str::to_owned));
            }
            let mut all: Vec<_> =
                command.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}")).collect();
            shown.sort();
            all.sort();
            assert_eq!(shown, all, "{name}: an argument without a help heading has no topic");
        }
    }

    #[test]
    fn help_without_a_topic_shows_what_is_needed_first() {
        let balance = screen("balance --engine thread --help --listen");
        for part in
            ["--backend <HOST:PORT>", "--listen", "--config", "--admin", "Topics: admin, ", "--demo\n"]
        {
            assert!(balance.contains(part), "{part}: {balance}");
        }
        assert!(!balance.contains("--head-bytes"), "{balance}");
        assert!(screen("balance --help all").contains("--head-bytes"));
        for id in ESSENTIAL {
            let line = cli::command();
            let known = |name: &&str| {
                line.find_subcommand(name).unwrap().get_arguments().any(|argument| argument.get_id() == id)
            };
            assert!(LONG.iter().any(known), "{id}");
        }
    }

    #[test]
    fn an_unknown_topic_is_an_error() {
        let error = cli::parse(words("balance --help helth")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("unknown topic 'helth'") && text.contains("exists: 'health'"), "{text}");
        assert!(text.contains("expected one of admin, "), "{text}");
    }

    #[test]
    fn each_example_is_right() {
        let texts = [EXAMPLES, BALANCE_EXAMPLES, SERVE_EXAMPLES];
        let examples = texts.iter().flat_map(|text| text.lines()).map(str::trim);
        let examples: Vec<_> = examples.filter(|line| line.starts_with("neraca ")).collect();
        assert!(examples.len() >= 10, "{examples:?}");
        for line in examples.into_iter().chain(TOPIC_EXAMPLES.map(|(_, line)| line)) {
            let said = cli::parse(line.split_whitespace().map(OsString::from));
            assert!(said.is_ok() && line.len() + 2 <= COLUMNS, "{line}: {said:?}");
        }
        for (topic, _) in TOPIC_EXAMPLES {
            assert!(screen(&format!("balance --help {topic}")).contains("Example:"), "{topic}");
        }
    }
}
