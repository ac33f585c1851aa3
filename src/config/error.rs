//! The errors of the checks in step 2.
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The reason to refuse a configuration. The message names the argument and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number lies outside its range.
    OutOfRange {
        /// The argument with the name of its value, such as `--workers <N>`.
        argument: &'static str,
        /// The given number.
        value: u64,
        /// The accepted numbers.
        range: RangeInclusive<u64>,
    },
    /// A host name has no address.
    UnknownHost {
        /// The argument with the name of its value.
        argument: &'static str,
        /// The given host and port.
        value: String,
        /// The error of the resolver.
        reason: String,
    },
    /// The path to serve is not an existing directory.
    NotADirectory {
        /// The argument with the name of its value.
        argument: &'static str,
        /// The given path.
        value: PathBuf,
    },
    /// Two arguments exclude each other.
    Conflict {
        /// The refused argument.
        argument: &'static str,
        /// The argument that excludes the refused argument, with its value. The value may be a default.
        with: &'static str,
        /// The advice to the user.
        tip: &'static str,
    },
    /// A name is not known.
    Unknown {
        /// The argument with the name of its value.
        argument: &'static str,
        /// The given name.
        value: String,
        /// The known names: a text that begins with "expected".
        expected: String,
    },
    /// An argument that does not belong to the process stands beside a configuration file.
    BesideFile {
        /// The argument with the name of its value.
        argument: String,
    },
    /// A balancer has no backends.
    NoBackends,
}

impl ConfigError {
    /// Returns the refused argument with the name of its value.
    pub(super) fn argument(&self) -> &'static str {
        match self {
            ConfigError::OutOfRange { argument, .. }
            | ConfigError::UnknownHost { argument, .. }
            | ConfigError::NotADirectory { argument, .. }
            | ConfigError::Conflict { argument, .. }
            | ConfigError::Unknown { argument, .. } => argument,
            ConfigError::BesideFile { .. } => "--config <FILE>",
            ConfigError::NoBackends => "--backend",
        }
    }

    /// Returns advice to the user, if the message alone does not say what to do.
    pub fn tip(&self) -> Option<&'static str> {
        match self {
            ConfigError::Conflict { tip, .. } => Some(tip),
            ConfigError::BesideFile { .. } => Some("write it into the file"),
            _ => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::OutOfRange { argument, value, range } => {
                let (start, end) = (range.start(), range.end());
                let expected = format!("expected a whole number from {start} to {end}");
                write!(f, "invalid value '{value}' for '{argument}': {expected}")
            }
            ConfigError::UnknownHost { argument, value, reason } => {
                write!(f, "invalid value '{value}' for '{argument}': unknown host: {reason}")
            }
            ConfigError::NotADirectory { argument, value } => {
                let value = value.display();
                write!(f, "invalid value '{value}' for '{argument}': expected an existing directory")
            }
            ConfigError::Conflict { argument, with, .. } => {
                write!(f, "the argument '{argument}' cannot be used with '{with}'")
            }
            ConfigError::BesideFile { argument } => {
                write!(f, "the argument '{argument}' cannot be used with '--config <FILE>'")
            }
            ConfigError::Unknown { argument, value, expected } => {
                write!(f, "invalid value '{value}' for '{argument}': {expected}")
            }
            ConfigError::NoBackends => {
                write!(f, "no backends: expected '--backend <HOST:PORT>' or '--demo'")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
