//! The keys of the file that are arguments of `neraca balance` too. An argument's declaration in `cli` gives the key its
//! type, its default and its help; the checks of the command line are the checks of the file.
use std::any::TypeId;
use std::error::Error as _;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, FromArgMatches};

use super::super::cli::{self, BalanceArguments};
use super::super::error::ConfigError;
use super::super::meant;
use super::problems::{Problem, Span};
use super::shape::{Key, Kind, Shape};
use super::tree::{Data, Entry, Table, Value, below};

/// Arguments with which each number of a balancer is taken into account. The first is needed by every balancer.
const COMPLETE: [&str; 7] = ["--demo", "--check", "/", "--admin", "[::1]:0", "--engine", "thread"];

/// The arguments of `neraca balance`.
pub(super) struct Arguments {
    command: clap::Command,
}

/// An argument that the file or the command line says.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) id: String,
    /// The name of the key in messages.
    name: String,
    /// The place of the key and of its value; None for the command line.
    place: Option<(Span, Span)>,
    /// The words for clap, each with the place of its value.
    words: Vec<(OsString, Span)>,
}

impl Arguments {
    pub(super) fn new() -> Self {
        let mut command = cli::balance();
        command.build();
        Arguments { command }
    }

    /// Returns a key for each argument of a group. The group of a struct of arguments has the name of the struct.
    pub(super) fn keys(&self, group: &str) -> Vec<Key> {
        let groups = self.command.get_groups();
        let members = groups.filter(|known| known.get_id() == group).flat_map(clap::ArgGroup::get_args);
        members.map(|id| self.key(id.as_str(), id.as_str())).collect()
    }

    /// Returns the key with this name that says the argument with this identity.
    ///
    /// # Panics
    /// When there is no such argument. The tests make every key.
    pub(super) fn key(&self, id: &str, name: &str) -> Key {
        let argument = self.command.get_arguments().find(|argument| argument.get_id() == id);
        let argument = argument.unwrap_or_else(|| panic!("no argument {id}"));
        let kind = self.kind(argument);
        let about = argument.get_help().map(|help| about(&help.to_string())).unwrap_or_default();
        let default = argument.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let default = match (&kind, default) {
            (Kind::Flag, _) => Some("false".to_owned()),
            (Kind::Number(_), default) => default,
            (_, default) => default.map(|text| format!("\"{text}\"")),
        };
        Key { name: name.to_owned(), kind, about, default, is_required: false, argument: Some(id.to_owned()) }
    }

    /// Returns an argument as messages name it: `--workers <N>`.
    pub(super) fn shown(&self, id: &str) -> String {
        let argument = self.command.get_arguments().find(|argument| argument.get_id() == id);
        argument.map_or_else(|| id.to_owned(), Arg::to_string)
    }

    fn kind(&self, argument: &Arg) -> Kind {
        let of_type = argument.get_value_parser().type_id();
        let names: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let kind = match argument.get_action() {
            ArgAction::SetTrue => return Kind::Flag,
            _ if of_type == TypeId::of::<u64>() => Kind::Number(self.range(argument.get_id().as_str())),
            _ if of_type == TypeId::of::<PathBuf>() => Kind::Path,
            _ if names.is_empty() => {
                let forms = argument.get_value_names().unwrap_or_default();
                Kind::Text(forms.iter().map(clap::builder::Str::as_str).collect::<Vec<_>>().join(" "))
            }
            _ => Kind::Choice(names),
        };
        match argument.get_action() {
            ArgAction::Append => Kind::one_or_more(kind),
            _ => kind,
        }
    }

    /// Returns the range of a number. The checks of the command line know it: they refuse the largest number by its
    /// range.
    fn range(&self, id: &str) -> RangeInclusive<u64> {
        let largest = format!("--{}={}", id.replace('_', "-"), u64::MAX);
        let complete = COMPLETE.iter().map(|&word| OsString::from(word));
        let Ok(written) = self.parse(complete.chain([largest.into()])) else { return 0..=u64::MAX };
        match meant::Balance::new(written, 1024) {
            Err(ConfigError::OutOfRange { range, .. }) => range,
            _ => 0..=u64::MAX,
        }
    }

