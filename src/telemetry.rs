//! What is counted, and how it is exposed: the process's metrics in the OpenMetrics text form.
//!
//! Owns the names. Invariant: no label holds anything a stranger chose (no location, no phone, no text), so cardinality is
//! bounded. Imports nothing of ours.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// One label with a word of ours.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

type Counted = Family<Kind, Counter>;

/// The process's counters; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    webhooks: Counted,
    signatures: Counted,
    sends: Counted,
    messages: Counted,
    reports: Counted,
    replies: Counted,
    receipts: Counted,
    refreshes: Counted,
    limited: Counted,
    accept_seconds: Histogram,
    send_seconds: Histogram,
    queued: Gauge,
    backlog: Gauge,
    disk_free: Gauge,
    leader: Gauge,
    key_pause_seconds: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("cast_ghl");
        let family = |registry: &mut Registry, name: &str, help: &str| {
            let family = Counted::default();
            registry.register(name, help, family.clone());
            family
        };
        let webhooks = family(&mut registry, "webhooks", "Signed webhooks by answer");
        let signatures = family(&mut registry, "signatures", "Signature checks by scheme or reason of refusal");
        let sends = family(&mut registry, "sends", "Calls to Cast by outcome");
        let messages = family(&mut registry, "messages_settled", "Messages settled by state or failure code");
        let reports = family(&mut registry, "reports", "Status reports by GHL's answer");
        let replies = family(&mut registry, "replies", "Replies by what became of them");
        let receipts = family(&mut registry, "receipts", "Receipts by answer, and by what they said once matched");
        let refreshes = family(&mut registry, "token_refreshes", "Token refreshes by result");
        let limited = family(&mut registry, "rate_limited", "Calls GHL answered 429, by what they were for");
        let buckets = || exponential_buckets(0.0005, 2.0, 16);
        let accept_seconds = Histogram::new(buckets());
        registry.register_with_unit("accept", "Webhook: headers read to answer", Unit::Seconds, accept_seconds.clone());
        let send_seconds = Histogram::new(buckets());
        registry.register_with_unit("send", "Duration of a call to Cast", Unit::Seconds, send_seconds.clone());
        let queued = Gauge::default();
        registry.register("messages_open", "Unsettled messages known to the leader", queued.clone());
        let backlog = Gauge::default();
        registry.register("messages_unsettled", "Unsettled messages in the store at the last count", backlog.clone());
        let disk_free = Gauge::default();
        registry.register_with_unit(
            "disk_free",
            "Left on the embedded store's disk; 0 on MongoDB",
            Unit::Bytes,
            disk_free.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this process leads", leader.clone());
        let key_pause_seconds = Gauge::<f64, AtomicU64>::default();
        registry.register_with_unit(
            "key_pause",
            "How long the Cast key still waits",
            Unit::Seconds,
            key_pause_seconds.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            webhooks,
            signatures,
            sends,
            messages,
            reports,
            replies,
            receipts,
            refreshes,
            limited,
            accept_seconds,
            send_seconds,
            queued,
            backlog,
            disk_free,
            leader,
            key_pause_seconds,
        }))
    }
}

impl Metrics {
    /// A webhook was answered.
    pub fn webhook(&self, answer: &'static str, took: Duration) {
        count(&self.0.webhooks, answer);
        self.0.accept_seconds.observe(took.as_secs_f64());
    }

    /// A signature was checked: the scheme that verified, or why none did.
    pub fn signature(&self, kind: &'static str) {
        count(&self.0.signatures, kind);
    }

    /// Cast was called.
    pub fn send(&self, outcome: &'static str, took: Duration) {
        count(&self.0.sends, outcome);
        self.0.send_seconds.observe(took.as_secs_f64());
    }

    /// A message was settled.
    pub fn settled(&self, kind: &'static str) {
        count(&self.0.messages, kind);
    }

    /// GHL was told, or not.
    pub fn report(&self, reply: &'static str) {
        count(&self.0.reports, reply);
    }

    /// A reply moved.
    pub fn reply(&self, kind: &'static str) {
        count(&self.0.replies, kind);
    }

    /// A receipt was refused, matched or given up.
    pub fn receipt(&self, kind: &'static str) {
        count(&self.0.receipts, kind);
    }

    /// A token was refreshed, or not.
    pub fn refresh(&self, result: &'static str) {
        count(&self.0.refreshes, result);
    }

    /// GHL answered 429.
    pub fn limited(&self, call: &'static str) {
        count(&self.0.limited, call);
    }

    /// The worker's view of the queue.
    pub fn queue(&self, open: usize, pause: Duration) {
        self.0.queued.set(i64::try_from(open).unwrap_or(i64::MAX));
        self.0.key_pause_seconds.set(pause.as_secs_f64());
    }

    /// Unsettled messages in the store.
    pub fn backlog(&self, open: u64) {
        self.0.backlog.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Bytes left on the embedded store's disk.
    pub fn disk_free(&self, bytes: u64) {
        self.0.disk_free.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Whether this process leads.
    pub fn leading(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// Everything, as `/metrics` serves it.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        match encode(&mut out, &self.0.registry) {
            Ok(()) => out,
            // Writing into a string cannot fail; an empty page is the honest answer if it ever does.
            Err(_) => String::new(),
        }
    }
}

fn count(family: &Counted, kind: &'static str) {
    family.get_or_create(&Kind { kind }).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_help_and_a_count_shows() {
        let metrics = Metrics::default();
        metrics.webhook("accepted", Duration::from_millis(3));
        let page = metrics.render();
        assert!(page.contains("cast_ghl_webhooks_total{kind=\"accepted\"} 1"), "{page}");
        let types = page.lines().filter(|l| l.starts_with("# TYPE")).count();
        let helps = page.lines().filter(|l| l.starts_with("# HELP")).count();
        assert_eq!(types, helps);
    }
}
