//! What new TLS handshakes do to the requests of other clients.

use crate::judge::measure::percentile_ms;
use crate::judge::record::Record;
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio};
use crate::judge::study::{Blocks, Group, Study, quotients};
use crate::plans::model::{Cell, Handshakes, Key, Section};
use crate::plans::targets::TLS_ENGINES;
use crate::run::raw::{Found, RawHandshakes};

/// Returns what was measured beside handshakes. None for other work.
pub(crate) fn measured(record: &Record) -> Option<&RawHandshakes> {
    let Found::Handshakes(found) = &record.found else { return None };
    Some(found)
}

/// Returns the 99th percentile in milliseconds from the intended time of a request to its last byte.
pub(crate) fn p99_ms(record: &Record) -> Option<f64> {
    percentile_ms(&measured(record)?.requests.total_us, 0.99)
}

/// Returns the factor by which handshakes multiply the p99 of a group, in each block that has both cells.
pub(crate) fn growths(study: &Study, group: &Group<'_>) -> Blocks {
    let none = Some(Handshakes { key: Key::ALL[0], per_s: 0 });
    let quiet = study.twin(&Cell { handshakes: none, ..group.cell.clone() }, &group.cell.target);
    quiet.map(|quiet| group.ratios(&quiet, p99_ms)).unwrap_or_default()
}

/// The engines beside the same handshakes.
#[derive(Debug)]
pub(crate) struct Hurt {
    pub(crate) handshakes: Handshakes,
    /// Growth of the p99 in the async engine / growth in the thread engine, both with handshakes inline.
    pub(crate) ratio: Ratio,
    /// False when one of the engines failed a gate.
    pub(crate) is_ranked: bool,
}

/// Compares the engines under each load with handshakes.
pub(crate) fn hurts(study: &Study) -> Vec<Hurt> {
    let [thread, other] = TLS_ENGINES;
    let groups = study.groups(|cell| cell.section == Section::Handshakes && cell.target == thread);
    let hurt = |thread: Group<'_>| {
        let handshakes = thread.cell.handshakes.filter(|handshakes| handshakes.per_s > 0)?;
        let other = study.twin(thread.cell, other)?;
        let ratios = quotients(growths(study, &other), &growths(study, &thread));
        let is_ranked = thread.is_ranked() && other.is_ranked();
        Some(Hurt { handshakes, ratio: Ratio::of_blocks(ratios.into_values())?, is_ranked })
    };
    groups.into_iter().filter_map(hurt).collect()
}

/// Chooses the load of the verdict: with enough blocks and no failed gate, the first key, and 500 handshakes per second
/// or else the highest rate.
pub(crate) fn verdict(hurts: &[Hurt]) -> Option<&Hurt> {
    hurts.iter().max_by_key(|Hurt { handshakes: Handshakes { key, per_s }, ratio, is_ranked }| {
        let is_known = *is_ranked && ratio.blocks.len() >= ENOUGH_BLOCKS;
        (is_known, *key == Key::ALL[0], *per_s == 500, *per_s)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::Verdict;
    use crate::judge::synthetic::Run;

    #[test]
    fn the_growth_that_was_made_is_found() {
        let hurts = hurts(Run::bench());
        let load = |Hurt { handshakes: Handshakes { key, per_s }, ratio, .. }: &Hurt| {
            (*key, *per_s, ratio.blocks.len())
        };
        let expected = Key::ALL.map(|key| [(key, 100, 1), (key, 500, 6), (key, 1000, 1)]).concat();
        assert_eq!(hurts.iter().map(load).collect::<Vec<_>>(), expected);
        let hurt = verdict(&hurts).unwrap();
        assert_eq!(hurt.handshakes, Handshakes { key: Key::EcdsaP256, per_s: 500 });
        assert!(matches!(hurt.ratio.verdict(), Verdict::Faster(..)) && hurt.is_ranked);
        assert!((hurt.ratio.ratio / 1.5 - 1.0).abs() < 0.05, "{hurt:?}");
    }

    #[test]
    fn the_verdict_is_about_the_load_that_says_most() {
        let (ecdsa, rsa) = (Key::EcdsaP256, Key::Rsa2048);
        /// A key, a rate, a number of blocks, and whether the load is ranked.
        type Load = (Key, u32, usize, bool);
        let cases: [(&[Load], (Key, u32)); 6] = [
            (&[(ecdsa, 100, 4, true), (ecdsa, 500, 4, true), (ecdsa, 1000, 4, true)], (ecdsa, 500)),
            (&[(ecdsa, 100, 4, true), (ecdsa, 1000, 4, true), (rsa, 500, 9, true)], (ecdsa, 1000)),
            (&[(ecdsa, 500, 3, true), (ecdsa, 100, 4, true)], (ecdsa, 100)),
            (&[(ecdsa, 500, 9, false), (rsa, 100, 4, true)], (rsa, 100)),
            (&[(rsa, 500, 1, true), (rsa, 1000, 1, false)], (rsa, 500)),
            (&[(rsa, 7, 0, false)], (rsa, 7)),
        ];
        for (loads, expected) in cases {
            let hurt = |&(key, per_s, blocks, is_ranked): &Load| {
                let ratio = Ratio { ratio: 1.0, interval: None, blocks: vec![1.0; blocks] };
                Hurt { handshakes: Handshakes { key, per_s }, ratio, is_ranked }
            };
            let hurts: Vec<Hurt> = loads.iter().map(hurt).collect();
            let Handshakes { key, per_s } = verdict(&hurts).unwrap().handshakes;
            assert_eq!((key, per_s), expected, "{loads:?}");
        }
        assert!(verdict(&[]).is_none());
    }
}
