//! The programs of the user, from the command line: other balancers and web servers, started by a shell.

use clap::{Args, Command};

use crate::plans::model::{Fixed, Target, TargetKind, What};
use crate::plans::targets::simple;

/// Number of backends of every balancer.
pub(crate) const BACKENDS: usize = 3;

/// The arguments that describe the programs of the user.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Given {
    /// Another balancer: a command for the shell. `{port}` is its port, `{o1} {o2} {o3}` are the ports of its backends,
    /// `{root}` is the directory of the files
    #[arg(long = "target", value_name = "NAME=COMMAND", value_parser = split)]
    targets: Vec<Program>,
    /// Another web server: a command for the shell. It listens on `{port}` and serves the files of `{root}`
    #[arg(long = "server", value_name = "NAME=COMMAND", value_parser = split)]
    servers: Vec<Program>,
    /// The three ports on which the balancers expect their backends [default: free ports]
    #[arg(long, value_name = "PORT,PORT,PORT", value_delimiter = ',')]
    backends: Vec<u16>,
    /// The port of each program without `{port}`, in the order of --target, then --server; the last port is for all
    /// further programs
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    listens: Vec<u16>,
    /// The --server that runs as the three backends of every --target [default: the file server of Neraca]
    #[arg(long, value_name = "NAME")]
    behind: Option<String>,
}

const FORM: &str = "expected NAME=COMMAND with a NAME of letters, digits and -_., such as \
                    mine='./balancer {port} {o1} {o2} {o3}'";

/// The name and the command of a program.
type Program = (String, String);

/// Splits `NAME=COMMAND`.
fn split(given: &str) -> Result<Program, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.chars().all(fits);
    let parts = given.split_once('=').filter(|(name, command)| is_name(name) && !command.trim().is_empty());
    parts.map(|(name, command)| (name.into(), command.into())).ok_or(FORM)
}

impl Given {
    /// Returns the balancers, then the servers. The error names the argument, its value, and what was expected.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, String> {
        if !self.backends.is_empty() && self.backends.len() != BACKENDS {
            return Err(format!("--backends: expected {BACKENDS} ports, got {}", self.backends.len()));
        }
        let behind = self.behind.as_ref().map(|name| {
            let server = self.servers.iter().find(|(n, command)| n == name && command.contains("{port}"));
            let command = server.map(|(_, command)| command.clone());
            command.ok_or_else(|| format!("--behind {name:?}: expected the NAME of a --server with {{port}}"))
        });
        let behind = behind.transpose()?;
        let mut listens = self.listens.iter().copied();
        let mut last = None;
        let mut target = |what, (name, command): &Program| {
            let mut fixed = Fixed::default();
            if !command.contains("{port}") {
                last = listens.next().or(last);
                fixed.listens = Some(last.ok_or_else(|| {
                    format!("{name:?}: expected {{port}} in the command, or the fixed port with --listens")
                })?);
            }
            if what == What::Balancer {
                (fixed.backends, fixed.backend_command) = (self.backends.clone(), behind.clone());
            }
            let command = vec!["/bin/sh".into(), "-c".into(), command.clone()];
            Ok(Target { what, kind: TargetKind::User, command, fixed: Some(fixed), ..simple(name, "") })
        };
        let balancers = self.targets.iter().map(|given| (What::Balancer, given));
        let given = balancers.chain(self.servers.iter().map(|given| (What::Server, given)));
        given.map(|(what, given)| target(what, given)).collect()
    }
}

/// Reads the arguments of a command from words.
pub(crate) fn arguments<T: Args>(words: &[&str]) -> Result<T, String> {
    let command = T::augment_args(Command::new("arguments").no_binary_name(true));
    let matches = command.try_get_matches_from(words).and_then(|matches| T::from_arg_matches(&matches));
    matches.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use itertools::Itertools;

    use super::*;
    use crate::plans::targets::with;

    /// Describes the programs of a command line, or returns the error.
    fn described(line: &[&str]) -> String {
        let all = arguments(line).and_then(|given: Given| with(given.targets()?));
        let users = |target: Target| {
            let fixed = target.fixed?;
            let (listens, backends, behind) = (fixed.listens, fixed.backends, fixed.backend_command);
            Some(format!("{} {} {listens:?} {backends:?} {behind:?}", target.id, target.command.join(" ")))
        };
        all.map_or_else(|error| error, |all| all.into_iter().filter_map(users).join(", "))
    }

    #[test]
    fn programs_have_ports_and_backends_and_a_wrong_argument_is_named() {
        let cases: [(&[&str], &str); 13] = [
            (&["--target", "m=cd a && ./lb {port}; x"], "m /bin/sh -c cd a && ./lb {port}; x None [] None"),
            (
                &["--target", "a=x", "--listens", "44444", "--backends", "8000,8001,8002"],
                "a /bin/sh -c x Some(44444) [8000, 8001, 8002] None",
            ),
            (
                &["--target", "a=x", "--target", "b=y", "--target", "c=z", "--listens", "1,2"],
                "a /bin/sh -c x Some(1) [] None, b /bin/sh -c y Some(2) [] None, c /bin/sh -c z Some(2) [] None",
            ),
            (
                &["--server", "web=y {port}", "--target", "a=x {port}", "--behind", "web"],
                "a /bin/sh -c x {port} None [] Some(\"y {port}\"), web /bin/sh -c y {port} None [] None",
            ),
            (&[], ""),
            (&["--target", "mine"], "'--target <NAME=COMMAND>': expected NAME=COMMAND"),
            (&["--target", "=x {port}"], "expected NAME=COMMAND"),
            (&["--server", "a/b=x {port}"], "'--server <NAME=COMMAND>': expected NAME=COMMAND"),
            (&["--target", "a= "], "expected NAME=COMMAND"),
            (&["--target", "a=x"], "\"a\": expected {port} in the command"),
            (&["--backends", "1,2"], "--backends: expected 3 ports, got 2"),
            (
                &["--target", "a=x {port}", "--behind", "web"],
                "--behind \"web\": expected the NAME of a --server",
            ),
            (&["--target", "haproxy=x {port}"], "target \"haproxy\": there is already a target of this name"),
        ];
        for (line, expected) in cases {
            let found = described(line);
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{line:?}: {found}");
        }
    }
}
