//! The subjects: our engines, the byte pump, and other programs on equal terms (see [`crate::plans::targets`]).

use std::path::Path;
use std::process::Command;

use crate::plans::given;
use crate::plans::model::Target;
use crate::plans::targets::{self, simple as target};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Thread,
    Async,
    /// The thread engine, and the async engine, with a fixed number of workers that are all awake.
    FixedThread,
    FixedAsync,
    /// Another program that does the same work. Our engines are compared with the best of the peers.
    Peer,
    /// `examples/byte_pump.rs`, which copies bytes and parses nothing.
    BytePump,
}

/// The fixed numbers of workers that the engines' own choice is compared with.
const WORKERS: [&str; 3] = ["1", "2", "4"];

#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) target: Target,
}

/// The subjects that can run here.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) balancers: Vec<Subject>,
    pub(super) servers: Vec<Subject>,
    /// Missing programs and how to install them, one per line.
    pub(super) missing: Vec<String>,
    /// Names and versions of the other programs.
    pub(super) versions: Vec<String>,
}

/// The origins: one nginx process on three ports, the first port is `{port}`. h2o supports one backend only. Because
/// one process serves all three ports, h2o has no disadvantage.
pub(super) const ORIGINS: &str = "daemon off;
pid {dir}/origins.pid;
error_log stderr crit;
worker_processes 1;
worker_rlimit_nofile 16000;
events { worker_connections 15000; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  keepalive_timeout 300;
  open_file_cache max=100 inactive=600s;
  open_file_cache_valid 600s;
  client_body_temp_path {dir}/origins-body;
  proxy_temp_path {dir}/origins-proxy;
  fastcgi_temp_path {dir}/origins-fastcgi;
  uwsgi_temp_path {dir}/origins-uwsgi;
  scgi_temp_path {dir}/origins-scgi;
  server {
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{o2} backlog=4096;
    listen 127.0.0.1:{o3} backlog=4096;
    root {root};
  }
}
";

const H2O: &str = "num-threads: {cpus}
max-connections: 10000
http1-request-timeout: 300
proxy.timeout.keepalive: 300000
error-log: /dev/null
listen:
  host: 127.0.0.1
  port: {port}
hosts:
  default:
    paths:
      /:
        ";
const H2O_PROXY: &str = "proxy.reverse.url: http://127.0.0.1:{o1}/\n";
const H2O_FILES: &str = "file.dir: {root}\n";

const LIGHTTPD: &str = "server.bind = \"127.0.0.1\"
server.port = {port}
server.document-root = \"{root}\"
server.max-worker = {cpus}
server.max-connections = 9000
server.max-fds = 19000
server.listen-backlog = 4096
server.max-keep-alive-requests = 100000000
server.max-keep-alive-idle = 300
";

const BYTE_PUMP: &str = "{byte_pump} 127.0.0.1:0 127.0.0.1:{o1} 127.0.0.1:{o2} 127.0.0.1:{o3}";

impl Found {
    /// Finds the subjects. `only` names the wanted ones; an empty `only` means all. `given` are the peers of the user.
    ///
    /// # Errors
    /// When a program is missing that every measurement needs. The error says how to install the program.
    pub(super) fn look(
        cpus: usize,
        byte_pump: &Path,
        given: &[String],
        only: &[String],
    ) -> Result<Found, String> {
        let mut found = Found::default();
        for name in ["wrk", "nginx"] {
            found.versions.push(version(name, "-v").ok_or_else(|| remedy(name))?);
        }
        let wanted =
            |name: &str| only.is_empty() || only.iter().any(|wanted| *wanted == name.replace(' ', "-"));
        found.add_engines();
        found.add_installed(cpus, &wanted);
        for given in given {
            let target = given::balancer(given)?;
            found.balancers.push(Subject::new(&target.id.clone(), Kind::Peer, target));
        }
        if byte_pump.exists() {
            let target = target("byte-pump", BYTE_PUMP, None);
            found.balancers.push(Subject::new("byte pump", Kind::BytePump, target));
        } else if wanted("byte pump") {
            let remedy = "cargo build --release --example byte_pump";
            found.missing.push(format!("the byte pump is not built; {remedy}"));
        }
        found.balancers.retain(|subject| wanted(&subject.name));
        found.servers.retain(|subject| wanted(&subject.name));
        Ok(found)
    }

