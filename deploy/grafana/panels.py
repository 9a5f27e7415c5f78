"""What the dashboard shows: the fleet, its jobs, and the daemon itself."""

from __future__ import annotations

from typing import Any

from panel import Panel

# A state timeline colours numbers, so a state becomes the number of its place in this list.
STATES = (
    ("starting", "blue"),
    ("running", "green"),
    ("silent", "orange"),
    ("finished", "semi-dark-green"),
    ("failed", "red"),
    ("killed", "dark-red"),
    ("lost", "purple"),
    ("detached", "gray"),
)


def _steps(*steps: tuple[float | None, str]) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def _column(name: str, **properties: Any) -> dict[str, Any]:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


_LOG = {"custom": {"scaleDistribution": {"type": "log", "log": 10}, "spanNulls": False}}
_LINE = {"custom": {"spanNulls": False}}
_STEP_LINES = {"custom": {"lineInterpolation": "stepAfter", "spanNulls": False}}
_COUNT = {"decimals": 0, "min": 0, **_STEP_LINES}
_STAT = {"colorMode": "background", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
_TIMELINE = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8, "legend": {"showLegend": False}}

_STATE = " or ".join(
    f'steersman_job_state{{job=~"$job",state="{name}"}} * {n}' for n, (name, _) in enumerate(STATES, 1)
)
_STATE_NAMES = [
    {
        "type": "value",
        "options": {str(n): {"text": name, "color": color} for n, (name, color) in enumerate(STATES, 1)},
    }
]

FLEET = (
    Panel(
        "Daemon",
        "Whether the daemon answers Prometheus.",
        (('max(up{job="steersman"})', ""),),
        kind="stat",
        width=3,
        height=4,
        instant=True,
        defaults={
            "mappings": [{"type": "value", "options": {"0": {"text": "down"}, "1": {"text": "up"}}}],
            "thresholds": _steps((None, "red"), (1, "green")),
        },
        options=_STAT,
    ),
    Panel(
        "Running",
        "Jobs that send samples.",
        (('sum(steersman_jobs{state="running"})', ""),),
        kind="stat",
        width=3,
        height=4,
        instant=True,
        defaults={"thresholds": _steps((None, "blue"))},
        options=_STAT,
    ),
    Panel(
        "Silent",
        "Jobs that have neither ended nor sent a sample for longer than their step takes.",
        (('sum(steersman_jobs{state="silent"})', ""),),
        kind="stat",
        width=3,
        height=4,
        instant=True,
        defaults={"thresholds": _steps((None, "green"), (1, "orange"))},
        options=_STAT,
    ),
    Panel(
        "Jobs with critical findings",
        "Diverged or not finite.",
        (('count(max by (job) (steersman_job_finding{severity="critical"}) == 1) or vector(0)', ""),),
        kind="stat",
        width=3,
        height=4,
        instant=True,
        defaults={"thresholds": _steps((None, "green"), (1, "red"))},
        options=_STAT,
    ),
    Panel(
        "Adjustments that wait for a person",
        "`steersman approve` or `reject` them; proposals expire.",
        (("sum(steersman_job_adjustments_waiting) or vector(0)", ""),),
        kind="stat",
        width=3,
        height=4,
        instant=True,
        defaults={"thresholds": _steps((None, "green"), (1, "orange"))},
        options=_STAT,
    ),
    Panel(
        "Jobs by state",
        "All jobs that the daemon knows.",
        (("sum by (state) (steersman_jobs) > 0", "{{state}}"),),
        kind="bargauge",
        width=9,
        height=4,
        instant=True,
        defaults={"thresholds": _steps((None, "blue"))},
        options={"orientation": "horizontal", "displayMode": "basic", "reduceOptions": {"calcs": ["lastNotNull"]}},
    ),
    Panel(
        "Jobs",
        "One row a job. `effective LR`: the largest of its groups; `recommended LR`: what the diagnosis would use.",
        (
            ('max by (job, host, policy) (steersman_job_info{job=~"$job"})', ""),
            ('max by (job) (steersman_job_step{job=~"$job"})', ""),
            ('max by (job) (steersman_job_steps_per_second{job=~"$job"})', ""),
            ('max by (job) (steersman_job_loss{job=~"$job"})', ""),
            ('max by (job) (steersman_job_learning_rate{job=~"$job"})', ""),
            ('max by (job) (steersman_job_recommended_learning_rate{job=~"$job"})', ""),
            ('max by (job, verdict) (steersman_job_diagnosis{job=~"$job"} == 1)', ""),
            (f"sum by (job) ({_STATE})", ""),
        ),
        kind="table",
        width=24,
        height=8,
        instant=True,
        overrides=(
            _column("state", mappings=_STATE_NAMES, custom__cellOptions={"type": "color-text"}),
            _column("steps/s", decimals=1),
            _column("loss", decimals=4),
            _column("effective LR", unit="sci"),
            _column("recommended LR", unit="sci"),
        ),
        options={"sortBy": [{"displayName": "job"}]},
        transformations=(
            {"id": "joinByField", "options": {"byField": "job", "mode": "outer"}},
            {
                "id": "organize",
                "options": {
                    # The table's columns of time say nothing, and 1 of info and diagnosis only carries labels.
                    "excludeByName": {f"Time {n}": True for n in range(1, 9)} | {"Value #A": True, "Value #G": True},
                    "indexByName": {
                        name: n
                        for n, name in enumerate(
                            (
                                "job",
                                "Value #H",
                                "verdict",
                                "Value #B",
                                "Value #C",
                                "Value #D",
                                "Value #E",
                                "Value #F",
                                "policy",
                                "host",
                            )
                        )
                    },
                    "renameByName": {
                        "verdict": "diagnosis",
                        "Value #B": "step",
                        "Value #C": "steps/s",
                        "Value #D": "loss",
                        "Value #E": "effective LR",
                        "Value #F": "recommended LR",
                        "Value #H": "state",
                    },
                },
            },
        ),
    ),
    Panel(
        "State",
        "Each job's state over time.",
        ((f"sum by (job) ({_STATE})", "{{job}}"),),
        kind="state-timeline",
        defaults={"mappings": _STATE_NAMES},
        options=_TIMELINE,
    ),
    Panel(
        "Diagnosis",
        "The one cause that best explains what is firing, by job.",
        (('max by (job, verdict) (steersman_job_diagnosis{job=~"$job"} == 1)', "{{job}}: {{verdict}}"),),
        kind="state-timeline",
        defaults={"mappings": [{"type": "value", "options": {"1": {"text": "diagnosed", "color": "orange"}}}]},
        options=_TIMELINE,
    ),
)

