"""What the daemon counts about itself, in a registry of its own."""

from __future__ import annotations

import importlib.metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Meters:
    """Counters of one daemon; see docs/metrics.md for names and units.

    Args:
        registry: where they are registered; the process-wide default one would be state shared between daemons.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(namespace="steersman", registry=registry)
        info = Gauge("steersman_daemon_info", "The daemon that answers here.", ["version"], registry=registry)
        info.labels(importlib.metadata.version("steersman")).set(1)
        self.agents = Gauge("steersman_agents_connected", "Open telemetry streams.", registry=registry)
        self.rows = Counter("steersman_ingest_rows", "Samples taken in.", registry=registry)
        batches = Counter("steersman_ingest_batches", "Batches by what became of them.", ["outcome"], registry=registry)
        self.taken = batches.labels("taken")
        self.duplicate = batches.labels("duplicate")
        self.refused = batches.labels("refused")
        self.lag = Histogram(
            "steersman_ingest_lag_seconds",
            "From a batch's last sample to its commit.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
            registry=registry,
        )
        self.engine = Histogram(
            "steersman_engine_seconds",
            "Time in features and rules, per batch.",
            buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
            registry=registry,
        )
        self.commit = Histogram(
            "steersman_store_commit_seconds",
            "One transaction.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=registry,
        )
        self.store_failures = Counter(
            "steersman_store_failures", "Transactions that could not be written and are tried again.", registry=registry
        )
        self.rules = Gauge("steersman_rules_loaded", "Rules in force.", registry=registry)
