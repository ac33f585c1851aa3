//! The program: its commands and exit codes. [`neraca::config`] reads the arguments, `process` runs an engine.
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use neraca::app::App;
use neraca::cluster::BackendSettings;
use neraca::config::{self, Backends, Balance, Balancer, Common, Config, Refusal, Serve, Simulate};
use neraca::engine::{Checker, Discovery, Listeners, Options};
use neraca::router::Router;
use neraca::simulate::UnknownScenario;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::access_log::{AccessLog, Logged};
use crate::demo::Demo;
use crate::experiments::{Experiment, Switches};
use crate::faults::FaultFile;
use crate::process::{
    FirstLook, ReadAgain, Reloading, RunningBalancer, RunningFileServer, Service, Sockets, greeting, say,
};

mod access_log;
mod admin_listener;
mod demo;
mod experiments;
mod faults;
mod logger;
mod process;
mod status;

/// Time between two refreshes of the file server. So a changed file is served within a second.
const REFRESH: Duration = Duration::from_millis(500);

/// An error that ends the program.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Makes the error for a program that cannot run: exit code 1.
    fn cannot_run(message: String) -> Self {
        Failure { code: 1, message }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::from(code)
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    logger::install().map_err(|message| Failure { code: 2, message })?;
    let descriptors = raise_descriptor_limit();
    match config::read(std::env::args_os(), descriptors) {
        Ok(Config::Balance(config)) => balance(config, descriptors),
        Ok(Config::File(balancer, warnings)) => {
            let _ = warnings.print();
            let path = warnings.path().to_owned();
            run_balancer(balancer, Some((Some(path), read_again(descriptors))), |_| ())
        }
        Ok(Config::Check(path)) => check(path.as_deref(), descriptors),
        Ok(Config::Serve(config)) => serve(config, descriptors),
        Ok(Config::Status(of)) => status::show(of).map_err(Failure::cannot_run),
        Ok(Config::Simulate(config)) => simulate(&config),
        Ok(Config::Completions(shell)) => print(&config::completions(shell)).map(|()| ExitCode::SUCCESS),
        Ok(Config::Man(directory)) => {
            let cannot =
                |error| format!("cannot write the manual pages to '{}': {error}", directory.display());
            config::manual(&directory).map_err(|error| Failure::cannot_run(cannot(error)))?;
            Ok(ExitCode::SUCCESS)
        }
        // Help and version are refusals too, with exit code 0.
        Err(refusal) => Ok(refused(&refusal)),
    }
}

/// Runs a balancer that the command line describes. With certificates, it follows their files.
fn balance(config: Balance, descriptors: usize) -> Result<ExitCode, Failure> {
    let has_tls = config.tls.is_some();
    let has_files = has_tls || config.backend_tls.is_some();
    let follow = |backends: &[BackendSettings]| {
        has_files.then(|| (None, read_certificates_again(descriptors, backends.to_vec())))
    };
    if let Backends::At(backends) = &config.backends {
        let backends = backends.clone();
        return run_balancer(config.balancer(&backends), follow(&backends), |_| ());
    }
    let options = config.common.options();
    let demo = Demo::start(&options)
        .map_err(|error| Failure::cannot_run(format!("cannot start the backends of the demo: {error}")))?;
    let backends = demo.addresses();
    let settings: Vec<BackendSettings> = backends.iter().map(|&backend| backend.into()).collect();
    run_balancer(config.balancer(&backends), follow(&settings), |address| {
        let scheme = if has_tls { "-k https" } else { "http" };
        say(&format!("try curl -i {scheme}://{address}/"));
    })
}

/// Reads the command line and its configuration file as at the start.
fn read_again(descriptors: usize) -> ReadAgain<Balancer> {
    Box::new(move || match config::read(std::env::args_os(), descriptors) {
        Ok(Config::File(balancer, warnings)) => {
            let _ = warnings.print();
            Ok(balancer)
        }
        Ok(_) => Err("the command line names no configuration file".to_owned()),
        Err(refusal) => Err(refusal.to_string()),
    })
}

/// Reads the command line and its certificates as at the start. The backends of a demo stay.
fn read_certificates_again(descriptors: usize, demo: Vec<BackendSettings>) -> ReadAgain<Balancer> {
    Box::new(move || match config::read(std::env::args_os(), descriptors) {
        Ok(Config::Balance(balance)) => match balance.backends.clone() {
            Backends::At(backends) => Ok(balance.balancer(&backends)),
            Backends::Demo => Ok(balance.balancer(&demo)),
        },
        Ok(_) => Err("the command line has no balancer".to_owned()),
        Err(refusal) => Err(first_paragraph(&refusal)),
    })
}