JOB = (
    Panel(
        "Loss",
        "Training loss, smoothed with a half-life of 8 points.",
        (('steersman_job_loss{job=~"$job"}', "{{job}}"),),
        defaults=_LINE,
    ),
    Panel(
        "Validation loss",
        "Last value of each validation set.",
        (('steersman_job_val_loss{job=~"$job"}', "{{job}} {{set}}"),),
        defaults=_LINE,
    ),
    Panel(
        "Gradient norm",
        "L2 norm before clipping, on a logarithmic axis.",
        (('steersman_job_grad_norm{job=~"$job"}', "{{job}}"),),
        defaults=_LOG,
    ),
    Panel(
        "Learning rate",
        "What the optimizer steps with, by parameter group, and what the diagnosis would use, dashed.",
        (
            ('steersman_job_learning_rate{job=~"$job"}', "{{job}} group {{group}}"),
            ('steersman_job_recommended_learning_rate{job=~"$job"}', "{{job}} recommended"),
        ),
        unit="sci",
        defaults=_LOG,
        overrides=(
            {
                "matcher": {"id": "byRegexp", "options": "/ recommended$/"},
                "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}}],
            },
        ),
    ),
    Panel(
        "Overlay",
        "Factor that Steersman lays on the job's own learning rate; 1 is none.",
        (('steersman_job_overlay_factor{job=~"$job"}', "{{job}}"),),
        defaults=_STEP_LINES,
    ),
    Panel(
        "Steps per second",
        "Optimizer steps of the slowest rank over the last minute.",
        (('steersman_job_steps_per_second{job=~"$job"}', "{{job}}"),),
        defaults={"min": 0, **_LINE},
    ),
    Panel(
        "Findings",
        "Rules that fire. A rule that never fired has no line.",
        (('max by (job, rule) (steersman_job_finding{job=~"$job"})', "{{job}}: {{rule}}"),),
        kind="state-timeline",
        defaults={
            "mappings": [
                {
                    "type": "value",
                    "options": {"0": {"text": "resolved", "color": "green"}, "1": {"text": "firing", "color": "red"}},
                }
            ]
        },
        options=_TIMELINE,
    ),
    Panel(
        "Confidence of the diagnosis",
        "0 to 1.",
        (('steersman_job_diagnosis_confidence{job=~"$job"}', "{{job}}"),),
        unit="percentunit",
        defaults={"min": 0, "max": 1, **_LINE},
    ),
    Panel(
        "Adjustments",
        "How many entered each state, and how many wait for a person.",
        (
            ('sum by (job, state) (steersman_job_adjustments_total{job=~"$job"})', "{{job}} {{state}}"),
            ('steersman_job_adjustments_waiting{job=~"$job"}', "{{job}} waiting"),
        ),
        defaults=_COUNT,
    ),
    Panel(
        "Time since the last sample",
        "A job that hangs climbs here until it is called silent.",
        (('time() - max by (job) (steersman_job_last_sample_timestamp_seconds{job=~"$job"})', "{{job}}"),),
        unit="s",
        defaults={"min": 0, **_LINE},
    ),
    Panel(
        "Rows stored",
        "Samples a second, all ranks.",
        (('rate(steersman_job_rows_total{job=~"$job"}[$__rate_interval])', "{{job}}"),),
        unit="cps",
        defaults={"min": 0, **_LINE},
    ),
    Panel(
        "Rows lost",
        "Samples that probe or agent had to drop.",
        (('increase(steersman_job_rows_lost_total{job=~"$job"}[$__rate_interval])', "{{job}}"),),
        defaults=_COUNT,
    ),
)