    fn parse(&self, words: impl IntoIterator<Item = OsString>) -> Result<BalanceArguments, clap::Error> {
        let words = std::iter::once("balance".into()).chain(words);
        let matches = self.command.clone().try_get_matches_from(words)?;
        BalanceArguments::from_arg_matches(&matches)
    }

    /// Makes a check of the command line on what the file and the command line say. Each error becomes a problem at the
    /// key that caused it. Then the key is dropped and the rest is checked again, so that all errors are found.
    ///
    /// # Errors
    /// When an argument of the command line is refused.
    pub(super) fn checked<T>(
        &self,
        mut given: Vec<Given>,
        table: &Table,
        problems: &mut Vec<Problem>,
        check: impl Fn(&BalanceArguments) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.drop_wrong(&mut given, table, problems);
        loop {
            let words = given.iter().flat_map(|given| given.words.iter().map(|(word, _)| word.clone()));
            let written = match self.parse(std::iter::once("--demo".into()).chain(words)) {
                Ok(written) => written,
                Err(error) => {
                    problems.push(Problem::new(table.span.clone(), first_line(&error), ""));
                    return Ok(None);
                }
            };
            let error = match check(&written) {
                Ok(checked) => return Ok(Some(checked)),
                Err(error) => error,
            };
            let id = id_of(error.argument());
            let Some(at) = given.iter().position(|given| given.id == id) else {
                problems.push(of_error(&id, &error, table.span.clone()));
                return Ok(None);
            };
            let refused = given.remove(at);
            match &refused.place {
                Some(_) => problems.push(of_error(&refused.name, &error, refused.span_of(&error))),
                None => return Err(error),
            }
        }
    }

    /// Drops what clap refuses: values of a wrong form, and keys that need another key.
    fn drop_wrong(&self, given: &mut Vec<Given>, table: &Table, problems: &mut Vec<Problem>) {
        for given in given.iter_mut().filter(|given| given.place.is_some()) {
            given.words.retain(|(word, span)| match self.parse_alone(word) {
                Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
                    problems.push(of_value(&given.name, word, &error, span.clone()));
                    false
                }
                _ => true,
            });
        }
        given.retain(|given| !given.words.is_empty());
        let ids: Vec<String> = given.iter().map(|given| given.id.clone()).collect();
        given.retain(|given| {
            let needed = given.words.iter().find_map(|(word, _)| needed(&self.parse_alone(word).err()?));
            let Some(needed) = needed.filter(|needed| given.place.is_some() && !ids.contains(needed)) else {
                return true;
            };
            // If the needed key is there with a wrong value, or belongs to a table that requires it, its problem is known.
            let place = given.place.as_ref().map(|(key, _)| key);
            let is_of_table = table.entries.iter().any(|entry| Some(&entry.key_span) == place);
            if let (Some(place), true, false) = (place, is_of_table, table.mentions(&needed)) {
                let (title, label) =
                    (format!("`{}` needs `{needed}`", given.id), format!("expected the key `{needed}` too"));
                problems.push(Problem::new(place.clone(), title, label));
            }
            false
        });
    }

    fn parse_alone(&self, word: &OsString) -> Result<BalanceArguments, clap::Error> {
        self.parse(["--demo".into(), word.clone()])
    }
}

impl Given {
    /// Takes the arguments that a table says. A relative path starts at `folder`.
    pub(super) fn all(shape: &Shape, table: &Table, folder: &Path) -> Vec<Given> {
        let entries = table.entries.iter();
        entries
            .filter_map(|entry| {
                let key = shape.key(&entry.key)?;
                let name = below(&table.place, &key.name);
                Given::of(key.argument.as_deref()?, name, &key.kind, entry, folder)
            })
            .collect()
    }

