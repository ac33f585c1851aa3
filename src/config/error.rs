//! Everything that can be wrong with a configuration whose form is right.
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Why a configuration is refused. The message names the argument and says what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number lies outside its range.
    OutOfRange {
        /// The argument with the name of its value, such as `--workers <N>`.
        argument: &'static str,
        /// The number that was given.
        value: u64,
        /// The numbers that are accepted.
        range: RangeInclusive<u64>,
    },
    /// A host name has no address.
    UnknownHost {
        /// The argument with the name of its value.
        argument: &'static str,
        /// The host and the port that were given.
        value: String,
        /// What the resolver answered.
        reason: String,
    },
    /// The directory to serve does not exist, or is no directory.
    NotADirectory {
        /// The argument with the name of its value.
        argument: &'static str,
        /// The path that was given.
        value: PathBuf,
    },
    /// Two arguments exclude each other.
    Conflict {
        /// The argument that is refused.
        argument: &'static str,
        /// The argument that excludes it, with its value. It may be a default.
        with: &'static str,
        /// What to do.
        tip: &'static str,
    },
    /// A balancer has no backends.
    NoBackends,
}

impl ConfigError {
    /// What to do about the error, where the message alone does not say it.
    pub fn tip(&self) -> Option<&'static str> {
        match self {
            ConfigError::Conflict { tip, .. } => Some(tip),
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
            ConfigError::NoBackends => {
                write!(f, "no backends: expected '--backend <HOST:PORT>' or '--demo'")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