DAEMON = (
    Panel(
        "Ingest",
        "Samples taken in, a second.",
        (("rate(steersman_ingest_rows_total[$__rate_interval])", "rows"),),
        unit="cps",
        width=8,
        defaults={"min": 0},
    ),
    Panel(
        "Batches",
        "By what became of them: a duplicate was sent again by an agent that had missed its acknowledgement.",
        (("sum by (outcome) (rate(steersman_ingest_batches_total[$__rate_interval]))", "{{outcome}}"),),
        unit="cps",
        width=8,
        defaults={"min": 0},
    ),
    Panel(
        "Agents connected",
        "Open telemetry streams.",
        (("steersman_agents_connected", "agents"),),
        width=8,
        defaults=_COUNT,
    ),
    Panel(
        "Lag",
        "From a batch's last sample to its commit.",
        (
            (
                "histogram_quantile(0.5, sum by (le) (rate(steersman_ingest_lag_seconds_bucket[$__rate_interval])))",
                "median",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(steersman_ingest_lag_seconds_bucket[$__rate_interval])))",
                "99 %",
            ),
        ),
        unit="s",
        width=8,
        defaults={"min": 0},
    ),
    Panel(
        "Rules and commits",
        "99 % of batches spend less than this in features and rules; 99 % of transactions take less than this.",
        (
            (
                "histogram_quantile(0.99, sum by (le) (rate(steersman_engine_seconds_bucket[$__rate_interval])))",
                "features and rules",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(steersman_store_commit_seconds_bucket[$__rate_interval])))",
                "commit",
            ),
        ),
        unit="s",
        width=8,
        defaults={"min": 0},
    ),
    Panel(
        "Memory and CPU",
        "Of the daemon's process.",
        (
            ("steersman_process_resident_memory_bytes", "memory"),
            ("rate(steersman_process_cpu_seconds_total[$__rate_interval])", "CPU"),
        ),
        unit="bytes",
        width=8,
        defaults={"min": 0},
        overrides=(_column("CPU", unit="percentunit", custom__axisPlacement="right"),),
    ),
    Panel(
        "Version",
        "Of the daemon.",
        (("steersman_daemon_info", "{{version}}"),),
        kind="stat",
        width=8,
        height=4,
        instant=True,
        options={**_STAT, "textMode": "name"},
    ),
    Panel(
        "Rules in force",
        "Rules of the pack and your own.",
        (("steersman_rules_loaded", ""),),
        kind="stat",
        width=8,
        height=4,
        instant=True,
        options=_STAT,
    ),
    Panel(
        "Jobs left out",
        "Jobs that are not on the metrics page, because there are more than it has room for.",
        (("steersman_jobs_omitted", ""),),
        kind="stat",
        width=8,
        height=4,
        instant=True,
        defaults={"thresholds": _steps((None, "green"), (1, "orange"))},
        options=_STAT,
    ),
)
