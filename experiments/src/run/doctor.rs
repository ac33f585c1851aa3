//! Checks the machine before a measurement.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use procfs::{CpuInfo, Current, Meminfo};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

use crate::run::child::printed;
use crate::run::lab::cpus;
use crate::run::manifest::{Binary, Host, Setting};
use crate::run::proc::HostCounters;

/// Maximum number of descriptors that a balancer needs: two for each of 2000 connections, and some more.
const DESCRIPTORS: u64 = 4500;
/// What to do when a program is missing.
const SETUP: &str = "; `make bench-setup` installs it";
/// Number of connections that may arrive at once.
const BACKLOG: u64 = 1024;

/// The used programs: name, arguments that print the version, and true for a program that every run needs.
const TOOLS: [(&str, &[&str], bool); 12] = [
    ("wrk", &["-v"], true),
    ("ss", &["-V"], true),
    ("haproxy", &["-v"], false),
    ("nginx", &["-v"], false),
    ("caddy", &["version"], false),
    ("apache2", &["-v"], false),
    ("h2o", &["-v"], false),
    ("lighttpd", &["-v"], false),
    ("strace", &["-V"], false),
    ("perf", &["--version"], false),
    ("curl", &["-V"], false),
    ("openssl", &["version"], false),
];

/// The result of the checks.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    pub(crate) setting: Setting,
    /// The problems that prevent a run.
    pub(crate) fatal: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Makes all checks. Also raises our own descriptor limit; the started programs inherit this limit.
pub(crate) fn examine(neraca: &Path, host_name: Option<&str>) -> Diagnosis {
    let descriptors = raise_descriptor_limit();
    let (mut fatal, mut warnings) = (Vec::new(), Vec::new());
    let mut tools = BTreeMap::new();
    for (name, arguments, needed) in TOOLS {
        match version(name, arguments) {
            Some(version) => drop(tools.insert(name.to_owned(), version)),
            None if needed => fatal.push(format!("{name} is missing{SETUP}")),
            None => warnings.push(format!("{name} is missing, so its part is left out{SETUP}")),
        }
    }
    if neraca.with_file_name("examples/byte_pump").exists() {
        tools.insert("byte_pump".into(), "of the same build".into());
    }
    let host = host(host_name, descriptors);
    if descriptors < DESCRIPTORS {
        fatal.push(format!(
            "the limit of open files is {descriptors}; `ulimit -Hn` must be at least {DESCRIPTORS} (limits.conf, or \
             LimitNOFILE of the service)"
        ));
    }
    let Host { somaxconn, governor, .. } = &host;
    if *somaxconn < BACKLOG {
        warnings.push(format!(
            "a listen queue holds only {somaxconn} connections; `sysctl net.core.somaxconn={BACKLOG}` or more allows all \
             clients to connect at once"
        ));
    }
    if let Some(governor) = governor.as_deref().filter(|governor| *governor != "performance") {
        warnings.push(format!(
            "the CPU governor is {governor}; `cpupower frequency-set -g performance` steadies it"
        ));
    }
    let before = HostCounters::read();
    std::thread::sleep(if cfg!(test) { Duration::from_millis(50) } else { NOISE });
    warnings.extend(noise(&before, &HostCounters::read()));
    let neraca = binary(neraca).map_err(|problem| fatal.push(problem)).ok();
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Diagnosis { setting: Setting { started, host, neraca, tools }, fatal, warnings }
}

/// Returns the first line that a program prints about its version.
fn version(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Some(said.lines().next().unwrap_or_default().trim().to_owned())
}

fn raise_descriptor_limit() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Time for which the noise is measured.
const NOISE: Duration = Duration::from_secs(5);

/// Returns what the use of the CPUs between two readings means; None when the machine is quiet.
fn noise(before: &HostCounters, after: &HostCounters) -> Option<String> {
    let ticks = |of: fn(&HostCounters) -> u64| of(after).saturating_sub(of(before)) as f64;
    let (busy, steal) = (ticks(|host| host.process_ticks), ticks(|host| host.steal_ticks));
    let all = busy + steal + ticks(|host| host.idle_ticks) + ticks(|host| host.interrupt_ticks);
    let [foreign, steal] = [busy, steal].map(|ticks| ticks / all.max(1.0) * 100.0);
    let share = match (foreign, steal) {
        (f, s) if f > 10.0 || s > 5.0 => "cells are likely to be left out as noisy (gate G7)",
        (f, s) if f > 2.0 || s > 1.0 => "intervals get wider; more blocks (--blocks) narrow them",
        _ => return None,
    };
    Some(format!(
        "other programs use {foreign:.1} % of the CPU and other machines on this host {steal:.1} %: {share}"
    ))
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned())
}