    fn add_engines(&mut self) {
        for target in targets::all() {
            match target.id.as_str() {
                targets::THREAD => {
                    self.add_fixed("thread", Kind::FixedThread, &target);
                    self.balancers.push(Subject::new("thread", Kind::Thread, target));
                }
                targets::ASYNC => {
                    self.add_fixed("async", Kind::FixedAsync, &target);
                    self.balancers.push(Subject::new("async", Kind::Async, target));
                }
                targets::SERVE_THREAD => self.servers.push(Subject::new("thread", Kind::Thread, target)),
                targets::SERVE_ASYNC => self.servers.push(Subject::new("async", Kind::Async, target)),
                _ => {}
            }
        }
    }

    /// Adds an engine once for each number of [`WORKERS`], with all of these workers awake.
    fn add_fixed(&mut self, engine: &str, kind: Kind, target: &Target) {
        for workers in WORKERS {
            let name = format!("{engine} {workers}");
            let mut target = Target { id: name.replace(' ', "-"), ..target.clone() };
            let arguments = ["--workers", workers, "--experiment-all-awake"];
            target.command.extend(arguments.map(String::from));
            self.balancers.push(Subject::new(&name, kind, target));
        }
    }

    /// Adds each installed program, as a balancer and as a file server.
    fn add_installed(&mut self, cpus: usize, wanted: &dyn Fn(&str) -> bool) {
        let others = targets::all();
        let other = |id: &str| others.iter().find(|target| target.id == id).cloned();
        let configured = |id: &str, line: &str, config: String| {
            Some(target(id, line, Some(config.replace("{cpus}", &cpus.to_string()))))
        };
        let h2o = |id: &str, path: &str| configured(id, "h2o -c {conf}", [H2O, path].concat());
        let lighttpd = configured("lighttpd", "lighttpd -D -f {conf}", LIGHTTPD.into());
        let programs = [
            ("haproxy", "-v", [other("haproxy"), None]),
            ("nginx", "-v", [other("nginx"), other(targets::DIRECT)]),
            ("h2o", "-v", [h2o("h2o", H2O_PROXY), h2o("h2o-files", H2O_FILES)]),
            ("caddy", "version", [other("caddy"), None]),
            ("lighttpd", "-v", [None, lighttpd]),
        ];
        for (name, argument, targets) in programs.into_iter().filter(|(name, ..)| wanted(name)) {
            self.add(name, argument, targets);
        }
    }

    /// Adds a program as a balancer and as a file server, if it is installed.
    fn add(&mut self, name: &str, argument: &str, [balancer, server]: [Option<Target>; 2]) {
        let Some(version) = version(name, argument) else {
            return self.missing.push(remedy(name));
        };
        if !self.versions.contains(&version) {
            self.versions.push(version);
        }
        self.balancers.extend(balancer.map(|target| Subject::new(name, Kind::Peer, target)));
        self.servers.extend(server.map(|target| Subject::new(name, Kind::Peer, target)));
    }
}

impl Subject {
    fn new(name: &str, kind: Kind, target: Target) -> Self {
        Subject { name: name.into(), kind, target }
    }
}

fn remedy(name: &str) -> String {
    format!("{name} is not installed; on Debian and Ubuntu: apt-get install {name}")
}

/// Returns the program and its first printed version number. None when the program cannot be started.
fn version(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    let number = numbers.map(|number| number.trim_matches('.')).find(|number| number.contains('.'))?;
    Some(format!("{program} {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_a_program_prints() {
        let cases = [
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", "echo 2.6.12"),
            ("nginx version: nginx/1.22.1", "echo 1.22.1"),
            ("v2.6.2 h1:abc", "echo 2.6.2"),
            ("wrk debian/4.1.0-3+b2 [epoll]", "echo 4.1.0"),
        ];
        for (printed, expected) in cases {
            assert_eq!(version("echo", printed).as_deref(), Some(expected), "{printed}");
        }
        assert_eq!(version("echo", "no number."), None);
        assert_eq!(version("no-such-program-anywhere", "-v"), None);
    }

    #[test]
    fn what_is_not_installed_is_named_with_its_remedy() {
        let mut found = Found::default();
        found.add("no-such-program-anywhere", "-v", [Some(target("x", "x", None)), None]);
        assert!(
            found.balancers.is_empty() && found.missing[0].contains("apt-get install no-such"),
            "{found:?}"
        );
    }
}
