//! The results directory of a run: a new one, or the one of an interrupted run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use crate::plans::model::Plan;
use crate::report;
use crate::run::files::{self, MANIFEST, PACKED, PLAN, RAW};
use crate::run::manifest::Manifest;

/// The end of the name of a run that is not complete. Git ignores such a directory.
const PARTIAL: &str = "-partial";

/// Opens or makes the directory of a run. Returns the cells that are already measured.
/// Plan, binary and machine must be those of the earlier run.
pub(super) fn open(directory: &Path, plan: &Plan, manifest: &Manifest) -> Result<BTreeSet<usize>, String> {
    let (path, shown) = (directory.join(MANIFEST), directory.display());
    if !path.exists() {
        fs::create_dir_all(directory).map_err(files::said(directory))?;
        files::write_compact(&directory.join(PLAN), plan)?;
        files::write_json(&path, manifest)?;
    }
    if let Some(what) = difference(&files::read_json(&path)?, manifest) {
        return Err(format!("{shown} is a run with another {what}; remove it or give another --out"));
    }
    // An incomplete last line is removed. A packed run is unpacked, so that new lines follow the old ones.
    let text = files::raw_text(directory)?;
    let (path, packed) = (directory.join(RAW), directory.join(PACKED));
    fs::write(&path, &text).map_err(files::said(&path))?;
    if packed.exists() {
        fs::remove_file(&packed).map_err(files::said(&packed))?;
    }
    Ok(files::parse_raw(&text)?.iter().map(|raw| raw.cell.seq).collect())
}

/// Compresses a run and gives its directory the final name, which is returned.
pub(super) fn finish(directory: &Path) -> Result<PathBuf, String> {
    files::pack(directory)?;
    let name = directory.display().to_string();
    let Some(name) = name.strip_suffix(PARTIAL) else { return Ok(directory.into()) };
    // The name, then the name with 2, 3, ...
    let mut names =
        iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}-{n}"))).map(PathBuf::from);
    let complete = names.find(|directory| !directory.exists()).ok_or("no free name")?;
    fs::rename(directory, &complete).map_err(files::said(directory))?;
    Ok(complete)
}

/// Returns the difference that forbids resuming a run.
fn difference(before: &Manifest, now: &Manifest) -> Option<&'static str> {
    let is_same = before.plan_hash == now.plan_hash;
    if is_same { before.setting.difference(&now.setting) } else { Some("plan") }
}

/// Chooses the directory `<date>-<host>-partial`: an incomplete run of this plan, or a new name. A part of a plan and a
/// smoke run have names that Git ignores.
pub(super) fn choose(part: &str, plan: &Plan, manifest: &Manifest) -> Result<PathBuf, String> {
    let is_unfinished = |directory: &PathBuf| {
        let before = files::read_json::<Manifest>(&directory.join(MANIFEST));
        before.is_ok_and(|before| difference(&before, manifest).is_none()) && !directory.join(PACKED).exists()
    };
    let entries = fs::read_dir(report::RESULTS).into_iter().flatten().flatten().map(|entry| entry.path());
    if let Some(directory) = entries.filter(is_unfinished).max() {
        return Ok(directory);
    }
    let date = manifest.setting.started.get(..10).ok_or("no date")?;
    let mut name = format!("{date}-{}", manifest.setting.host.name);
    if plan.name != "bench" {
        name += &format!("-{}", plan.name.replace('/', "-"));
    }
    Ok(Path::new(report::RESULTS).join(name + part + PARTIAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    #[test]
    fn a_packed_run_that_is_resumed_keeps_what_is_measured_before_and_after() {
        let Run { manifest, plan, raws } = Run::new("smoke");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (n, raw) in raws.iter().take(4).enumerate() {
            let done = open(path, &plan, &manifest).unwrap();
            assert_eq!(done, raws.iter().take(n).map(|raw| raw.cell.seq).collect());
            files::append(path, raw).unwrap();
            assert_eq!(finish(path).unwrap(), path);
        }
    }
}