/// Reads the command line of a file server and its certificates as at the start.
fn read_file_server_again(descriptors: usize) -> ReadAgain<Serve> {
    Box::new(move || match config::read(std::env::args_os(), descriptors) {
        Ok(Config::Serve(serve)) => Ok(serve),
        Ok(_) => Err("the command line has no file server".to_owned()),
        Err(refusal) => Err(first_paragraph(&refusal)),
    })
}

/// Returns what is wrong with a command line, without the usage that follows.
fn first_paragraph(refusal: &Refusal) -> String {
    refusal.to_string().split("\n\n").next().unwrap_or_default().to_owned()
}

/// Runs a balancer. With a way to read its configuration again, it follows the files: the configuration file, if there is one,
/// and the certificates. Calls `started` with its first address.
fn run_balancer(
    balancer: Balancer,
    again: Option<(Option<PathBuf>, ReadAgain<Balancer>)>,
    started: impl FnOnce(SocketAddr),
) -> Result<ExitCode, Failure> {
    let router = balancer.router().map_err(|error| Failure::cannot_run(error.to_string()))?;
    let of_admin = balancer.admin.as_ref().map(|admin| admin.listen);
    let (addresses, settings): (Vec<_>, Vec<_>) = balancer.site.addresses().into_iter().unzip();
    let Sockets { listeners, admin, predecessor } =
        Sockets::open(&addresses, balancer.common.listen_is_given, of_admin).map_err(Failure::cannot_run)?;
    let admin = balancer.admin.as_ref().zip(admin).map(admin_listener::Bound::new);
    let options = balancer.options();
    let app = Arc::new(router);
    let switches = Switches { access_log: balancer.common.access_log, ..Switches::default() };
    let mut discovery = Discovery::new(Arc::clone(&app), balancer.resolver);
    let cannot = |error| Failure::cannot_run(format!("cannot look up the backends: {error}"));
    discovery.learn(&balancer.names()).map_err(cannot)?;
    let checks = balancer.has_checks().then(|| Checker::start(Arc::clone(&app))).transpose();
    let _checks = checks.map_err(|error| Failure::cannot_run(format!("cannot start the checks: {error}")))?;
    let engine = admin_listener::name(options.engine);
    let listeners = listeners.with_settings(settings);
    let service = start(Arc::clone(&app), (switches, None), listeners, options, &balancer.common)?;
    refresh(&app);
    let mut first_look = FirstLook::default();
    first_look.begin(&app);
    // An access log on stdout has begun already, and nothing may stand between its lines.
    let greets = balancer.common.log.as_ref().is_none_or(|log| log.file.is_some());
    let path = again.as_ref().and_then(|(path, _)| path.clone());
    let clusters = app.clusters();
    let (service, _discovery) = match again {
        Some((path, read)) => {
            let follower =
                RunningBalancer::new((path, read), (Arc::clone(&app), first_look), balancer, discovery);
            (service.with_reload(Reloading::new(follower)), None)
        }
        None => (service, Some(discovery)),
    };
    let service = match admin {
        Some(bound) => service.with_admin(bound, app, engine).map_err(Failure::cannot_run)?,
        None => service,
    };
    if greets {
        say(&greeting(&clusters, path.as_deref(), service.admin_address()));
    }
    started(service.addresses()[0]);
    Ok(service.supervise(predecessor))
}

/// Keeps the files of the routes up to date.
fn refresh(router: &Arc<Router>) {
    let router = Arc::clone(router);
    thread::spawn(move || {
        loop {
            thread::sleep(REFRESH);
            router.refresh_files();
        }
    });
}

