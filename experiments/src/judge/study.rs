//! A run for the report: every record, derived from what was measured, with all gates.

use std::collections::BTreeMap;

use itertools::Itertools;
use sha2::{Digest, Sha256};

use crate::judge::gates;
use crate::judge::measure::Measure;
use crate::judge::record::{Gate, Judged, Load, Record, Validity, load};
use crate::judge::stats::{Ratio, median};
use crate::plans::model::{Cell, Plan, Section, Target, TargetKind};
use crate::run::manifest::Manifest;
use crate::run::raw::{Found, Raw};

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
    pub(crate) fn new(manifest: Manifest, plan: Plan, raws: Vec<Raw>, text: &str) -> Result<Study, String> {
        let mut measured: BTreeMap<usize, Raw> = raws.into_iter().map(|raw| (raw.cell.seq, raw)).collect();
        let (mut records, mut missing) = (Vec::new(), Vec::new());
        for cell in &plan.cells {
            match measured.remove(&cell.seq) {
                Some(raw) if raw.cell == *cell => records.push(gates::judge(raw)),
                Some(raw) => return Err(format!("{}: this cell is not the one of the plan", raw.cell.id)),
                None => missing.push(cell.clone()),
            }
        }
        let raw_sha256 = hex::encode(Sha256::digest(text));
        let mut study = Study { manifest, plan, records, missing, raw_sha256 };
        let mut across = gates::across(&study.records);
        for record in &mut study.records {
            record.gates.extend(across.remove(&record.cell.seq).unwrap_or_default());
        }
        Ok(study)
    }

    pub(crate) fn target(&self, id: &str) -> Option<&Target> {
        self.plan.targets.iter().find(|target| target.id == id)
    }

    /// Returns the title of a target. The title of a change contains its baseline.
    pub(crate) fn title(&self, id: &str) -> String {
        let Some(target) = self.target(id) else { return id.to_owned() };
        match (target.kind, &target.baseline) {
            (TargetKind::Variant | TargetKind::Ablation, Some(of)) => format!("{of}: {}", target.title),
            _ => target.title.clone(),
        }
    }

    /// Groups the repetitions of cells, in the order of the targets in the plan, then of the load. The same target
    /// under the same load is one group, also when several sections of the plan measured it.
    pub(crate) fn groups(&self, of: impl Fn(&Cell) -> bool) -> Vec<Group<'_>> {
        let cells = self.records.iter().map(|record| &record.cell).filter(|cell| of(cell));
        let cells = cells.unique_by(|cell| (&cell.target, cell.load()));
        let place = |id: &str| self.plan.targets.iter().position(|target| target.id == id);
        cells
            .filter_map(|cell| Some(Group { cell, ..self.twin(cell, &cell.target)? }))
            .sorted_by_key(|Group { cell, .. }| (cell.section, place(&cell.target), cell.load()))
            .collect()
    }

    pub(crate) fn section(&self, section: Section) -> Vec<Group<'_>> {
        self.groups(|cell| cell.section == section)
    }

    /// Returns the groups of the heaviest load of the first of these sections that was measured.
    pub(crate) fn heaviest(&self, sections: &[Section]) -> Vec<Group<'_>> {
        let of = |section: &Section| {
            let load = |group: &Group<'_>| (group.cell.connections, group.cell.threads);
            let mut groups = self.section(*section).into_iter().max_set_by_key(load);
            groups.retain(|group| group.loads().next().is_some());
            (!groups.is_empty()).then_some(groups)
        };
        sections.iter().find_map(of).unwrap_or_default()
    }

    /// Returns the group of a target with the load of a cell.
    pub(crate) fn twin(&self, load: &Cell, target: &str) -> Option<Group<'_>> {
        let is_it = |record: &&Record| record.cell.target == target && record.cell.load() == load.load();
        let runs: Vec<&Record> = self.records.iter().filter(is_it).collect();
        Some(Group { cell: &runs.first()?.cell, target: self.target(target)?, runs })
    }
}

/// The values of a measure by section and block.
pub(crate) type Blocks = BTreeMap<(Section, usize), f64>;

pub(crate) fn by_block<'a>(runs: impl IntoIterator<Item = &'a Record>, measure: Measure) -> Blocks {
    let value = |run: &Record| Some(((run.cell.section, run.cell.block), measure(run)?));
    runs.into_iter().filter_map(value).collect()
}

/// Divides values, in each block that has both.
pub(crate) fn quotients(values: Blocks, by: &Blocks) -> Blocks {
    values.into_iter().filter_map(|(block, value)| Some((block, value / by.get(&block)?))).collect()
}

/// The same measurement, once or repeated.
#[derive(Debug, Clone)]
pub(crate) struct Group<'a> {
    /// The first cell with this load, of the section that was asked for.
    pub(crate) cell: &'a Cell,
    pub(crate) target: &'a Target,
    pub(crate) runs: Vec<&'a Record>,
}

