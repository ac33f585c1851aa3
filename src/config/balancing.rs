//! The settings of a cluster, from the arguments.
use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::{TIMEOUT_MS, within};
use super::cli::{BalanceArguments, CheckArguments};
use super::error::ConfigError;
use super::value::CheckKind;
use crate::cluster::{
    CheckRequest, CheckSettings, ClusterSettings, HealthSettings, RetrySettings, StickySettings,
};

const PERCENT: RangeInclusive<u64> = 0..=100;
const SLOW_START_MS: RangeInclusive<u64> = 0..=86_400_000;
const PORT: RangeInclusive<u64> = 1..=65_535;
const STATUS: RangeInclusive<u64> = 200..=599;
const CHECKS: RangeInclusive<u64> = 1..=1000;
const QUEUE: RangeInclusive<u64> = 0..=10_000_000;
const RETRIES: RangeInclusive<u64> = 0..=1_000_000;

/// Returns the settings of the cluster.
pub(super) fn cluster(written: &BalanceArguments) -> Result<ClusterSettings, ConfigError> {
    let health = &written.health;
    let ms = |argument, n, range| within(argument, n, range).map(Duration::from_millis);
    let percent = |argument, n| within(argument, n, PERCENT).map(|n| n as u32);
    Ok(ClusterSettings {
        policy: written.policy.clone(),
        health: HealthSettings {
            passive: !health.no_ejection,
            ejection: ms("--ejection-ms <MS>", health.ejection_ms, TIMEOUT_MS)?,
            ejection_max: ms("--ejection-max-ms <MS>", health.ejection_max_ms, TIMEOUT_MS)?,
            ejected_max_percent: percent("--ejected-max-percent <PERCENT>", health.ejected_max_percent)?,
            panic_percent: percent("--panic-percent <PERCENT>", health.panic_percent)?,
            slow_start: ms("--slow-start-ms <MS>", health.slow_start_ms, SLOW_START_MS)?,
        },
        retries: RetrySettings {
            percent: percent("--retry-percent <PERCENT>", health.retry_percent)?,
            per_second: within("--retries-per-second <N>", health.retries_per_second, RETRIES)? as u32,
            answers: health.retry_answers,
        },
        waiting_max: within("--queue <N>", written.backend_limits.queue, QUEUE)? as usize,
        idle_timeout: ms(
            "--backend-idle-timeout-ms <MS>",
            written.backend_limits.backend_idle_timeout_ms,
            TIMEOUT_MS,
        )?,
        sticky: written
            .sticky
            .clone()
            .zip(written.sticky_key)
            .map(|(name, key)| StickySettings { name, key }),
    })
}

/// Returns the settings of active checks.
pub(super) fn checks(written: &CheckArguments) -> Result<Option<CheckSettings>, ConfigError> {
    let Some(kind) = &written.check else { return Ok(None) };
    let ms = |argument, n| within(argument, n, TIMEOUT_MS).map(Duration::from_millis);
    let port = written.check_port.map(|n| within("--check-port <PORT>", n, PORT)).transpose()?;
    let status = written.check_status.map(|n| within("--check-status <STATUS>", n, STATUS)).transpose()?;
    let request = match kind {
        CheckKind::Http(path) => Some(CheckRequest {
            path: path.clone(),
            host: written.check_host.clone(),
            status: status.map(|status| status as u16),
            contains: written.check_contains.clone(),
        }),
        CheckKind::Tcp => None,
    };
    let of_http = [
        (status.is_some(), "--check-status <STATUS>"),
        (written.check_contains.is_some(), "--check-contains <TEXT>"),
        (written.check_host.is_some(), "--check-host <HOST>"),
    ];
    if let (CheckKind::Tcp, Some((_, argument))) = (kind, of_http.into_iter().find(|(given, _)| *given)) {
        let tip = "use '--check /PATH' to look at a response";
        return Err(ConfigError::Conflict { argument, with: "--check tcp", tip });
    }
    Ok(Some(CheckSettings {
        request,
        port: port.map(|port| port as u16),
        interval: ms("--check-interval-ms <MS>", written.check_interval_ms)?,
        timeout: ms("--check-timeout-ms <MS>", written.check_timeout_ms)?,
        rise: within("--check-rise <N>", written.check_rise, CHECKS)? as u32,
        fall: within("--check-fall <N>", written.check_fall, CHECKS)? as u32,
        initially_up: !written.check_first,
    }))
}
