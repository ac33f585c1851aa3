//! A run for the report: every record, derived from what was measured, with all gates.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::judge::derive;
use crate::judge::gates;
use crate::judge::record::{Load, Measured, Record};
use crate::judge::stats::median;
use crate::judge::verdict::{Gate, Validity};
use crate::plans::build;
use crate::plans::model::{Cell, Plan, Section, Target, TargetKind, What, Work};
use crate::run::manifest::Manifest;
use crate::run::raw::Raw;

/// All data of a run.
#[derive(Debug, Clone)]
pub(crate) struct Study {
    pub(crate) manifest: Manifest,
    pub(crate) plan: Plan,
    /// The records in the order of the run, with all gates.
    pub(crate) records: Vec<Record>,
    /// Cells of the plan that were not measured, because the run was interrupted.
    pub(crate) missing: Vec<Cell>,
    /// SHA-256 over the lines of the measured cells.
    pub(crate) raw_sha256: String,
}

impl Study {
    /// Derives and judges everything. `text` has the lines of the measured cells.
    ///
    /// # Errors
    /// When a line is of a cell that is not in the plan.
    pub(crate) fn new(manifest: Manifest, plan: Plan, raws: &[Raw], text: &str) -> Result<Study, String> {
        let mut measured: BTreeMap<usize, &Raw> = raws.iter().map(|raw| (raw.cell.seq, raw)).collect();
        let (mut records, mut missing) = (Vec::new(), Vec::new());
        for cell in &plan.cells {
            match measured.remove(&cell.seq) {
                Some(raw) if raw.cell == *cell => records.push(derive::derive(raw)),
                Some(raw) => return Err(format!("{}: this cell is not the one of the plan", raw.cell.id)),
                None => missing.push(cell.clone()),
            }
        }
        let raw_sha256 = build::hex(&Sha256::digest(text));
        let mut study = Study { manifest, plan, records, missing, raw_sha256 };
        study.judge_across();
        Ok(study)
    }

    fn judge_across(&mut self) {
        let whats: BTreeMap<&str, What> =
            self.plan.targets.iter().map(|target| (target.id.as_str(), target.what)).collect();
        let mut across = gates::across(&self.records, |id| whats.get(id).copied());
        for record in &mut self.records {
            record.gates.extend(across.remove(&record.cell.seq).unwrap_or_default());
            record.gates.sort_by_key(|result| result.gate);
            record.validity = gates::validity(&record.gates, &record.measured);
        }
    }

    pub(crate) fn target(&self, id: &str) -> Option<&Target> {
        self.plan.targets.iter().find(|target| target.id == id)
    }

    /// Returns the title of a target. The title of a change contains its baseline.
    pub(crate) fn title(&self, id: &str) -> String {
        let Some(target) = self.target(id) else { return id.to_owned() };
        match (target.kind, &target.baseline) {
            (TargetKind::Variant | TargetKind::Ablation, Some(baseline)) => {
                format!("{}: {}", baseline, target.title)
            }
            _ => target.title.clone(),
        }
    }

    pub(crate) fn what(&self, id: &str) -> Option<What> {
        self.target(id).map(|target| target.what)
    }

    pub(crate) fn kind(&self, id: &str) -> Option<TargetKind> {
        self.target(id).map(|target| target.kind)
    }

    /// Groups the repetitions of cells, in the order of the targets in the plan, then of the load.
    pub(crate) fn groups(&self, of: impl Fn(&Cell) -> bool) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for record in self.records.iter().filter(|record| of(&record.cell)) {
            match groups.iter_mut().find(|group| same_but_for_repetition(group.cell, &record.cell)) {
                Some(group) => group.runs.push(record),
                None => groups.push(Group { cell: &record.cell, runs: vec![record] }),
            }
        }
        let place = |id: &str| self.plan.targets.iter().position(|target| target.id == id);
        groups.sort_by_key(|group| {
            let c = group.cell;
            (c.section, place(&c.target), c.body_bytes, !c.keep_alive, c.delay_ms, c.connections, c.threads)
        });
        for group in &mut groups {
            group.runs.sort_by_key(|record| record.cell.block);
        }
        groups
    }

    pub(crate) fn section(&self, section: Section) -> Vec<Group<'_>> {
        self.groups(|cell| cell.section == section)
    }

    /// Returns the group of another target with the same load, in the same or another section.
    pub(crate) fn twin(&self, cell: &Cell, target: &str) -> Option<Group<'_>> {
        let wanted = Cell { target: target.into(), ..cell.clone() };
        self.groups(|other| same_but_for_repetition(&wanted, other)).into_iter().next()
    }

    /// Returns the ratios `a / b` of a measure, one per block in which both are ranked.
    pub(crate) fn paired(&self, a: &Group<'_>, b: &Group<'_>, measure: Measure) -> Vec<f64> {
        let value = |group: &Group<'_>, block: usize| {
            let record =
                group.runs.iter().find(|r| r.cell.block == block && r.validity != Validity::Invalid)?;
            measure(&record.cell, load(record)?)
        };
        let blocks = a.runs.iter().map(|record| record.cell.block);
        blocks
            .filter_map(|block| Some(value(a, block)? / value(b, block)?))
            .filter(|r| r.is_finite())
            .collect()
    }
}

