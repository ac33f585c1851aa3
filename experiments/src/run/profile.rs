//! Profiles: where a target spends its CPU time, by the sampled stacks of `perf`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options};

/// Share of the samples below which a function is counted as a part of its caller.
const LEAST: f64 = 0.005;

/// The words before a command that record its stacks, 499 times per second and CPU. The odd rate does not fall into step
/// with timers.
pub(crate) const RECORDER: &str = "perf record -q -B -F 499 --call-graph dwarf,4096 -o {dir}/perf.data --";

/// Reads what `perf record` wrote. Returns one line for each stack: the functions, and the number of samples.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("perf script: {error}");
    let output =
        Command::new("perf").args(["script", "--no-inline", "-i"]).arg(file).output().map_err(failed)?;
    let mut options = Options::default();
    options.annotate_kernel = true;
    let mut folded = Vec::new();
    Folder::from(options).collapse(output.stdout.as_slice(), &mut folded).map_err(failed)?;
    let folded = prune(&String::from_utf8_lossy(&folded));
    if folded.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("perf recorded nothing: {}", said.lines().last().unwrap_or_default()));
    }
    Ok(folded)
}

/// Shortens a function's name: without generic arguments, hashes and offsets.
fn short(name: &str) -> String {
    let mut depth = 0_usize;
    let mut text = String::new();
    for c in name.replace("->", "→").replace(" as ", ">").chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            c if depth == 0 => text.push(c),
            _ => {}
        }
    }
    let text = text.replace("::::", "::").trim_matches(':').to_owned();
    if text.is_empty() { name.to_owned() } else { text }
}

/// Joins equal stacks, and counts rare functions as parts of their callers. The first function is the name of the
/// thread, without its number.
fn prune(folded: &str) -> String {
    let parse = |line: &str| {
        let (stack, count) = line.rsplit_once(' ')?;
        let mut names: Vec<String> = stack.split(';').map(short).collect();
        let thread = names.first_mut()?;
        *thread = thread.trim_end_matches(|c: char| c.is_ascii_digit() || "-/:".contains(c)).to_owned();
        Some((names, count.parse().ok()?))
    };
    let stacks: Vec<(Vec<String>, u64)> = folded.lines().filter_map(parse).collect();
    let total: u64 = stacks.iter().map(|(_, count)| count).sum();
    let mut below: BTreeMap<&[String], u64> = BTreeMap::new();
    for (names, count) in &stacks {
        for depth in 1..=names.len() {
            *below.entry(&names[..depth]).or_default() += count;
        }
    }
    let mut kept: BTreeMap<String, u64> = BTreeMap::new();
    for (names, count) in &stacks {
        let is_frequent = |depth: &usize| below[&names[..*depth]] as f64 >= LEAST * total as f64;
        let depth = (1..=names.len()).take_while(is_frequent).last().unwrap_or(0);
        if depth > 0 {
            *kept.entry(names[..depth].join(";")).or_default() += count;
        }
    }
    kept.into_iter().map(|(stack, count)| format!("{stack} {count}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_functions_belong_to_their_callers() {
        let folded = "worker-1;a;b<x::y>;c 500\nworker-2;a;b;rare 1\nworker-2;a;b;c 500\nodd;z 1\n";
        assert_eq!(prune(folded), "worker;a;b 1\nworker;a;b;c 1000\n");
        assert_eq!(prune(""), "");
    }

    #[test]
    fn names_are_short() {
        let cases = [
            ("neraca::active::Active<T>::transfer", "neraca::active::Active::transfer"),
            ("<a::Stream as a::Transport>::write", "a::Transport::write"),
            ("tcp_sendmsg_[k]", "tcp_sendmsg_[k]"),
            ("<x>", "<x>"),
        ];
        for (name, expected) in cases {
            assert_eq!(short(name), expected);
        }
    }
}
