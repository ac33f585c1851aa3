//! The programs of the user, from the command line: other balancers and web servers, started by a shell.

use crate::plans::model::{Fixed, Target, TargetKind, What};
use crate::plans::targets::{all, simple};

/// Number of backends of every balancer.
const BACKENDS: usize = 3;

/// The arguments that describe the programs of the user.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Given {
    /// Another balancer: a command for the shell. `{port}` is its port, `{o1} {o2} {o3}` are the ports of its backends,
    /// `{root}` is the directory of the files
    #[arg(long = "target", value_name = "NAME=COMMAND")]
    targets: Vec<String>,
    /// Another web server: a command for the shell. It listens on `{port}` and serves the files of `{root}`
    #[arg(long = "server", value_name = "NAME=COMMAND")]
    servers: Vec<String>,
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

/// A wrong argument: its name, its value, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GivenError {
    Form(&'static str, String),
    Name(&'static str, String),
    Port(&'static str, String),
    Backends(usize),
    Behind(String),
}

impl std::fmt::Display for GivenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GivenError::Form(argument, given) => write!(
                f,
                "{argument} {given:?}: expected NAME=COMMAND with a NAME of letters, digits and -_., such as \
                 mine='./balancer {{port}} {{o1}} {{o2}} {{o3}}'"
            ),
            GivenError::Name(argument, name) => {
                write!(
                    f,
                    "{argument} {name:?}: there is already a program of this name, expected another name"
                )
            }
            GivenError::Port(argument, name) => {
                write!(
                    f,
                    "{argument} {name:?}: expected {{port}} in the command, or the fixed port with --listens"
                )
            }
            GivenError::Backends(count) => write!(f, "--backends: expected {BACKENDS} ports, got {count}"),
            GivenError::Behind(name) => {
                write!(f, "--behind {name:?}: expected the NAME of a --server with {{port}}")
            }
        }
    }
}

/// Splits `NAME=COMMAND`.
fn split<'a>(argument: &'static str, given: &'a str) -> Result<(&'a str, &'a str), GivenError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let form = || GivenError::Form(argument, given.into());
    let (name, command) = given.split_once('=').ok_or_else(form)?;
    let good =
        !name.is_empty() && name.chars().all(fits) && !name.starts_with('.') && !command.trim().is_empty();
    if good { Ok((name, command)) } else { Err(form()) }
}

impl Given {
    /// Returns the balancers, then the servers.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, GivenError> {
        if !self.backends.is_empty() && self.backends.len() != BACKENDS {
            return Err(GivenError::Backends(self.backends.len()));
        }
        let backend_command = self.behind.as_deref().map(|name| self.server_command(name)).transpose()?;
        let mut listens = self.listens.iter().copied();
        let mut last = None;
        let mut found: Vec<Target> = Vec::new();
        let kinds = [("--target", What::Balancer, &self.targets), ("--server", What::Server, &self.servers)];
        for (argument, what, list) in kinds {
            for given in list {
                let (name, command) = split(argument, given)?;
                let built_in = all().into_iter();
                if built_in.chain(found.iter().cloned()).any(|target| target.id == name) {
                    return Err(GivenError::Name(argument, name.into()));
                }
                let mut fixed = Fixed::default();
                if !command.contains("{port}") {
                    last = listens.next().or(last);
                    fixed.listens = Some(last.ok_or_else(|| GivenError::Port(argument, name.into()))?);
                }
                if what == What::Balancer {
                    fixed.backends.clone_from(&self.backends);
                    fixed.backend_command.clone_from(&backend_command);
                }
                found.push(user(name, what, command, fixed));
            }
        }
        Ok(found)
    }

    fn server_command(&self, name: &str) -> Result<String, GivenError> {
        let servers = self.servers.iter().filter_map(|given| given.split_once('='));
        let mut named = servers.filter(|(n, command)| *n == name && command.contains("{port}"));
        named.next().map(|(_, command)| command.to_owned()).ok_or_else(|| GivenError::Behind(name.into()))
    }
}

fn user(name: &str, what: What, command: &str, fixed: Fixed) -> Target {
    let command = vec!["/bin/sh".into(), "-c".into(), command.into()];
    Target { what, kind: TargetKind::User, command, fixed: Some(fixed), ..simple(name, "", None) }
}

/// Parses one balancer of the user that has no fixed ports.
#[cfg(test)]
pub(crate) fn balancer(given: &str) -> Result<Target, String> {
    let given = Given { targets: vec![given.into()], ..Given::default() };
    given.targets().map_err(|error| error.to_string())?.pop().ok_or_else(|| "no target".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        given: Given,
    }

    fn parse(line: &[&str]) -> Result<Vec<Target>, String> {
        let line = Line::try_parse_from([&["lab"], line].concat()).map_err(|error| error.to_string())?;
        line.given.targets().map_err(|error| error.to_string())
    }

    #[test]
    fn programs_have_ports_and_backends() {
        let cases: [(&[&str], &str); 5] = [
            (&["--target", "mine=./lb {port}; x"], "mine None [] None"),
            (
                &["--target", "a=x", "--listens", "44444", "--backends", "8000,8001,8002"],
                "a Some(44444) [8000, 8001, 8002] None",
            ),
            (
                &["--target", "a=x", "--target", "b=y", "--target", "c=z", "--listens", "1,2"],
                "a Some(1) [] None, b Some(2) [] None, c Some(2) [] None",
            ),
            (
                &["--server", "web=cd / && x {port}", "--target", "a=x {port}", "--behind", "web"],
                "a None [] Some(\"cd / && x {port}\"), web None [] None",
            ),
            (&[], ""),
        ];
        for (line, expected) in cases {
            let described = |target: Target| {
                let fixed = target.fixed.unwrap();
                format!("{} {:?} {:?} {:?}", target.id, fixed.listens, fixed.backends, fixed.backend_command)
            };
            let found: Vec<String> = parse(line).unwrap().into_iter().map(described).collect();
            assert_eq!(found.join(", "), expected, "{line:?}");
        }
        assert_eq!(
            parse(&["--target", "m=cd a && b {port}"]).unwrap()[0].command,
            ["/bin/sh", "-c", "cd a && b {port}"]
        );
    }

    #[test]
    fn a_wrong_argument_is_named_with_what_was_expected() {
        let cases: [(&[&str], &str); 8] = [
            (&["--target", "mine"], "--target \"mine\": expected NAME=COMMAND"),
            (&["--target", "=x {port}"], "expected NAME=COMMAND"),
            (&["--server", "a/b=x {port}"], "--server \"a/b=x {port}\": expected NAME=COMMAND"),
            (&["--target", "a= "], "expected NAME=COMMAND"),
            (&["--target", "a=x"], "--target \"a\": expected {port} in the command"),
            (&["--target", "haproxy=x {port}"], "already a program of this name"),
            (&["--backends", "1,2"], "--backends: expected 3 ports, got 2"),
            (
                &["--target", "a=x {port}", "--behind", "web"],
                "--behind \"web\": expected the NAME of a --server",
            ),
        ];
        for (line, expected) in cases {
            let said = parse(line).unwrap_err();
            assert!(said.contains(expected) && !said.contains('\n'), "{line:?}: {said}");
        }
    }
}