    /// Takes the argument that one entry says; None for a switch that is off.
    fn of(id: &str, name: String, kind: &Kind, entry: &Entry, folder: &Path) -> Option<Given> {
        let option = id.replace('_', "-");
        let word = |value: &Value| {
            let text = match &value.data {
                Data::Flag(true) => return Some((format!("--{option}").into(), value.span.clone())),
                Data::Number(number) => number.to_string(),
                Data::Text(text) if matches!(kind, Kind::Path) => {
                    folder.join(text).to_string_lossy().into_owned()
                }
                Data::Text(text) => text.clone(),
                Data::Flag(false) | Data::List(_) | Data::Table(_) => return None,
            };
            Some((format!("--{option}={text}").into(), value.span.clone()))
        };
        let words: Vec<_> = match &entry.value.data {
            Data::List(values) => values.iter().filter_map(word).collect(),
            _ => word(&entry.value).into_iter().collect(),
        };
        let place = Some((entry.key_span.clone(), entry.value.span.clone()));
        (!words.is_empty()).then(|| Given { id: id.to_owned(), name, place, words })
    }

    /// Takes an argument of the command line.
    pub(super) fn on_the_line(argument: &cli::GivenArgument) -> Given {
        let name = format!("--{}", argument.id.replace('_', "-"));
        let with = |value: &OsString| {
            let mut word = OsString::from(format!("{name}="));
            word.push(value);
            (word, 0..0)
        };
        let words = match argument.values.as_slice() {
            [] => vec![(OsString::from(&name), 0..0)],
            values => values.iter().map(with).collect(),
        };
        Given { id: argument.id.clone(), name: argument.id.clone(), place: None, words }
    }

    /// Adds `others`. What they say wins over what is there.
    pub(super) fn overridden(mut all: Vec<Given>, others: Vec<Given>) -> Vec<Given> {
        all.retain(|given| others.iter().all(|other| other.id != given.id));
        all.extend(others);
        all
    }

    /// Returns the place that an error is about: the item of a list if the error names it, else the value.
    fn span_of(&self, error: &ConfigError) -> Span {
        let value = match error {
            ConfigError::UnknownHost { value, .. } | ConfigError::Unknown { value, .. } => value.as_str(),
            _ => "",
        };
        let named = self.words.iter().find(|(word, _)| {
            let word = word.to_string_lossy();
            word.split_once('=').is_some_and(|(_, text)| text == value)
        });
        let (key, whole) = self.place.clone().unwrap_or_default();
        match (named, error) {
            (Some((_, span)), _) => span.clone(),
            (None, ConfigError::Conflict { .. }) => key,
            (None, _) => whole,
        }
    }
}

/// Returns the identity of the argument that a missing argument is: clap names it as `--check <tcp|/PATH>`.
fn needed(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::Strings(names) => names.first().map(|name| id_of(name)),
        _ => None,
    }
}

/// Returns the identity of `--head-timeout-ms <MS>`.
fn id_of(argument: &str) -> String {
    let name = argument.split(' ').next().unwrap_or_default();
    name.trim_start_matches("--").replace('-', "_")
}

/// Makes the problem of a value that clap refused.
fn of_value(name: &str, word: &OsString, error: &clap::Error, span: Span) -> Problem {
    let word = word.to_string_lossy();
    let value = word.split_once('=').map_or("", |(_, value)| value);
    let expected = match error.source() {
        Some(source) => in_words_of_the_file(&source.to_string()),
        None => "expected a value".to_owned(),
    };
    Problem::new(span, format!("invalid value `{value}` for `{name}`"), expected)
}

