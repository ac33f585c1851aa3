//! The texts that follow the lists of arguments in `--help`.
use crate::simulate;

/// Shown after the help of the program.
pub(super) const EXAMPLES: &str = "\
Examples:
  neraca balance --demo
  neraca balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080
  neraca serve --listen 127.0.0.1:9001 --root /srv/www

Log messages go to stderr. NERACA_LOG sets their level: off, error, warn (default), info, debug or trace.
Exit codes: 0 after SIGTERM or SIGINT, 1 if the program cannot run, 2 if an argument is wrong.";

/// Shown after the help of `neraca balance`.
pub(super) const BALANCE_EXAMPLES: &str = "\
Examples:
  Try it: three backends in the same process
    neraca balance --demo
  Two backends, reachable from other machines
    neraca balance --listen 0.0.0.0:80 --backend 10.0.0.1:8080 --backend 10.0.0.2:8080
  TLS for clients; both files may be replaced while it runs
    neraca balance --listen 0.0.0.0:443 --tls-cert site.pem --tls-key site.key --backend 10.0.0.1:8080
  The thread engine, behind a proxy in 10.0.0.0/8 that sets X-Forwarded-For
    neraca balance --engine thread --trust 10.0.0.0/8 --backend localhost:9001
  Several listeners, clusters and routes
    neraca balance --config neraca.toml

The first SIGTERM or SIGINT lets running requests end, the second one ends the program at once.";

/// Shown after the help of `neraca check`.
pub(super) const CHECK_HELP: &str = "\
Every error is shown with FILE:LINE:COLUMN and what was expected. neraca balance --config says the same about a file.

Exit codes: 0 if the file is good, 1 if it is not, 2 if an argument is wrong.";

/// Shown after the help of `neraca serve`.
pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  Serve a directory
    neraca serve --root /srv/www
  Two listeners on the thread engine, as backends for a balancer
    neraca serve --engine thread --listen 127.0.0.1:9001 --listen 127.0.0.1:9002 --root /srv/www

The first SIGTERM or SIGINT lets running requests end, the second one ends the program at once.";

/// Returns the list of scenarios, for the help.
pub(super) fn simulate_help() -> String {
    let mut help = String::from("Scenarios (ten backends):\n");
    for (name, about) in simulate::scenarios() {
        help.push_str(&format!("  {name:<16} {about}\n"));
    }
    help.push_str(
        "\nThe balancer's own code decides; only backends, network and arrivals are simulated. The same arguments print \
         the\nsame bytes. Exit codes: 0, 1 if a promise of the scenario is broken, 2 if an argument is wrong.",
    );
    help
}
