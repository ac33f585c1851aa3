//! The configuration file: from its text to the settings.
//!
//! | file | what |
//! |---|---|
//! | `shape` | the description of tables, keys and values, as data |
//! | `keys` | the shape of our file |
//! | `arguments` | the keys that are arguments of the command line too |
//! | `tree` | the text as values that have this shape |
//! | `process`, `listeners`, `clusters`, `routes`, `fields` | from values to settings |
//! | `reading` | what these readers share |
//! | `problems` | what is wrong, and how it is shown |
//! | `schema` | the JSON Schema |
mod arguments;
mod clusters;
mod fields;
mod keys;
mod listeners;
mod problems;
mod process;
mod reading;
mod routes;
mod schema;
mod shape;
mod tree;

use std::path::Path;
use std::sync::LazyLock;

use super::cli::GivenArgument;
use super::error::ConfigError;
use super::plan::{Balancer, Site};
use arguments::Arguments;
use problems::Problem;
pub use problems::Report;
use reading::Reading;
use shape::Shape;

/// The arguments and the shape of a file. It takes some time to ask for the ranges of all numbers, so it is done once.
static KNOWN: LazyLock<(Arguments, Shape)> = LazyLock::new(|| {
    let arguments = Arguments::new();
    let shape = keys::file(&arguments);
    (arguments, shape)
});

/// What a file says.
pub(super) struct File {
    /// The settings; None when the file has an error.
    pub(super) balancer: Option<Balancer>,
    /// The errors and the warnings.
    pub(super) report: Report,
}

/// Reads the text of a file. `path` is its path, `line` what the command line says beside it, and `descriptors` the
/// number of files and sockets that the process may open.
///
/// # Errors
/// When an argument of the command line is wrong.
pub(super) fn read(
    path: &Path,
    text: &str,
    line: &[GivenArgument],
    descriptors: usize,
) -> Result<File, ConfigError> {
    let (arguments, shape) = &*KNOWN;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reading = Reading { arguments, shape, folder, descriptors, problems: Vec::new() };
    let Some(file) = tree::read(text, shape, &mut reading.problems) else {
        return Ok(File { balancer: None, report: Report::new(path, text, reading.problems) });
    };
    let process = process::read(&mut reading, &file, line)?;
    let site = Site {
        listeners: listeners::read(&mut reading, &file),
        clusters: clusters::read(&mut reading, &file),
        routes: routes::read(&mut reading, &file),
        error_pages: fields::error_pages(&mut reading, &file),
    };
    let report = Report::new(path, text, reading.problems);
    let process = process.filter(|_| report.errors() == 0);
    let balancer = process.map(|process| Balancer {
        common: process.common,
        concurrency: process.concurrency,
        admin: process.admin,
        site,
    });
    Ok(File { balancer, report })
}

/// Checks the text of a configuration file. `path` is its path; relative paths in the text start at its folder. Returns
/// the errors and warnings.
pub fn check_text(path: &Path, text: &str, descriptors: usize) -> Report {
    let refused =
        |error: ConfigError| Report::new(path, text, vec![Problem::new(0..0, error.to_string(), "")]);
    read(path, text, &[], descriptors).map_or_else(refused, |file| file.report)
}

/// Returns the JSON Schema of configuration files, in lines.
pub fn schema() -> String {
    let schema = schema::schema(&KNOWN.1);
    // A value of JSON has no text that cannot be written.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
