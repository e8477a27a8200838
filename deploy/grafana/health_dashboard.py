"""The dashboard *pipeline health*: what goes wrong, or could, from the page to its answer."""

from __future__ import annotations

from panel_parts import Panel, row, stat, time_series
from promql import EVERYTHING, WORKER, quantile, rate

COLLECTOR, GATEWAY = "innerloop_collector", "innerloop_gateway"


def health() -> list[Panel]:
    """What goes wrong, or could, between the page and its answer."""
    return [*_at_a_glance(), *_workers(), *_doors(), *_insights_and_sinks()]


def _at_a_glance() -> list[Panel]:
    """The numbers at the top."""
    return [
        stat("Alerts that fire", 'count(ALERTS{alertstate="firing"}) or vector(0)', "short"),
        stat("Processes that answer", f"sum(up{{{EVERYTHING}}})", "short"),
        stat(
            "Dead letters among records",
            f"sum({rate('innerloop_dead_letters_total')}) / sum({rate('innerloop_records_total')})",
            "percentunit",
        ),
        stat(
            "Starts in the last hour",
            f"sum(changes(process_start_time_seconds{{{EVERYTHING}}}[1h]))",
            "short",
        ),
    ]


def _workers() -> list[Panel]:
    """Dead letters, rebalances, transactions, restores, plans, privacy."""
    return [
        row("Workers"),
        time_series(
            "Dead letters",
            {"{{reason}}": f"sum by (reason) ({rate('innerloop_dead_letters_total')})"},
            "short",
            "Per second. `innerloop dlq inspect` shows them.",
        ),
        time_series(
            "Partitions that came or went",
            {
                "{{how}}": "sum by (how) "
                f"(increase(innerloop_rebalanced_partitions_total{{{WORKER}}}[$__rate_interval]))"
            },
            "short",
        ),
        time_series(
            "Transactions and commits",
            {
                "{{end}}": f"sum by (end) ({rate('innerloop_transactions_total')})",
                "commits that failed": f"sum({rate('innerloop_commit_failures_total')})",
            },
            "short",
            "Per second; transactions where worker.delivery is exactly_once.",
        ),
        time_series(
            "Left to restore",
            {"{{instance}}": f"innerloop_restore_left_records{{{WORKER}}}"},
            "short",
            "Offsets of user-state before the users of new partitions are ready.",
        ),
        time_series(
            "Restores, mean duration",
            {
                "users": f"sum(innerloop_restore_seconds_sum{{{WORKER}}}) "
                f"/ sum(innerloop_restore_seconds_count{{{WORKER}}})",
                "item memory": f"sum(innerloop_item_memory_restore_seconds_sum{{{WORKER}}}) "
                f"/ sum(innerloop_item_memory_restore_seconds_count{{{WORKER}}})",
            },
            "s",
            "Since the workers' start.",
        ),
        time_series(
            "States read back",
            {"{{result}}": f"sum by (result) ({rate('innerloop_restored_states_total')})"},
            "short",
        ),
        time_series(
            "Users that move",
            {"{{move}}": f"sum by (move) ({rate('innerloop_user_moves_total')})"},
            "short",
            "Between device and store, per second; or forgotten.",
        ),
        time_series(
            "Plans of models",
            {
                "{{instance}} wanted": f"innerloop_rollout_desired_revision{{{WORKER}}}",
                "{{instance}} served": f"innerloop_rollout_revision{{{WORKER}}}",
            },
            "short",
            "Revisions.",
        ),
        time_series(
            "Privacy requests",
            {
                "{{action}} {{result}}": "sum by (action, result) "
                f"(innerloop_privacy_requests_total{{{WORKER}}})"
            },
            "short",
            "Since the workers' start.",
        ),
        time_series(
            "Users barred",
            {"{{instance}}": f"innerloop_privacy_users_barred{{{WORKER}}}"},
            "short",
            "Users erased, or who withdrew consent, of each worker's partitions.",
        ),
    ]


def _doors() -> list[Panel]:
    """Collector and gateway."""
    return [
        row("Collector and gateway"),
        time_series(
            "Collector: requests by status",
            {"{{status}}": f"sum by (status) ({rate(COLLECTOR + '_requests_total', EVERYTHING)})"},
            "short",
        ),
        time_series(
            "Collector: events",
            {"{{result}}": f"sum by (result) ({rate(COLLECTOR + '_events_total', EVERYTHING)})"},
            "short",
        ),
        time_series(
            "Collector: request, p99",
            {"{{route}}": quantile(0.99, f"{COLLECTOR}_request_seconds", "le, route", EVERYTHING)},
            "s",
        ),
        time_series(
            "Gateway: requests by status",
            {"{{status}}": f"sum by (status) ({rate(GATEWAY + '_requests_total', EVERYTHING)})"},
            "short",
        ),
        time_series(
            "Gateway: streams",
            {
                "open": f"sum({GATEWAY}_open_streams{{{EVERYTHING}}})",
                "{{why}}": f"sum by (why) ({rate(GATEWAY + '_stream_ends_total', EVERYTHING)})",
            },
            "short",
            "Open now; and ends per second, by why.",
        ),
        time_series(
            "Gateway: event to message, p99",
            {"p99": quantile(0.99, f"{GATEWAY}_event_to_message_seconds", "le", EVERYTHING)},
            "s",
        ),
    ]


def _insights_and_sinks() -> list[Panel]:
    """Insights and the sink into Redis."""
    return [
        row("Insights and sinks"),
        time_series(
            "Insights: records",
            {
                "{{topic}} {{fate}}": "sum by (topic, fate) "
                f"({rate('innerloop_insights_records_total', EVERYTHING)})"
            },
            "short",
        ),
        time_series(
            "Insights: events that wait",
            {"{{instance}}": f"innerloop_insights_pending_events{{{EVERYTHING}}}"},
            "short",
        ),
        time_series(
            "Sink: records",
            {
                "{{outcome}}": "sum by (outcome) "
                f"({rate('innerloop_sink_records_total', EVERYTHING)})",
                "failed writes": f"sum({rate('innerloop_sink_failed_writes_total', EVERYTHING)})",
            },
            "short",
        ),
        time_series(
            "Sink: event to write, p99",
            {"p99": quantile(0.99, "innerloop_sink_event_to_write_seconds", "le", EVERYTHING)},
            "s",
        ),
    ]
