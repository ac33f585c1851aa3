//! What the readers of all tables share: the shape of the file, and the problems found so far.
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use super::super::check;
use super::super::cli::BalanceArguments;
use super::super::error::ConfigError;
use super::super::value::{HostPort, nearest};
use super::arguments::{Arguments, Given};
use super::problems::{Problem, Span};
use super::shape::Shape;
use super::tree::Table;

/// The reading of one file.
pub(super) struct Reading<'a> {
    pub(super) arguments: &'a Arguments,
    /// The shape of the whole file.
    pub(super) shape: &'a Shape,
    /// The folder of the file, where relative paths start.
    pub(super) folder: &'a Path,
    /// The number of files and sockets that the process may open.
    pub(super) descriptors: usize,
    pub(super) problems: Vec<Problem>,
}

impl Reading<'_> {
    /// Returns the arguments that a table says. `path` names the table from the top of the file.
    pub(super) fn given(&self, path: &[&str], table: &Table) -> Vec<Given> {
        let shape = self.shape_of(path);
        shape.map(|shape| Given::all(shape, table, self.folder)).unwrap_or_default()
    }

    /// True when a table has a key for this argument.
    pub(super) fn has_argument(&self, path: &[&str], id: &str) -> bool {
        let keys = self.shape_of(path).map_or(&[][..], |shape| &shape.keys);
        keys.iter().any(|key| key.argument.as_deref() == Some(id))
    }

    fn shape_of(&self, path: &[&str]) -> Option<&Shape> {
        path.iter().try_fold(self.shape, |shape, key| Some(shape.key(key)?.kind.table()?.0))
    }

    /// Makes a check of the command line on the arguments that the file says.
    pub(super) fn checked<T>(
        &mut self,
        given: Vec<Given>,
        table: &Table,
        check: impl Fn(&BalanceArguments) -> Result<T, ConfigError>,
    ) -> Option<T> {
        // Only an argument of the command line can be an error here, and there is none.
        self.arguments.checked(given, table, &mut self.problems, check).ok().flatten()
    }

    /// Notes an error.
    pub(super) fn wrong(&mut self, span: &Span, title: impl Into<String>, label: impl Into<String>) {
        self.problems.push(Problem::new(span.clone(), title, label));
    }

    /// Looks up an address; None if it is wrong.
    pub(super) fn address(&mut self, key: &str, text: &str, span: &Span) -> Option<SocketAddr> {
        let place = match HostPort::from_str(text) {
            Ok(place) => place,
            Err(expected) => {
                self.wrong(span, format!("invalid value `{text}` for `{key}`"), expected);
                return None;
            }
        };
        match check::resolve("", &place) {
            Ok(address) => Some(address),
            Err(ConfigError::UnknownHost { value, reason, .. }) => {
                self.wrong(
                    span,
                    format!("invalid value `{value}` for `{key}`"),
                    format!("unknown host: {reason}"),
                );
                None
            }
            Err(error) => {
                self.wrong(span, error.to_string(), "");
                None
            }
        }
    }

    /// Notes that a name is unknown, with the known names or the nearest of them.
    pub(super) fn unknown(&mut self, what: &str, name: &str, span: &Span, known: &[&str]) {
        let label = match (nearest(name, known.iter().copied()), known) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, []) => format!("the file has no {what} with a name"),
            (None, known) => format!("expected the name of a {what}: {}", known.join(", ")),
        };
        self.wrong(span, format!("unknown {what} `{name}`"), label);
    }
}