/// A number of one cell.
pub(crate) type Measure = fn(&Cell, &Load) -> Option<f64>;

fn same_but_for_repetition(a: &Cell, b: &Cell) -> bool {
    (a.section, &a.target, a.connections, a.threads, a.delay_ms, a.keep_alive, &a.path, a.work)
        == (b.section, &b.target, b.connections, b.threads, b.delay_ms, b.keep_alive, &b.path, b.work)
}

pub(crate) fn load(record: &Record) -> Option<&Load> {
    match &record.measured {
        Measured::Load(load) if record.cell.work == Work::Load => Some(load),
        _ => None,
    }
}

/// The same measurement, once or repeated.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    /// The cell of the first run.
    pub(crate) cell: &'a Cell,
    pub(crate) runs: Vec<&'a Record>,
}

impl<'a> Group<'a> {
    /// Returns the runs that may be ranked. If there are none, returns all runs; they are shown with a mark.
    pub(crate) fn shown(&self) -> Vec<&'a Record> {
        let ranked: Vec<&Record> =
            self.runs.iter().copied().filter(|record| record.validity != Validity::Invalid).collect();
        if ranked.is_empty() { self.runs.clone() } else { ranked }
    }

    pub(crate) fn loads(&self) -> Vec<(&'a Cell, &'a Load)> {
        self.shown().into_iter().filter_map(|record| Some((&record.cell, load(record)?))).collect()
    }

    pub(crate) fn values(&self, measure: Measure) -> Vec<f64> {
        self.loads()
            .into_iter()
            .filter_map(|(cell, load)| measure(cell, load))
            .filter(|v| v.is_finite())
            .collect()
    }

    /// Returns the median over the shown runs.
    pub(crate) fn median(&self, measure: Measure) -> Option<f64> {
        median(&self.values(measure))
    }

    /// True when at least one run may be ranked.
    pub(crate) fn is_ranked(&self) -> bool {
        self.runs.iter().any(|record| record.validity != Validity::Invalid)
    }

    /// Returns the worst verdict of the shown runs, so that no remark is lost.
    pub(crate) fn validity(&self) -> Validity {
        self.shown().iter().map(|record| record.validity).max().unwrap_or(Validity::Invalid)
    }

    /// Returns the mark for the table: `yes`, `yes, see G1 G5` or `NO: G4`, and the number of repetitions left out.
    pub(crate) fn mark(&self) -> String {
        let shown = self.shown();
        let failed: Vec<Gate> = Gate::ALL
            .into_iter()
            .filter(|gate| {
                let bad = |record: &&Record| {
                    record.gates.iter().any(|r| r.gate == *gate && r.verdict == self.validity())
                };
                self.validity() != Validity::Valid && shown.iter().any(bad)
            })
            .collect();
        let names: Vec<String> = failed.iter().map(|gate| format!("{gate:?}")).collect();
        let mut text = match self.validity() {
            Validity::Valid => "yes".to_owned(),
            Validity::Note => format!("yes, see {}", names.join(" ")),
            Validity::Invalid if names.is_empty() => "NO: not measured".to_owned(),
            Validity::Invalid => format!("NO: {}", names.join(" ")),
        };
        if self.is_ranked() && shown.len() < self.runs.len() {
            text += &format!(" ({} of {} runs)", shown.len(), self.runs.len());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;
    use crate::plans::build::Scale;

    /// A file server has no backends, whatever the reason to measure it.
    #[test]
    fn requests_are_conserved_in_every_ablation_of_the_file_server() {
        let mut run = Run::new(Scale::Smoke);
        let idle = |raw: &mut Raw| {
            let crate::run::raw::Found::Load(load) = &mut raw.found else { return };
            // The backends of an earlier program that counts nothing.
            load.programs.backends.get_or_insert_with(|| crate::run::counters::RawCounters {
                names: vec!["served".into()],
                rows: vec![(0.5, vec![0])],
            });
        };
        run.raws.iter_mut().filter(|raw| raw.cell.target.ends_with("read-file")).for_each(idle);
        let study = run.study();
        let ablations: Vec<_> =
            study.records.iter().filter(|r| r.cell.target.ends_with("read-file")).collect();
        assert_eq!(ablations.len(), 2);
        for record in ablations {
            let conserved = record.gates.iter().find(|result| result.gate == Gate::G3).unwrap();
            assert_eq!(conserved.verdict, Validity::Valid, "{}: {}", record.cell.id, conserved.reason);
        }
    }
}
