"""Writes the dashboards in deploy/grafana/dashboards: python deploy/grafana/build.py.

What is shown is said here, in `service`, `quality` and `health`; what Grafana wants around it is
made by `panel_parts`. A test compares the files with this, and asks a Prometheus every query.
"""

from __future__ import annotations

import json
from pathlib import Path

from panel_parts import Panel, dashboard, heat_map, row, stat, table, time_series

HERE = Path(__file__).parent / "dashboards"
WORKER = 'job=~"$job", instance=~"$instance"'


def rate(metric: str, labels: str = WORKER) -> str:
    """Return the rate of a counter's series, per second."""
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


def quantile(q: float, metric: str, by: str = "le", labels: str = WORKER) -> str:
    """Return a quantile of a histogram, over all processes."""
    return f"histogram_quantile({q:g}, sum by ({by}) ({rate(metric + '_bucket', labels)}))"


def mean(metric: str) -> str:
    """Return the mean of what a histogram observed."""
    return f"sum({rate(metric + '_sum')}) / sum({rate(metric + '_count')})"


def ratio(of: str, among: str, by: str = "") -> str:
    """Return the share of one counter in another; nothing where the other does not grow."""
    group = f" by ({by})" if by else ""
    return f"sum{group} ({rate(of)}) / (sum{group} ({rate(among)}) > 0)"


LATENCY = "innerloop_event_to_recommendation_seconds"
LATE_LABELS = WORKER + ', le="0.25"'


