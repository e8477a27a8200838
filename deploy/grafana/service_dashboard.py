"""The dashboard *service*: rate, errors and duration, lag, micro-batches and the machine."""

from __future__ import annotations

from panel_parts import Panel, heat_map, row, stat, table, time_series
from promql import WORKER, mean, quantile, rate

RECORDS = "innerloop_records_total"
LATENCY = "innerloop_event_to_recommendation_seconds"
LATE_LABELS = WORKER + ', le="0.25"'


def service() -> list[Panel]:
    """Rate, errors, duration; lag; and what the machine does."""
    return [*_at_a_glance(), *_red(), *_batches(), *_machine()]


def _at_a_glance() -> list[Panel]:
    """The numbers at the top."""
    within = f"sum({rate(LATENCY + '_bucket', LATE_LABELS)}) / sum({rate(LATENCY + '_count')})"
    return [
        stat("Events per second", f"sum({rate(RECORDS)})", "short"),
        stat("Answered within 0.25 s", within, "percentunit"),
        stat("Records that wait", f"sum(innerloop_consumer_lag_records{{{WORKER}}})", "short"),
        stat("Workers ready", f"sum(innerloop_ready{{{WORKER}}})", "short"),
    ]


def _red() -> list[Panel]:
    """Rate, errors and duration; lag."""
    return [
        row("Rate, errors, duration"),
        time_series(
            "Records by what became of them",
            {"{{outcome}}": f"sum by (outcome) ({rate(RECORDS)})"},
            "short",
            "Per second. All but `applied` are answered with nothing.",
        ),
        time_series(
            "Event to recommendation",
            {f"p{q}": quantile(q / 100, LATENCY) for q in (50, 95, 99)},
            "s",
            "From the record's timestamp to the acknowledgement of what answers it.",
        ),
        heat_map(
            "Event to recommendation, all of them",
            f"sum by (le) (increase({LATENCY}_bucket{{{WORKER}}}[$__rate_interval]))",
            "s",
        ),
        time_series(
            "Records that wait, by worker",
            {"{{instance}}": f"sum by (instance) (innerloop_consumer_lag_records{{{WORKER}}})"},
            "short",
            "As of each worker's latest fetch: one that is stuck or gone does not tell.",
        ),
    ]


def _batches() -> list[Panel]:
    """Micro-batches and their stages."""
    return [
        row("Micro-batches"),
        time_series(
            "Time by stage",
            {"{{stage}}": f"sum by (stage) ({rate('innerloop_stage_seconds_sum')})"},
            "s",
            "Seconds per second, all workers together.",
        ),
        time_series(
            "Stage, p99",
            {"{{stage}}": quantile(0.99, "innerloop_stage_seconds", "le, stage")},
            "s",
        ),
        time_series(
            "Size of micro-batches",
            {
                "records, mean": mean("innerloop_batch_records"),
                "records, p95": quantile(0.95, "innerloop_batch_records"),
                "users, mean": mean("innerloop_batch_users"),
                "rounds, mean": mean("innerloop_batch_rounds"),
            },
            "short",
        ),
        time_series(
            "Since the loop came round",
            {
                "{{instance}}": f"time() - innerloop_loop_round_timestamp_seconds{{{WORKER}}} "
                f"and innerloop_loop_round_timestamp_seconds{{{WORKER}}} > 0"
            },
            "s",
            "Well under a second in a healthy worker; nothing while it starts.",
        ),
    ]


def _machine() -> list[Panel]:
    """Processes, users and models."""
    return [
        row("Machine"),
        time_series(
            "CPU",
            {"{{job}} {{instance}}": rate("process_cpu_seconds_total", 'job=~"innerloop-.*"')},
            "short",
            "Cores.",
        ),
        time_series(
            "Memory",
            {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"innerloop-.*"}'},
            "bytes",
            "Resident in main memory; not the device's.",
        ),
        time_series(
            "Users",
            {
                "on the device": f"sum(innerloop_users_resident{{{WORKER}}})",
                "stored": f"sum(innerloop_users_stored{{{WORKER}}})",
                "owed an answer": f"sum(innerloop_users_owed{{{WORKER}}})",
            },
            "short",
        ),
        table("Models and devices", f"innerloop_model_info{{{WORKER}}}"),
    ]
