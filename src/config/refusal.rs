//! The reasons not to run: a wrong command line, or a wrong file.
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::file::Report;

/// The reason not to run the program.
#[derive(Debug)]
pub enum Refusal {
    /// The command line is wrong, or asks for help or the version.
    Arguments(clap::Error),
    /// The configuration file has errors.
    File(Report),
    /// The configuration file cannot be read. The text says why.
    Unreadable(String),
}

impl Refusal {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => {
                "; give the path of a file, or start without one: neraca balance --backend HOST:PORT"
            }
            io::ErrorKind::IsADirectory => "; give the path of a file in this directory",
            io::ErrorKind::PermissionDenied => "; allow the user of the process to read it",
            io::ErrorKind::InvalidData => "; expected TOML in UTF-8",
            _ => "",
        };
        Refusal::Unreadable(format!("cannot read '{}': {error}{remedy}", path.display()))
    }

    /// The exit code: 0 for help and version, 1 for a file, 2 for a wrong command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Refusal::Arguments(error) => error.exit_code() as u8,
            Refusal::File(_) | Refusal::Unreadable(_) => 1,
        }
    }

    /// Prints the reason: help and version on stdout, everything else on stderr.
    ///
    /// # Errors
    /// When the stream cannot be written.
    pub fn print(&self) -> io::Result<()> {
        match self {
            Refusal::Arguments(error) => error.print(),
            Refusal::File(report) => report.print(),
            Refusal::Unreadable(_) => writeln!(io::stderr(), "{self}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Arguments(error) => error.fmt(f),
            Refusal::File(report) => report.fmt(f),
            Refusal::Unreadable(text) => write!(f, "error: {text}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Report {
    /// Prints the problems on stderr, with colors on a terminal unless NO_COLOR is set.
    ///
    /// # Errors
    /// When stderr cannot be written.
    pub fn print(&self) -> io::Result<()> {
        let color =
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        write!(io::stderr(), "{}", self.render(color))
    }
}
