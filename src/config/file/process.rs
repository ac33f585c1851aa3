//! The settings of the process: the engine, its limits, the admin listener. The command line may say them too, and wins.
use std::net::SocketAddr;

use super::super::cli::GivenArgument;
use super::super::error::ConfigError;
use super::super::meant::{self, Common};
use super::super::operate::AdminSettings;
use super::arguments::Given;
use super::reading::Reading;
use super::tree::Table;
use crate::engine::ConcurrencyLimit;

/// The settings of the process.
pub(super) struct Process {
    /// The addresses are not those of the file.
    pub(super) common: Common,
    pub(super) concurrency: ConcurrencyLimit,
    pub(super) admin: Option<AdminSettings>,
    pub(super) resolver: Option<SocketAddr>,
}

/// The tables whose keys are settings of the process. The top of the file is one of them.
const TABLES: [&[&str]; 4] = [&[], &["limits"], &["admin"], &["access_log"]];

/// Reads the settings of the process.
///
/// # Errors
/// When an argument of the command line is wrong, or does not belong to the process.
pub(super) fn read(
    reading: &mut Reading<'_>,
    file: &Table,
    line: &[GivenArgument],
) -> Result<Option<Process>, ConfigError> {
    let mut given = Vec::new();
    for path in TABLES {
        let table = path.iter().try_fold(file, |table, key| table.table(key));
        given.extend(table.map(|table| reading.given(path, table)).unwrap_or_default());
    }
    let line = line.iter().filter(|argument| argument.id != "config");
    let line: Vec<Given> = line.map(Given::on_the_line).collect();
    let listeners = reading.arguments.keys(super::keys::OF_LISTENERS);
    let belongs = |id: &str| {
        let in_a_table = TABLES.iter().any(|path| reading.has_argument(path, id));
        let of_listeners = listeners.iter().any(|key| key.name == id);
        (in_a_table && !of_listeners) || id.starts_with("experiment_")
    };
    if let Some(foreign) = line.iter().find(|given| !belongs(&given.id)) {
        return Err(ConfigError::BesideFile { argument: reading.arguments.shown(&foreign.id) });
    }
    let given = Given::overridden(given, line);
    let descriptors = reading.descriptors;
    reading.arguments.checked(given, file, &mut reading.problems, |written| {
        let common = Common::new(&written.common, Some(&written.backend_limits), descriptors)?;
        // The file gives the addresses.
        let common = Common { listen_is_given: true, ..common };
        let concurrency = meant::concurrency(written.max_in_flight_per_core, common.engine)?;
        let (admin, resolver) = (AdminSettings::new(&written.admin)?, written.resolver);
        Ok(Process { common, concurrency, admin, resolver })
    })
}