fn host(name: Option<&str>, descriptors: u64) -> Host {
    let cpu = CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    let cpu = cpu.unwrap_or_else(|| std::env::consts::ARCH.into());
    let memory_mb = Meminfo::current().map_or(0, |memory| memory.mem_total >> 20);
    let kernel = line("/proc/sys/kernel/osrelease").unwrap_or_default();
    let range = line("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = range.split_whitespace().map(|port| port.parse().unwrap_or(0));
    let cpus = cpus() as usize;
    let fingerprint =
        hex::encode(Sha256::digest(format!("{cpu}|{cpus}|{memory_mb}|{kernel}")))[..16].to_owned();
    Host {
        name: name.map_or_else(|| neutral_name(&cpu, cpus), Into::into),
        cpu,
        cpus,
        memory_mb,
        kernel,
        governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        descriptors,
        somaxconn: line("/proc/sys/net/core/somaxconn").and_then(|n| n.parse().ok()).unwrap_or(0),
        port_range: (ports.next().unwrap_or(0), ports.next().unwrap_or(0)),
        fingerprint,
    }
}

/// Names the machine after its CPU. The host name could reveal more than its owner wants.
fn neutral_name(cpu: &str, cpus: usize) -> String {
    const FAMILIES: [&str; 8] = ["epyc", "xeon", "ryzen", "core", "neoverse", "graviton", "apple", "arm"];
    let cpu = cpu.to_lowercase();
    let family = FAMILIES.iter().find(|family| cpu.contains(**family)).unwrap_or(&"host");
    format!("{family}-{cpus}core")
}

/// Identifies the program under test by its contents.
fn binary(path: &Path) -> Result<Binary, String> {
    let remedy = "build it with `cargo build --release`, or name another program with --neraca";
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}; {remedy}", path.display()))?;
    let here = Path::new(".");
    let version = printed(here, &[&path.display().to_string(), "--version"]);
    let git = |words: &[&str]| printed(here, &[&["git"], words].concat()).ok();
    let changed = git(&["status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock"]);
    let mark = if changed.is_none_or(|changes| changes.is_empty()) { "" } else { "+" };
    Ok(Binary {
        version: version.map_err(|error| format!("{error}; {remedy}"))?,
        sha256: hex::encode(Sha256::digest(&bytes)),
        commit: git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| commit + mark),
    })
}

impl Diagnosis {
    /// Returns the result as text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Setting { host, neraca, tools, .. } = &self.setting;
        let Host { name, cpu, cpus, memory_mb, kernel, descriptors, somaxconn, .. } = host;
        let (low, high) = host.port_range;
        let mut lines = vec![
            format!("host      {name}: {cpu}, {cpus} CPUs, {memory_mb} MB, Linux {kernel}"),
            format!("limits    {descriptors} descriptors, listen queue {somaxconn}, ports {low}-{high}"),
        ];
        if let Some(neraca) = neraca {
            let commit = neraca.commit.as_deref().unwrap_or("unknown commit");
            lines.push(format!("neraca    {}, {commit}, sha256 {}", neraca.version, &neraca.sha256[..12]));
        }
        lines.extend(tools.iter().map(|(name, version)| format!("{name:<9} {version}")));
        lines.extend(self.warnings.iter().map(|warning| format!("warning   {warning}")));
        lines.extend(self.fatal.iter().map(|fatal| format!("FATAL     {fatal}")));
        lines.push(match (self.fatal.len(), self.warnings.len()) {
            (0, 0) => "ready     yes".into(),
            (0, n) => format!("ready     yes, with {n} warnings"),
            _ => "ready     NO: a run cannot start".into(),
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_says_what_it_means() {
        let cases = [((1, 99, 0), ""), ((4, 96, 0), "wider"), ((1, 90, 9), "left out")];
        for ((process_ticks, idle_ticks, steal_ticks), expected) in cases {
            let after = HostCounters { process_ticks, idle_ticks, steal_ticks, ..HostCounters::default() };
            let said = noise(&HostCounters::default(), &after).unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said:?}");
        }
    }

    #[test]
    fn a_machine_is_named_after_its_cpu() {
        let cases = [
            ("AMD EPYC 7B13 64-Core Processor", 2, "epyc-2core"),
            ("Intel(R) Core(TM) i5-8250U", 8, "core-8core"),
            ("Cortex-A72", 4, "host-4core"),
        ];
        for (cpu, cpus, name) in cases {
            assert_eq!(neutral_name(cpu, cpus), name);
        }
    }

    #[test]
    fn what_is_missing_is_said_with_its_remedy() {
        let diagnosis = examine(Path::new("/no/such/neraca"), Some("here"));
        assert!(diagnosis.fatal.iter().any(|line| line.contains("cargo build --release")), "{diagnosis:?}");
        assert_eq!(diagnosis.lines().last().unwrap(), "ready     NO: a run cannot start");
        assert_eq!(diagnosis.setting.host.name, "here");
        assert_eq!(version("no-such-program", &[]), None);
    }
}