def service() -> list[Panel]:
    """Rate, errors, duration; lag; and what the machine does."""
    within = f"sum({rate(LATENCY + '_bucket', LATE_LABELS)}) / sum({rate(LATENCY + '_count')})"
    records = "innerloop_records_total"
    return [
        stat("Events per second", f"sum({rate(records)})", "short"),
        stat("Answered within 0.25 s", within, "percentunit"),
        stat("Records that wait", f"sum(innerloop_consumer_lag_records{{{WORKER}}})", "short"),
        stat("Workers ready", f"sum(innerloop_ready{{{WORKER}}})", "short"),
        row("Rate, errors, duration"),
        time_series(
            "Records by what became of them",
            {"{{outcome}}": f"sum by (outcome) ({rate(records)})"},
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


def quality() -> list[Panel]:
    """How good the recommendations are, live."""
    hits, events = "innerloop_prequential_hits_total", "innerloop_prequential_events_total"
    ranks = "innerloop_prequential_reciprocal_rank_total"
    before, after = "innerloop_support_loss_before_nats", "innerloop_support_loss_after_nats"
    tried = "innerloop_rollout_prequential"
    insights = 'job=~"innerloop-.*"'
    revenue = "innerloop_insights_revenue_per_recommendation"
    return [
        stat("Hit-rate", ratio(hits, events), "percentunit"),
        stat("MRR", ratio(ranks, events), "short"),
        stat("Adaptation gain, nats", f"{mean(before)} - {mean(after)}", "short"),
        stat("Items", f'max(innerloop_catalogue_items{{{WORKER}, state="available"}})', "short"),
        row("By how many events of the user came before"),
        time_series(
            "Hit-rate by events seen",
            {"{{events_seen}}": ratio(hits, events, "events_seen")},
            "percentunit",
            "Events on an item of the list published last for the user.",
        ),
        time_series(
            "MRR by events seen", {"{{events_seen}}": ratio(ranks, events, "events_seen")}, "short"
        ),
        time_series(
            "Hit-rate against popularity",
            {
                "innerloop": ratio(hits, events),
                "popularity": ratio("innerloop_prequential_popularity_hits_total", events),
            },
            "percentunit",
            "The same events, on the items most popular in training.",
        ),
        time_series(
            "Events scored, by events seen",
            {"{{events_seen}}": f"sum by (events_seen) ({rate(events)})"},
            "short",
            "Per second.",
        ),
        row("Adaptation"),
        time_series(
            "Support loss before and after the inner-loop step",
            {"before": mean(before), "after": mean(after)},
            "short",
            "Nats, on the event's own item. The step is to bring it down.",
        ),
        time_series(
            "Events without a step",
            {"{{cause}}": f"sum by (cause) ({rate('innerloop_events_without_step_total')})"},
            "short",
            "Per second.",
        ),
        time_series(
            "What the item memory learns",
            {"{{source}}": f"sum by (source) ({rate('innerloop_item_transitions_total')})"},
            "short",
            "Transitions per second.",
        ),
        time_series(
            "Catalogue",
            {"{{change}}": f"sum by (change) ({rate('innerloop_catalogue_records_total')})"},
            "short",
            "Records per second.",
        ),
        row("Variants"),
        time_series(
            "Hit-rate by model",
            {"{{variant}}": ratio(f"{tried}_hits_total", f"{tried}_events_total", "variant")},
            "percentunit",
            "Where workers follow plans of models (worker.follow_models).",
        ),
        time_series(
            "MRR by model",
            {
                "{{variant}}": ratio(
                    f"{tried}_reciprocal_rank_total", f"{tried}_events_total", "variant"
                )
            },
            "short",
        ),
        time_series(
            "What recommendations lead to",
            {
                "{{variant}} {{rate}}": "innerloop_insights_rate"
                f'{{{insights}, bound="estimate", rate!="hit_rate"}}'
            },
            "percentunit",
            "Share of recommendations with a click, an add-to-cart, a purchase (insights).",
        ),
        time_series(
            "Revenue per recommendation",
            {"{{variant}} {{currency}} {{bound}}": f"{revenue}{{{insights}}}"},
            "short",
            "With its confidence interval.",
        ),
        row("Drift"),
        time_series(
            "Hit-rate and its interval (insights)",
            {
                "{{variant}} {{bound}}": f'innerloop_insights_rate{{{insights}, rate="hit_rate"}}',
                "{{variant}} since the last change": "innerloop_insights_drift_hit_rate"
                f"{{{insights}}}",
            },
            "percentunit",
        ),
        time_series(
            "Changes found",
            {
                "{{variant}} {{change}}": "max by (variant, change) "
                f"(innerloop_insights_drift_changes{{{insights}}})"
            },
            "short",
        ),
    ]


def health() -> list[Panel]:
    """What goes wrong, or could, between the page and its answer."""
    everything = 'job=~"innerloop-.*"'
    collector, gateway = "innerloop_collector", "innerloop_gateway"
    return [
        stat("Alerts that fire", 'count(ALERTS{alertstate="firing"}) or vector(0)', "short"),
        stat("Processes that answer", f"sum(up{{{everything}}})", "short"),
        stat(
            "Dead letters among records",
            f"sum({rate('innerloop_dead_letters_total')}) / sum({rate('innerloop_records_total')})",
            "percentunit",
        ),
        stat(
            "Starts in the last hour",
            f"sum(changes(process_start_time_seconds{{{everything}}}[1h]))",
            "short",
        ),
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
        row("Collector and gateway"),
        time_series(
            "Collector: requests by status",
            {"{{status}}": f"sum by (status) ({rate(collector + '_requests_total', everything)})"},
            "short",
        ),
        time_series(
            "Collector: events",
            {"{{result}}": f"sum by (result) ({rate(collector + '_events_total', everything)})"},
            "short",
        ),
        time_series(
            "Collector: request, p99",
            {"{{route}}": quantile(0.99, f"{collector}_request_seconds", "le, route", everything)},
            "s",
        ),
        time_series(
            "Gateway: requests by status",
            {"{{status}}": f"sum by (status) ({rate(gateway + '_requests_total', everything)})"},
            "short",
        ),
        time_series(
            "Gateway: streams",
            {
                "open": f"sum({gateway}_open_streams{{{everything}}})",
                "{{why}}": f"sum by (why) ({rate(gateway + '_stream_ends_total', everything)})",
            },
            "short",
            "Open now; and ends per second, by why.",
        ),
        time_series(
            "Gateway: event to message, p99",
            {"p99": quantile(0.99, f"{gateway}_event_to_message_seconds", "le", everything)},
            "s",
        ),
        row("Insights and sinks"),
        time_series(
            "Insights: records",
            {
                "{{topic}} {{fate}}": "sum by (topic, fate) "
                f"({rate('innerloop_insights_records_total', everything)})"
            },
            "short",
        ),
        time_series(
            "Insights: events that wait",
            {"{{instance}}": f"innerloop_insights_pending_events{{{everything}}}"},
            "short",
        ),
        time_series(
            "Sink: records",
            {
                "{{outcome}}": "sum by (outcome) "
                f"({rate('innerloop_sink_records_total', everything)})",
                "failed writes": f"sum({rate('innerloop_sink_failed_writes_total', everything)})",
            },
            "short",
        ),
        time_series(
            "Sink: event to write, p99",
            {"p99": quantile(0.99, "innerloop_sink_event_to_write_seconds", "le", everything)},
            "s",
        ),
    ]


def dashboards() -> dict[str, str]:
    """Return the content of each file."""
    made = {
        "service": ("innerloop: service", service()),
        "model-quality": ("innerloop: model quality", quality()),
        "pipeline-health": ("innerloop: pipeline health", health()),
    }
    return {
        name: json.dumps(dashboard(f"innerloop-{name}", title, panels), indent=1) + "\n"
        for name, (title, panels) in made.items()
    }


if __name__ == "__main__":
    for file_name, text in dashboards().items():
        (HERE / f"{file_name}.json").write_text(text, encoding="utf-8")