/// Makes the problem of a check of the command line.
fn of_error(key: &str, error: &ConfigError, span: Span) -> Problem {
    let invalid = |value: &str| format!("invalid value `{value}` for `{key}`");
    let (title, label) = match error {
        ConfigError::OutOfRange { value, range, .. } => (
            invalid(&value.to_string()),
            format!("expected a whole number from {} to {}", range.start(), range.end()),
        ),
        ConfigError::UnknownHost { value, reason, .. } => (invalid(value), format!("unknown host: {reason}")),
        ConfigError::Unknown { value, expected, .. } => (invalid(value), in_words_of_the_file(expected)),
        ConfigError::Conflict { with, .. } => (
            format!("`{key}` cannot be used with {}", in_words_of_the_file(&format!("'{with}'"))),
            String::new(),
        ),
        ConfigError::NotADirectory { .. } | ConfigError::BesideFile { .. } | ConfigError::NoBackends => {
            (error.to_string(), String::new())
        }
    };
    Problem::new(span, title, label).help(error.tip().map(in_words_of_the_file))
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Rewrites the help of an argument. An argument is repeated; a key has a list.
fn about(help: &str) -> String {
    let help = in_words_of_the_file(help);
    match help.split_once("; repeat it").and_then(|(before, rest)| Some((before, rest.split_once('.')?.1))) {
        Some((before, after)) => format!("{before}.{after}"),
        None => help,
    }
}

/// Rewrites arguments into keys: `'--engine thread'` becomes `engine = "thread"`, and --sticky-key becomes `sticky_key`.
pub(super) fn in_words_of_the_file(text: &str) -> String {
    let mut words = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        let quoted = before.ends_with('\'').then(|| from.find('\'')).flatten();
        let name_end =
            from[2..].find(|c: char| !c.is_ascii_lowercase() && c != '-').map_or(from.len(), |n| n + 2);
        let key = id_of(&from[..name_end]);
        match quoted {
            Some(end) => {
                words.push_str(before.trim_end_matches('\''));
                match from[..end].split_once(' ').filter(|(_, value)| !value.starts_with('<')) {
                    Some((_, value)) => words.push_str(&format!("`{key} = \"{value}\"`")),
                    None => words.push_str(&format!("`{key}`")),
                }
                rest = &from[end + 1..];
            }
            None => {
                let tick = if before.ends_with('`') { "" } else { "`" };
                words.push_str(&format!("{before}{tick}{key}{tick}"));
                rest = &from[name_end..];
            }
        }
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_keys() {
        let arguments = Arguments::new();
        let names = |group| arguments.keys(group).into_iter().map(|key| key.name).collect::<Vec<_>>();
        assert_eq!(names("EngineArguments"), ["engine", "workers", "pool", "batch", "reactor"]);
        for group in [
            "LimitArguments",
            "ProcessLimitArguments",
            "BackendLimitArguments",
            "HealthArguments",
            "CheckArguments",
            "AdminArguments",
        ] {
            assert!(names(group).len() > 1, "{group}");
        }
    }

    #[test]
    fn a_key_has_the_type_the_default_and_the_range_of_its_argument() {
        let arguments = Arguments::new();
        for (id, expected, default) in [
            ("workers", "a whole number from 1 to 1024", None),
            ("head_timeout_ms", "a whole number from 1 to 86400000", Some("10000")),
            ("engine", "\"thread\" or \"async\"", Some("\"async\"")),
            ("policy", "a string (POLICY)", Some("\"least-requests\"")),
            ("no_ejection", "true or false", Some("false")),
            ("stats", "a string (a path)", None),
            ("trust", "a string (CIDR) or a list, each item a string (CIDR)", None),
            ("drain_delay_seconds", "a whole number from 0 to 3600", Some("0")),
        ] {
            let key = arguments.key(id, id);
            assert_eq!((key.kind.expected().as_str(), key.default.as_deref()), (expected, default), "{id}");
            assert!(!key.about.is_empty() && !key.about.contains("--"), "{id}: {}", key.about);
        }
    }

    #[test]
    fn a_message_about_arguments_becomes_a_message_about_keys() {
        for (text, expected) in [
            ("add '--engine thread'; the default", "add `engine = \"thread\"`; the default"),
            ("use '--check /PATH' now", "use `check = \"/PATH\"` now"),
            ("'--pool <POOL>' and '--batch'", "`pool` and `batch`"),
            ("the cookie of --sticky-key.", "the cookie of `sticky_key`."),
            ("smol's own", "smol's own"),
        ] {
            assert_eq!(in_words_of_the_file(text), expected);
        }
    }
}
