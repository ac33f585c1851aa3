//! The metrics of `/metrics`, as OpenMetrics.
//!
//! Labels are bounded: listeners, clusters, backends, classes of statuses, ends and failures. Nothing of a request becomes a label.
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::facts::EngineFacts;
use super::status::sum_of_retries;
use crate::cluster::{Backend, Failure};
use crate::observe::durations::Durations;
use crate::router::{NamedCluster, Router, Traffic};

/// Returns all metrics of this moment.
///
/// # Errors
/// Never: writing to a string does not fail.
pub(super) fn open_metrics(router: &Router, facts: &EngineFacts, now: Instant) -> Result<String, fmt::Error> {
    let clusters = router.clusters();
    let of_cluster = |one: &NamedCluster| {
        let members = one.cluster.members();
        let backends = members.backends().iter().map(|backend| Member {
            cluster: Arc::clone(&one.name),
            backend: Arc::clone(backend),
            is_available: backend.exclusion(now).is_none(),
        });
        backends.collect::<Vec<_>>()
    };
    let moment = Moment {
        facts: facts.clone(),
        traffic: router.traffic().unwrap_or_default(),
        backends: clusters.iter().flat_map(of_cluster).collect(),
        waiting: clusters.iter().map(|one| one.cluster.waiting()).sum(),
        retries: sum_of_retries(&clusters),
    };
    let mut registry = Registry::with_prefix("neraca");
    registry.register_collector(Box::new(moment));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// A backend of a cluster.
#[derive(Debug)]
struct Member {
    cluster: Arc<str>,
    backend: Arc<Backend>,
    /// True when the backend may get a request.
    is_available: bool,
}

impl Member {
    fn labels(&self) -> [(&'static str, String); 2] {
        [("cluster", self.cluster.to_string()), ("backend", self.backend.address().to_string())]
    }
}

/// Everything that the metrics tell of one moment.
#[derive(Debug)]
struct Moment {
    facts: EngineFacts,
    traffic: Traffic,
    backends: Vec<Member>,
    waiting: usize,
    /// Allowed and refused.
    retries: (u64, u64),
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let into = &mut encoder;
        self.requests(into)?;
        self.of_backends(into)?;
        one_gauge(into, "queue_waiting", "Requests that wait until a backend has room", self.waiting as u64)?;
        let (allowed, refused) = self.retries;
        one_counter(into, "retries", "Retries that the budget has allowed", allowed)?;
        one_counter(into, "retries_refused", "Retries that the budget has refused", refused)?;
        one_gauge(into, "ready", "1 while /ready answers 200", u64::from(self.facts.is_ready))?;
        let open = self.facts.counter("accepted").saturating_sub(self.facts.counter("closed"));
        one_gauge(into, "client_connections", "Open client connections", open)?;
        for (name, help, value) in self.facts.counters() {
            let (name, help) = (format!("engine_{name}"), help.trim_end_matches('.'));
            match name.strip_suffix("_ns") {
                Some(name) => seconds_counter(into, name, help, Duration::from_nanos(value))?,
                None => one_counter(into, &name, help, value)?,
            }
        }
        self.configuration(into)?;
        self.tls(into)?;
        if let Some(dropped) = self.facts.access_log_dropped {
            one_counter(into, "access_log_dropped", "Lines of the access log that were dropped", dropped)?;
        }
        let build = [("version", env!("CARGO_PKG_VERSION")), ("engine", self.facts.engine.as_str())];
        let mut info = into.encode_descriptor("build", "The program", None, MetricType::Info)?;
        info.encode_info(&build)
    }
}

impl Moment {
    fn requests(&self, into: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let listeners = self.traffic.listeners.iter().map(|(id, requests)| {
            let address = self.facts.listeners.iter().find(|(known, _)| known == id);
            (address.map_or_else(|| "removed".to_owned(), |(_, address)| address.to_string()), requests)
        });
        let listeners: Vec<_> = listeners.collect();
        let help = "Requests that have ended, by the class of the status and by the end";
        let mut family = into.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for (listener, requests) in &listeners {
            for (class, end, count) in requests.counts() {
                let labels = [("listener", listener.as_str()), ("code", class), ("end", end.name())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Time from the first bytes of a request to its end";
        let seconds = Some(&Unit::Seconds);
        let mut family = into.encode_descriptor("request_duration", help, seconds, MetricType::Histogram)?;
        for (listener, requests) in &listeners {
            histogram(&mut family, &[("listener", listener.as_str())], &requests.durations)?;
        }
        Ok(())
    }

    fn configuration(&self, into: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(file) = &self.facts.configuration else { return Ok(()) };
        let good = u64::from(file.error.is_none());
        one_gauge(
            into,
            "configuration_good",
            "1 while the configuration file and the certificates are those that are used",
            good,
        )?;
        let help = "Reloads of the configuration file and the certificates, by result";
        let mut family = into.encode_descriptor("configuration_reloads", help, None, MetricType::Counter)?;
        for (result, count) in [("loaded", file.loaded), ("refused", file.refused)] {
            ConstCounter::new(count).encode(family.encode_family(&[("result", result)])?)?;
        }
        Ok(())
    }

    fn tls(&self, into: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(tls) = &self.facts.tls else { return Ok(()) };
        let help = "Complete handshakes with clients, by version and kind";
        let mut family = into.encode_descriptor("tls_handshakes", help, None, MetricType::Counter)?;
        for (version, kind, count) in &tls.complete {
            let labels = [("version", *version), ("kind", *kind)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Failed handshakes with clients, by reason";
        let mut family = into.encode_descriptor("tls_handshake_failures", help, None, MetricType::Counter)?;
        for (reason, count) in &tls.failed {
            ConstCounter::new(*count).encode(family.encode_family(&[("reason", *reason)])?)?;
        }
        Ok(())
    }

    fn of_backends(&self, into: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.each(into, "backend_attempts", "Attempts that have begun", MetricType::Counter, |one, _| {
            ConstCounter::new(one.counts().started)
        })?;
        self.each(
            into,
            "backend_abandoned",
            "Attempts whose client has left",
            MetricType::Counter,
            |one, _| ConstCounter::new(one.counts().abandoned),
        )?;
        let help = "Attempts that have failed, by reason";
        let mut family = into.encode_descriptor("backend_failures", help, None, MetricType::Counter)?;
        for one in &self.backends {
            for failure in Failure::ALL {
                let [cluster, backend] = one.labels();
                let labels = [cluster, backend, ("reason", failure.to_string())];
                let count = ConstCounter::new(one.backend.counts().failed(failure));
                count.encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "1 while the backend may get a request";
        self.each(into, "backend_available", help, MetricType::Gauge, |_, is_available| {
            ConstGauge::new(i64::from(is_available))
        })?;
        self.each(into, "backend_in_flight", "Requests in flight", MetricType::Gauge, |one, _| {
            ConstGauge::new(i64::from(one.in_flight()))
        })?;
        let help = "Time from the begin of an attempt to the first byte of its response";
        let seconds = Some(&Unit::Seconds);
        let mut family = into.encode_descriptor("backend_response", help, seconds, MetricType::Histogram)?;
        for one in &self.backends {
            if let Some(durations) = self.traffic.backends.get(&one.backend.id()) {
                histogram(&mut family, &one.labels(), durations)?;
            }
        }
        Ok(())
    }

    /// Writes one number of each backend. The closure gets the backend, and whether it may get a request.
    fn each<N: EncodeMetric>(
        &self,
        into: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        kind: MetricType,
        number: impl Fn(&Backend, bool) -> N,
    ) -> fmt::Result {
        let mut family = into.encode_descriptor(name, help, None, kind)?;
        for one in &self.backends {
            number(&one.backend, one.is_available).encode(family.encode_family(&one.labels())?)?;
        }
        Ok(())
    }
}

/// Writes the histogram of these labels.
fn histogram(
    family: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    durations: &Durations,
) -> fmt::Result {
    let bound = |bound: Option<Duration>| bound.map_or(f64::MAX, |bound| bound.as_secs_f64());
    let buckets: Vec<_> = durations.counts().map(|(end, count)| (bound(end), count)).collect();
    let (sum, count) = (durations.sum().as_secs_f64(), durations.total());
    family.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

fn one_counter(into: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(into.encode_descriptor(name, help, None, MetricType::Counter)?)
}

/// Metrics have the base unit of what they measure.
fn seconds_counter(into: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: Duration) -> fmt::Result {
    let counter = ConstCounter::new(value.as_secs_f64());
    counter.encode(into.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?)
}

fn one_gauge(into: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(into.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
