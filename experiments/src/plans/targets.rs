//! The targets that can be measured: those of experiments/plans/targets.toml, and those that a user gives.

use std::collections::BTreeMap;

use itertools::Itertools;

use crate::plans::model::{Target, TargetKind};

pub(crate) const THREAD: &str = "thread";
pub(crate) const ASYNC: &str = "async";
/// The thread engine under a second name.
pub(crate) const AGAIN: &str = "thread-again";
pub(crate) const SERVE_THREAD: &str = "serve-thread";
pub(crate) const SERVE_ASYNC: &str = "serve-async";
/// nginx as a file server, without a balancer.
pub(crate) const DIRECT: &str = "nginx-direct";

/// The engines with a second listener, which has TLS.
pub(crate) const TLS_ENGINES: [&str; 2] = ["thread-tls", "async-tls"];

/// The servers behind every balancer.
pub(crate) const BACKENDS: &str = "{neraca} serve --engine async --listen 127.0.0.1:0 --listen 127.0.0.1:0 \
                                   --listen 127.0.0.1:0 --root {root} --stats {backend_stats}";

/// Returns the targets of the laboratory.
pub(crate) fn all() -> Vec<Target> {
    let file = toml::from_str(include_str!("../../plans/targets.toml"));
    let mut file: BTreeMap<String, Vec<Target>> = file.expect("a test checks targets.toml");
    file.remove("target").unwrap_or_default()
}

/// Returns the targets of the laboratory, then more targets. A target without a title is called by its id.
pub(crate) fn with(more: impl IntoIterator<Item = Target>) -> Result<Vec<Target>, String> {
    let mut all: Vec<Target> = all().into_iter().chain(more).collect();
    if let Some(Target { id, .. }) = all.iter().duplicates_by(|target| &target.id).next() {
        return Err(format!("target {id:?}: there is already a target of this name"));
    }
    for target in all.iter_mut().filter(|target| target.title.is_empty()) {
        target.title.clone_from(&target.id);
    }
    Ok(all)
}

/// Makes a target with a command, for measurements without a plan.
pub(crate) fn simple(id: &str, line: &str) -> Target {
    let command = line.split_whitespace().map(Into::into).collect();
    Target { id: id.into(), title: id.into(), kind: TargetKind::Peer, command, ..Target::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_baseline_is_a_target_and_every_name_is_one() {
        let targets = all();
        let ids: BTreeSet<&str> = targets.iter().map(|target| target.id.as_str()).collect();
        assert_eq!(ids.len(), targets.len());
        for id in [THREAD, ASYNC, AGAIN, SERVE_THREAD, SERVE_ASYNC, DIRECT].into_iter().chain(TLS_ENGINES) {
            assert!(ids.contains(id), "{id}");
        }
        for target in &targets {
            let baseline = target.baseline.as_deref().map(|id| targets.iter().find(|t| t.id == id).unwrap());
            assert!(baseline.is_none_or(|baseline| baseline.what == target.what), "{target:?}");
            let changed =
                matches!(target.kind, TargetKind::Variant | TargetKind::Ablation | TargetKind::Control);
            assert_eq!(target.baseline.is_some(), changed, "{target:?}");
        }
    }
}
