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

const FORM: &str = "expected NAME=COMMAND with a NAME of letters, digits and -_., such as \
                    mine='./balancer {port} {o1} {o2} {o3}'";

/// Splits `NAME=COMMAND`.
fn split<'a>(argument: &str, given: &'a str) -> Result<(&'a str, &'a str), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.chars().all(fits);
    let parts = given.split_once('=').filter(|(name, command)| is_name(name) && !command.trim().is_empty());
    parts.ok_or_else(|| format!("{argument} {given:?}: {FORM}"))
}

impl Given {
    /// Returns the balancers, then the servers. The error names the argument, its value, and what was expected.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, String> {
        if !self.backends.is_empty() && self.backends.len() != BACKENDS {
            return Err(format!("--backends: expected {BACKENDS} ports, got {}", self.backends.len()));
        }
        let backend_command = self.behind.as_deref().map(|name| self.server_command(name)).transpose()?;
        let mut listens = self.listens.iter().copied();
        let mut last = None;
        let mut names: Vec<String> = all().into_iter().map(|target| target.id).collect();
        let mut found = Vec::new();
        let kinds = [("--target", What::Balancer, &self.targets), ("--server", What::Server, &self.servers)];
        let given =
            kinds.iter().flat_map(|(argument, what, list)| list.iter().map(move |g| (argument, *what, g)));
        for (argument, what, given) in given {
            let (name, command) = split(argument, given)?;
            let wrong = |expected: &str| format!("{argument} {name:?}: {expected}");
            if names.iter().any(|known| known == name) {
                return Err(wrong("there is already a program of this name, expected another name"));
            }
            names.push(name.into());
            let mut fixed = Fixed::default();
            if !command.contains("{port}") {
                last = listens.next().or(last);
                let port = last
                    .ok_or_else(|| wrong("expected {port} in the command, or the fixed port with --listens"));
                fixed.listens = Some(port?);
            }
            if what == What::Balancer {
                fixed.backends.clone_from(&self.backends);
                fixed.backend_command.clone_from(&backend_command);
            }
            let command = vec!["/bin/sh".into(), "-c".into(), command.into()];
            let fixed = Some(fixed);
            found.push(Target { what, kind: TargetKind::User, command, fixed, ..simple(name, "", None) });
        }
        Ok(found)
    }

    fn server_command(&self, name: &str) -> Result<String, String> {
        let servers = self.servers.iter().filter_map(|given| given.split_once('='));
        let mut named = servers.filter(|(n, command)| *n == name && command.contains("{port}"));
        let command = named.next().map(|(_, command)| command.to_owned());
        command.ok_or_else(|| format!("--behind {name:?}: expected the NAME of a --server with {{port}}"))
    }
}

/// Parses one balancer of the user that has no fixed ports.
#[cfg(test)]
pub(crate) fn balancer(given: &str) -> Result<Target, String> {
    let given = Given { targets: vec![given.into()], ..Given::default() };
    given.targets()?.pop().ok_or_else(|| "no target".into())
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
        line.given.targets()
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
