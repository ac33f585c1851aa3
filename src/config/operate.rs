//! What an operator needs besides the traffic: the admin listener, and `neraca status`.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::check::{resolve, within};
use super::error::ConfigError;
use super::value::{HostPort, admin_address, number};
use crate::observe::access_log::Format;

const DRAIN_DELAY_SECONDS: std::ops::RangeInclusive<u64> = 0..=3600;

const SAMPLE: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;

/// The access log.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs and counters")]
pub(super) struct AccessLogArguments {
    /// File for one line per finished request; - means stdout. SIGUSR1 opens the file again.
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,
    /// Format of a line: JSON, or the combined log format of Apache.
    #[arg(long, value_enum, default_value_t = AccessLogFormat::Json, requires = "access_log")]
    pub(super) access_log_format: AccessLogFormat,
    /// Log one of N requests. A request that ends with a status of 5xx, or without its whole response, is always logged.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number, requires = "access_log")]
    pub(super) access_log_sample: u64,
}

/// The format's name on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum AccessLogFormat {
    Json,
    Common,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// The file; None for stdout.
    pub file: Option<PathBuf>,
    /// The format of a line.
    pub format: Format,
    /// One of so many requests is logged; at least 1.
    pub one_of: u64,
}

impl AccessLogSettings {
    pub(super) fn new(written: &AccessLogArguments) -> Result<Option<Self>, ConfigError> {
        let Some(path) = &written.access_log else { return Ok(None) };
        let one_of = within("--access-log-sample <N>", written.access_log_sample, SAMPLE)?;
        let format = match written.access_log_format {
            AccessLogFormat::Json => Format::Json,
            AccessLogFormat::Common => Format::Common,
        };
        let file = (path != Path::new("-")).then(|| path.clone());
        Ok(Some(AccessLogSettings { file, format, one_of }))
    }
}

/// The admin listener.
#[derive(Debug, Args)]
#[command(next_help_heading = "Admin")]
pub(super) struct AdminArguments {
    /// Address for /status, /status.json, /metrics, /healthz and /ready; a port alone is a port of 127.0.0.1. Use an address
    /// that only operators can reach.
    #[arg(long, value_name = "[HOST:]PORT", value_parser = admin_address)]
    pub(super) admin: Option<HostPort>,
    /// File with the token that changes need (POST /backends/HOST:PORT/drain). Without it, changes are refused.
    #[arg(long, value_name = "FILE", requires = "admin")]
    pub(super) admin_token_file: Option<PathBuf>,
    /// Time between the first signal to stop and the drain. During this time /ready answers 503, and requests are served
    /// as before. So a balancer in front can notice the stop.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = number, requires = "admin")]
    pub(super) drain_delay_seconds: u64,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address to listen on; port 0 is a free port.
    pub listen: SocketAddr,
    /// The token that changes need. Without it changes are refused.
    pub token: Option<String>,
    /// Time between the first signal to stop and the drain.
    pub drain_delay: Duration,
}

impl AdminSettings {
    pub(super) fn new(written: &AdminArguments) -> Result<Option<Self>, ConfigError> {
        let Some(place) = &written.admin else { return Ok(None) };
        let listen = resolve("--admin <[HOST:]PORT>", place)?;
        let token = written.admin_token_file.as_deref().map(token).transpose()?;
        let delay =
            within("--drain-delay-seconds <SECONDS>", written.drain_delay_seconds, DRAIN_DELAY_SECONDS)?;
        Ok(Some(AdminSettings { listen, token, drain_delay: Duration::from_secs(delay) }))
    }
}

/// Reads the token: the text of the file, without white space at its ends.
fn token(path: &Path) -> Result<String, ConfigError> {
    let unusable = |expected: String| ConfigError::Unknown {
        argument: "--admin-token-file <FILE>",
        value: path.display().to_string(),
        expected,
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(format!("cannot read it: {error}")))?;
    match text.trim() {
        "" => Err(unusable("expected a token in the file, but it is empty".to_owned())),
        token if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
        _ => Err(unusable("expected a token of visible ASCII characters in the file".to_owned())),
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Address of the admin listener (`neraca balance --admin`).
    #[arg(value_name = "[HOST:]PORT", value_parser = admin_address)]
    pub(super) address: HostPort,
    /// Show the table again every second, until Ctrl-C.
    #[arg(long)]
    pub(super) watch: bool,
}

/// Where `neraca status` asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusOf {
    /// The address of the admin listener.
    pub address: SocketAddr,
    /// True to ask again every second.
    pub watch: bool,
}

impl StatusOf {
    pub(super) fn new(written: &StatusArguments) -> Result<Self, ConfigError> {
        Ok(StatusOf { address: resolve("<[HOST:]PORT>", &written.address)?, watch: written.watch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_of_a_file() {
        let directory = std::env::temp_dir().join(format!("neraca-token-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // text of the file, token or a part of the error
        let cases = [
            ("abc-123\n", Ok("abc-123")),
            ("  x  ", Ok("x")),
            ("\n", Err("it is empty")),
            ("two words", Err("visible ASCII")),
            ("sch\u{f6}n", Err("visible ASCII")),
        ];
        for (text, expected) in cases {
            let path = directory.join("token");
            std::fs::write(&path, text).unwrap();
            match (token(&path), expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (said, _) => panic!("{text:?}: {said:?}"),
            }
        }
        let missing = token(&directory.join("missing")).unwrap_err().to_string();
        assert!(
            missing.contains("--admin-token-file <FILE>") && missing.contains("cannot read"),
            "{missing}"
        );
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
