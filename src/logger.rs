//! Writes log messages to stderr, one line each. NERACA_LOG sets the level.
use std::io::{self, Write};
use std::panic;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    /// Ignores a failed write, because there is no other place to report it.
    fn log(&self, record: &Record<'_>) {
        let _ =
            writeln!(io::stderr(), "neraca: {}: {}", record.level().as_str().to_lowercase(), record.args());
    }

    fn flush(&self) {}
}

/// Installs the logger, also for panics. The error is a message for the operator.
pub(crate) fn install() -> Result<(), String> {
    let level = match std::env::var_os("NERACA_LOG") {
        None => LevelFilter::Warn,
        Some(given) => level(&given.to_string_lossy())?,
    };
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let message =
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        log::error!("panic at {place}: {message}");
    }));
    Ok(())
}

fn level(given: &str) -> Result<LevelFilter, String> {
    const EXPECTED: &str = "expected off, error, warn, info, debug or trace";
    given.parse().map_err(|_| format!("invalid value '{given}' for 'NERACA_LOG': {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_level_is_named_with_the_levels_that_exist() {
        let expected =
            "invalid value 'loud' for 'NERACA_LOG': expected off, error, warn, info, debug or trace";
        assert_eq!(level("loud"), Err(expected.to_owned()));
    }

    #[test]
    fn levels_are_read_by_name() {
        let cases =
            [("warn", Some(LevelFilter::Warn)), ("OFF", Some(LevelFilter::Off)), ("", None), ("2", None)];
        for (given, expected) in cases {
            assert_eq!(level(given).ok(), expected, "{given:?}");
        }
    }
}