/// Checks a configuration file, or prints the schema of such files.
fn check(path: Option<&Path>, descriptors: usize) -> Result<ExitCode, Failure> {
    let Some(path) = path else {
        print(&config::schema())?;
        return Ok(ExitCode::SUCCESS);
    };
    let report = match config::check(path, descriptors) {
        Ok(report) => report,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let _ = report.print();
    if report.errors() > 0 {
        return Ok(ExitCode::FAILURE);
    }
    say(&format!("{} is good", path.display()));
    Ok(ExitCode::SUCCESS)
}

fn refused(refusal: &Refusal) -> ExitCode {
    let _ = refusal.print();
    ExitCode::from(refusal.exit_code())
}

/// Prints the table of a simulation, or the picks of one run. A broken promise is told on stderr.
fn simulate(config: &Simulate) -> Result<ExitCode, Failure> {
    let simulation = &config.simulation;
    let unknown = |error: UnknownScenario| Failure::cannot_run(error.to_string());
    if let Some(seed) = config.replay {
        print(&simulation.replay(seed).map_err(unknown)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Without a terminal on stderr the bar prints nothing.
    let bar = ProgressBar::new(simulation.runs().map_err(unknown)?);
    let report = simulation.run(|| bar.inc(1)).map_err(unknown)?;
    bar.finish_and_clear();
    print(&report.to_string())?;
    if let Some(path) = &config.svg {
        let cannot = |error| Failure::cannot_run(format!("cannot write to '{}': {error}", path.display()));
        std::fs::write(path, report.svg()).map_err(cannot)?;
    }
    let broken = report.broken_promises();
    for promise in &broken {
        let _ = writeln!(io::stderr(), "broken promise: {promise}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a text that is the result of the program.
fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::cannot_run(format!("cannot write to stdout: {error}")))
}

/// Runs a file server. With certificates, it follows their files.
fn serve(config: Serve, descriptors: usize) -> Result<ExitCode, Failure> {
    let files = config.files().map_err(|error| Failure::cannot_run(error.to_string()))?;
    let files = Arc::new(files);
    let Sockets { listeners, predecessor, .. } =
        Sockets::open(&config.common.listen, config.common.listen_is_given, None)
            .map_err(Failure::cannot_run)?;
    let root = |wanted: bool| wanted.then(|| config.root.clone());
    let switches = Switches {
        access_log: config.common.access_log,
        list_directory: root(config.list_directory),
        read_file: root(config.read_file),
        delay: config.delay,
    };
    let options = config.options();
    let faults = config.faults.clone().map(FaultFile::open);
    let service = start(Arc::clone(&files), (switches, faults), listeners, options, &config.common)?;
    thread::spawn(move || {
        loop {
            thread::sleep(REFRESH);
            files.refresh();
        }
    });
    let service = match config.tls.is_some() {
        true => {
            let follower = RunningFileServer::new(read_file_server_again(descriptors), config);
            service.with_reload(Reloading::new(follower))
        }
        false => service,
    };
    Ok(service.supervise(predecessor))
}

/// Starts the engine. If a switch is on or there are faults, wraps the app in an [`Experiment`]. With an access log, wraps it
/// in a [`Logged`] too.
fn start<A: App>(
    app: Arc<A>,
    (switches, faults): (Switches, Option<FaultFile>),
    listeners: Listeners,
    options: Options,
    common: &Common,
) -> Result<Service, Failure> {
    let stats = common.stats.as_deref();
    note_few_descriptors(common.engine_limits.connections);
    if let Some(settings) = &common.log {
        let log = Arc::new(AccessLog::start(settings).map_err(Failure::cannot_run)?);
        let app = Logged::new(Arc::new(Experiment::new(app, switches, faults)), Arc::clone(&log));
        let service = Service::start(Arc::new(app), listeners, options, stats);
        return Ok(service.map_err(Failure::cannot_run)?.with_log(log));
    }
    let service = match switches.are_off() && faults.is_none() {
        true => Service::start(app, listeners, options, stats),
        false => {
            let app = Experiment::new(app, switches, faults);
            Service::start(Arc::new(app), listeners, options, stats)
        }
    };
    service.map_err(Failure::cannot_run)
}

/// Warns when the process may open too few files for so many clients, or for a usual load.
fn note_few_descriptors(connections: usize) {
    const USUAL: u64 = 1024;
    const MORE: &str =
        "'ulimit -n 65536' before the start, or LimitNOFILE= in the unit of systemd, allows more";
    let Some(descriptors) = getrlimit(Resource::Nofile).current else { return };
    if connections as u64 > descriptors {
        log::warn!("--connections {connections}, but the process may open only {descriptors} files; {MORE}");
    } else if descriptors < USUAL {
        log::warn!(
            "the process may open only {descriptors} files, and serves at most {connections} clients; {MORE}"
        );
    }
}

/// Raises the soft limit of open files to the hard limit, and returns the new limit.
fn raise_descriptor_limit() -> usize {
    /// The number that stands for "no limit".
    const UNLIMITED: u64 = 1 << 20;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.unwrap_or(UNLIMITED) as usize
}
