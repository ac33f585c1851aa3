//! What the program says on stderr while it runs: one line a message, from the level NERACA_LOG on.
use std::io::{self, Write};
use std::panic;

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    /// A stderr that cannot be written to has nobody to be told.
    fn log(&self, record: &Record<'_>) {
        let _ =
            writeln!(io::stderr(), "neraca: {}: {}", record.level().as_str().to_lowercase(), record.args());
    }

    fn flush(&self) {}
}

/// Installs the logger; panics are logged by it too. The error is one line that says what is wrong.
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
    given.parse().map_err(|_| format!("NERACA_LOG {given:?}: takes off, error, warn, info, debug or trace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_by_name() {
        let cases =
            [("warn", Some(LevelFilter::Warn)), ("OFF", Some(LevelFilter::Off)), ("", None), ("2", None)];
        for (given, expected) in cases {
            assert_eq!(level(given).ok(), expected, "{given:?}");
        }
    }
}
