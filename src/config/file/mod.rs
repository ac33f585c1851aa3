//! The configuration file: from its text to the settings.
//!
//! | file | what |
//! |---|---|
//! | `shape` | the description of tables, keys and values, as data |
//! | `keys` | the shape of our file |
//! | `arguments` | the keys that are arguments of the command line too |
//! | `tree` | the text as values that have this shape |
//! | `process`, `listeners`, `tls`, `clusters`, `routes`, `deadlines`, `fields` | from values to settings |
//! | `reading` | what these readers share |
//! | `problems` | what is wrong, and how it is shown |
//! | `schema` | the JSON Schema |
mod arguments;
mod clusters;
mod deadlines;
mod fields;
mod keys;
mod listeners;
mod problems;
mod process;
mod reading;
mod routes;
mod schema;
mod shape;
mod tls;
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
    // The readers find every error with its place. The router has the last word.
    if reading.problems.is_empty()
        && let Err(error) = site.router_settings()
    {
        reading.problems.push(Problem::new(0..0, error.to_string(), ""));
    }
    let report = Report::new(path, text, reading.problems);
    let process = process.filter(|_| report.errors() == 0);
    let balancer = process.map(|process| Balancer {
        common: process.common,
        concurrency: process.concurrency,
        admin: process.admin,
        resolver: process.resolver,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::app::Deadlines;
    use crate::cluster::{Cap, Policy};
    use crate::engine::{Engine, Pool};
    use crate::files::FilesLimits;
    use crate::http::changes::FieldChanges;
    use crate::router::{Action, ErrorPage, Host};

    fn balancer(text: &str, line: &[GivenArgument]) -> Balancer {
        let file = read(Path::new("neraca.toml"), text, line, 1000).unwrap();
        file.balancer.unwrap_or_else(|| panic!("{}", file.report))
    }

    const SMALLEST: &str = "[[listeners]]\nlisten = \"127.0.0.1:8080\"\n\
                            [clusters.web]\nbackends = [\"127.0.0.1:9001\"]\n[[routes]]\ncluster = \"web\"\n";

    #[test]
    fn the_smallest_file_has_the_defaults_of_the_command_line() {
        let words = ["neraca", "balance", "--listen", "127.0.0.1:8080", "--backend", "127.0.0.1:9001"];
        let words = words.map(Into::into);
        let Ok(super::super::Config::Balance(balance)) = super::super::read(words, 1000) else { panic!() };
        let backends = ["127.0.0.1:9001".parse::<std::net::SocketAddr>().unwrap()];
        let mut expected = balance.balancer(&backends);
        expected.site.clusters[0].name = "web".to_owned();
        expected.site.routes[0].action = Action::Forward("web".to_owned());
        assert_eq!(format!("{:#?}", balancer(SMALLEST, &[])), format!("{expected:#?}"));
    }

    #[test]
    fn listeners_take_limits_from_the_file_and_have_their_own() {
        let text = "[limits]\nconnections = 7\nhead_timeout_ms = 5\nidle_timeout_ms = 6\n[[listeners]]\n\
                    listen = [\"127.0.0.1:1\", \"[::1]:1\"]\nname = \"a\"\ntrust = [\"10.0.0.0/8\", \"::1\"]\nidle_timeout_ms = 9\n";
        let balancer = balancer(&format!("{text}{SMALLEST}"), &[]);
        assert_eq!(balancer.common.engine_limits.connections, 7);
        let [first, second] = balancer.site.listeners.as_slice() else { panic!() };
        let ms = |listener: &super::super::plan::Listener| {
            let limits = &listener.settings.limits;
            (limits.head_timeout.as_millis(), limits.idle_timeout.as_millis())
        };
        assert_eq!(
            (first.name.as_deref(), first.addresses.len(), first.settings.trust.len()),
            (Some("a"), 2, 2)
        );
        assert_eq!((ms(first), ms(second)), ((5, 9), (5, 6)));
        assert_eq!((second.name.as_deref(), second.settings.trust.len()), (None, 0));
    }

    #[test]
    fn clusters_and_routes_have_everything_that_the_file_says() {
        let text = "[[listeners]]\nname = \"in\"\nlisten = \"127.0.0.1:1\"\n[clusters.api]\npolicy = \"hash:path\"\n\
                    backends = [\"127.0.0.1:1,cap=auto\", { address = \"127.0.0.1:2\", weight = 3, cap = 4 }]\n\
                    sticky = { name = \"sid\", key = \"00112233445566778899aabbccddeeff\" }\nqueue = 5\n\
                    queue_timeout_ms = 6\nno_ejection = true\ncheck = \"/up\"\ncheck_rise = 7\nbackend_idle_timeout_ms = 8\n\
                    [[routes]]\nhosts = [\"A.example\", \"*.b.example\"]\npath = \"/x/\"\nlisteners = [\"in\"]\ncluster = \"api\"\n\
                    set_request_headers = { X-A = \"1\" }\nremove_response_headers = [\"Server\"]\nresponse_timeout_ms = 9\n\
                    [[routes]]\nfiles = \"src\"\nhosts = \"f.example\"\n\
                    [[routes]]\nredirect = \"https://{host}{target}\"\nstatus = 302\n[error_pages]\n5xx = \"Cargo.toml\"\n404 = \"Cargo.toml\"\n";
        let site = balancer(text, &[]).site;
        let cluster = &site.clusters[0];
        let (plan, ms) = (&cluster.plan, |ms| Some(Duration::from_millis(ms)));
        assert_eq!(
            (cluster.name.as_str(), &cluster.plan.settings.policy),
            ("api", &"hash:path".parse::<Policy>().unwrap())
        );
        let backends: Vec<_> =
            plan.backends.iter().map(|one| (one.address.port(), one.weight, one.cap)).collect();
        assert_eq!(backends, [(1, 1, Some(Cap::Auto)), (2, 3, Some(Cap::Fixed(4)))]);
        assert_eq!(plan.settings.sticky.as_ref().map(|sticky| sticky.name.as_str()), Some("sid"));
        assert_eq!((plan.settings.waiting_max, plan.settings.health.passive), (5, false));
        assert_eq!(plan.deadlines, Deadlines { queue: ms(6), ..Deadlines::default() });
        assert_eq!(plan.settings.idle_timeout, Duration::from_millis(8));
        assert_eq!(plan.checks.as_ref().map(|checks| checks.rise), Some(7));
        let [to, files, redirect] = site.routes.as_slice() else { panic!("{:?}", site.routes) };
        assert_eq!(to.hosts, [Host::Exact("a.example".into()), Host::Below("b.example".into())]);
        assert_eq!((to.prefix.to_string().as_str(), to.listeners.as_slice()), ("/x", &["in".to_owned()][..]));
        assert_eq!(to.action, Action::Forward("api".into()));
        let set = vec![("X-A".to_owned(), "1".to_owned())];
        assert_eq!(to.request, FieldChanges::new(Vec::new(), set).unwrap());
        assert_eq!(to.response, FieldChanges::new(vec!["server".to_owned()], Vec::new()).unwrap());
        assert_eq!(to.deadlines, Deadlines { response: ms(9), ..Deadlines::default() });
        assert_eq!(files.action, Action::Files("src".into(), FilesLimits::default()));
        let location = "https://{host}{target}".parse().unwrap();
        assert_eq!(redirect.action, Action::Redirect { status: 302, location });
        let pages: Vec<_> =
            site.error_pages.iter().map(|ErrorPage { statuses, .. }| statuses.clone()).collect();
        assert_eq!(pages, [500..=599, 404..=404]);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let given = |id: &str, value: &str| GivenArgument { id: id.to_owned(), values: vec![value.into()] };
        let line = [
            given("config", "f"),
            given("engine", "thread"),
            given("pool", "textbook"),
            given("admin", "127.0.0.1:9"),
        ];
        let file = format!("engine = \"async\"\nworkers = 2\n[admin]\nlisten = \"127.0.0.1:8\"\n{SMALLEST}");
        let balancer = balancer(&file, &line);
        assert_eq!((balancer.common.engine, balancer.common.workers), (Engine::Thread(Pool::Textbook), 2));
        assert_eq!(balancer.admin.map(|admin| admin.listen.port()), Some(9));
        for (id, value, said) in [
            ("policy", "random", "the argument '--policy <POLICY>' cannot be used with '--config <FILE>'"),
            (
                "head_timeout_ms",
                "5",
                "the argument '--head-timeout-ms <MS>' cannot be used with '--config <FILE>'",
            ),
            ("workers", "0", "invalid value '0' for '--workers <N>': expected a whole number from 1 to 1024"),
        ] {
            let error = read(Path::new("f"), &file, &[given(id, value)], 1000).err().unwrap();
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn every_argument_of_a_balancer_has_a_key() {
        fn arguments_of(shape: &Shape, found: &mut Vec<String>) {
            for key in &shape.keys {
                found.extend(key.argument.clone());
                if let Some((below, _)) = key.kind.table() {
                    arguments_of(below, found);
                }
            }
        }
        let mut found = Vec::new();
        arguments_of(&KNOWN.1, &mut found);
        // The keys of these are read by code of their own, or they make no sense in a file.
        let others = ["backends", "listen", "tls_cert", "tls_key", "demo", "config", "help"];
        let command = super::super::cli::balance();
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let is_known = found.iter().any(|known| known == id) || others.contains(&id);
            assert!(is_known || id.starts_with("experiment_"), "the configuration file has no key for {id}");
        }
    }
}
