//! What `grade` and `capacity` share: the choice of the balancers, and the results of earlier runs.

use std::path::PathBuf;

use crate::plans::build::ordinary;
use crate::plans::given::Given;
use crate::plans::model::{Cell, Target, TargetKind, What};
use crate::plans::targets::{self, ASYNC, THREAD};
use crate::run::doctor;
use crate::run::manifest::Setting;

/// The measured balancers when the user gives none.
const BUILT_IN: [&str; 4] = [THREAD, ASYNC, "haproxy", "nginx"];

/// The arguments that choose the balancers.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    #[command(flatten)]
    given: Given,
    /// Only these balancers [default: every --target; without --target: thread, async, haproxy and nginx]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// The program under test
    #[arg(long, value_name = "FILE", default_value = "target/release/neraca")]
    pub(crate) neraca: PathBuf,
}

impl Choice {
    /// Checks the machine. Returns the chosen balancers, which are those of the user or the built-in ones, and the setting.
    pub(crate) fn examine(&self) -> Result<(Vec<Target>, Setting), String> {
        let setting = doctor::examine(&self.neraca, None).setting;
        let only = &self.only;
        let user = self.given.targets()?;
        let has_own = user.iter().any(|target| target.what == What::Balancer);
        let mut all = targets::with(user)?;
        let is_installed = |tool: &String| setting.tools.contains_key(tool);
        all.retain(|target| target.what == What::Balancer && target.needs.as_ref().is_none_or(is_installed));
        if let Some(wrong) = only.iter().find(|name| all.iter().all(|target| target.id != **name)) {
            let known: Vec<&str> = all.iter().map(|target| target.id.as_str()).collect();
            return Err(format!("--only {wrong:?}: expected one of {}", known.join(", ")));
        }
        all.retain(|target| match only.is_empty() {
            true if has_own => target.kind == TargetKind::User,
            true => BUILT_IN.contains(&target.id.as_str()),
            false => only.contains(&target.id),
        });
        Ok((all, setting))
    }
}

/// Puts the results of an earlier run before the new results, without those of balancers that are measured again.
pub(crate) fn keep_earlier<T>(results: &mut Vec<T>, mut earlier: Vec<T>, name: fn(&T) -> &str) {
    earlier.retain(|old| results.iter().all(|new| name(new) != name(old)));
    results.splice(0..0, earlier);
}

/// The request of every measurement: 50 connections of wrk, 128 bytes. Our own client has half a second of warm-up.
pub(crate) fn cell() -> Cell {
    Cell { connections: 50, warm_s: 0.5, seconds: 2.0, ..ordinary("graded") }
}