impl<'a> Group<'a> {
    /// Returns the runs that count. The rule does not look at the result: a run counts unless it could not be measured,
    /// or the machine was busy with something else (gate G7).
    pub(crate) fn counted(&self) -> impl Iterator<Item = &'a Record> {
        let is_busy = |run: &Record| run.gates.get(&Gate::G7).is_some_and(|(of, _)| *of == Validity::Invalid);
        let is_measured = |run: &Record| matches!(run.found, Found::Load(_) | Found::Handshakes(_));
        self.runs.iter().copied().filter(move |run| is_measured(run) && !is_busy(run))
    }

    /// Returns the ratio of a measure to that of another group, in each block of a section in which both count.
    pub(crate) fn ratios(&self, other: &Group<'_>, measure: Measure) -> Blocks {
        quotients(by_block(self.counted(), measure), &by_block(other.counted(), measure))
    }

    /// Returns the ratio of a measure to that of another group, over these blocks.
    pub(crate) fn against(&self, other: &Group<'_>, measure: Measure) -> Option<Ratio> {
        Ratio::of_blocks(self.ratios(other, measure).into_values())
    }

    /// Returns the runs that count. If there are none, returns all runs; they are shown with a mark.
    pub(crate) fn shown(&self) -> Vec<&'a Record> {
        let counted: Vec<&Record> = self.counted().collect();
        if counted.is_empty() { self.runs.clone() } else { counted }
    }

    pub(crate) fn loads(&self) -> impl Iterator<Item = Load<'a>> {
        self.shown().into_iter().filter_map(load)
    }

    /// Returns the value of each shown run.
    pub(crate) fn values(&self, measure: impl Fn(&Record) -> Option<f64>) -> Vec<f64> {
        self.shown().into_iter().filter_map(measure).filter(|value| value.is_finite()).collect()
    }

    /// Returns the median over the shown runs.
    pub(crate) fn median(&self, measure: Measure) -> Option<f64> {
        median(self.values(measure))
    }

    /// True when the group may be ranked: most of its runs pass every gate, and at most one request in a thousand failed
    /// over all of them.
    pub(crate) fn is_ranked(&self) -> bool {
        let shown = self.shown();
        let invalid = shown.iter().filter(|record| record.validity() == Validity::Invalid).count();
        let sum = |of: fn(Load<'_>) -> u64| self.loads().map(of).sum::<u64>();
        let (failed, requests) = (sum(|load| load.failures().total()), sum(|load| load.client.requests));
        invalid * 2 < shown.len() && failed * 1000 <= requests + failed
    }

    /// Returns the mark for the table: `yes`, `yes, see G1 G5` or `NO: G4`, and the number of repetitions left out. A
    /// gate that failed in a few runs is a remark. A remark of a `common` gate is not mentioned.
    pub(crate) fn mark(&self, common: &[Gate]) -> String {
        let (shown, is_ranked) = (self.shown(), self.is_ranked());
        let least = if is_ranked { Validity::Note } else { Validity::Invalid };
        let is_told = |(gate, (verdict, _)): &(&Gate, &Judged)| {
            *verdict >= least && !(is_ranked && common.contains(gate))
        };
        let told: BTreeMap<_, _> = shown.iter().flat_map(|run| &run.gates).filter(is_told).collect();
        let names = told.keys().map(|gate| format!("{gate:?}")).join(" ");
        let mut text = match (is_ranked, names.as_str()) {
            (false, "") => "NO: not measured".to_owned(),
            (false, names) => format!("NO: {names}"),
            (true, "") => "yes".to_owned(),
            (true, names) => format!("yes, see {names}"),
        };
        if shown.len() < self.runs.len() {
            text += &format!(" ({} of {} runs)", shown.len(), self.runs.len());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::measure;
    use crate::judge::synthetic::Run;
    use crate::plans::{build, targets};

    fn study_of(cells: &[(Section, &str, usize)]) -> Study {
        let cells = cells.iter().enumerate();
        let cell = |(seq, &(section, target, block))| Cell { seq, section, block, ..build::ordinary(target) };
        Run::of(build::of_cells("part", targets::all(), cells.map(cell).collect())).study()
    }

    #[test]
    fn one_load_is_one_group_and_pairs_stay_within_a_block() {
        use Section::{Assignment, Peers};
        let cells =
            [(Assignment, "thread", 0), (Assignment, "async", 0), (Peers, "thread", 0), (Peers, "async", 1)];
        let study = study_of(&cells);
        for section in [Assignment, Peers] {
            let runs: Vec<_> = study.section(section).iter().map(|group| group.runs.len()).collect();
            assert_eq!(runs, [2, 2], "{section:?}");
        }
        let groups = study.section(Assignment);
        // The block of the peers has only one of the two.
        assert_eq!(groups[1].against(&groups[0], measure::rate).unwrap().blocks.len(), 1);
    }

    #[test]
    fn every_run_counts_unless_the_machine_was_busy() {
        let cells: Vec<_> = (0..4).map(|block| (Section::Assignment, "thread", block)).collect();
        let mut study = study_of(&cells);
        study.records.iter_mut().for_each(|record| record.gates.clear());
        // A gate that looks at the result does not select; a gate about the machine does.
        for (record, gate) in study.records.iter_mut().zip([Gate::G8, Gate::G7]) {
            record.gates.insert(gate, (Validity::Invalid, "x".into()));
        }
        let group = &study.section(Section::Assignment)[0];
        assert_eq!((group.shown().len(), group.is_ranked()), (3, true));
        assert_eq!(group.mark(&[]), "yes, see G8 (3 of 4 runs)");
    }
}
