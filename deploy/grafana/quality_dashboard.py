"""The dashboard *model quality*: hits, adaptation, variants, what came of it, drift."""

from __future__ import annotations

from panel_parts import Panel, row, stat, time_series
from promql import EVERYTHING, WORKER, mean, rate, ratio

HITS = "innerloop_prequential_hits_total"
EVENTS = "innerloop_prequential_events_total"
RANKS = "innerloop_prequential_reciprocal_rank_total"
TRIED = "innerloop_rollout_prequential"
BEFORE = "innerloop_support_loss_before_nats"
AFTER = "innerloop_support_loss_after_nats"
REVENUE = "innerloop_insights_revenue_per_recommendation"


def quality() -> list[Panel]:
    """How good the recommendations are, live."""
    return [*_at_a_glance(), *_by_events_seen(), *_adaptation(), *_variants(), *_drift()]


def _at_a_glance() -> list[Panel]:
    """The numbers at the top."""
    return [
        stat("Hit-rate", ratio(HITS, EVENTS), "percentunit"),
        stat("MRR", ratio(RANKS, EVENTS), "short"),
        stat("Adaptation gain, nats", f"{mean(BEFORE)} - {mean(AFTER)}", "short"),
        stat("Items", f'max(innerloop_catalogue_items{{{WORKER}, state="available"}})', "short"),
    ]


def _by_events_seen() -> list[Panel]:
    """Hits, by how many events of the user came before."""
    return [
        row("By how many events of the user came before"),
        time_series(
            "Hit-rate by events seen",
            {"{{events_seen}}": ratio(HITS, EVENTS, "events_seen")},
            "percentunit",
            "Events on an item of the list published last for the user.",
        ),
        time_series(
            "MRR by events seen", {"{{events_seen}}": ratio(RANKS, EVENTS, "events_seen")}, "short"
        ),
        time_series(
            "Hit-rate against popularity",
            {
                "innerloop": ratio(HITS, EVENTS),
                "popularity": ratio("innerloop_prequential_popularity_hits_total", EVENTS),
            },
            "percentunit",
            "The same events, on the items most popular in training.",
        ),
        time_series(
            "Events scored, by events seen",
            {"{{events_seen}}": f"sum by (events_seen) ({rate(EVENTS)})"},
            "short",
            "Per second.",
        ),
    ]


def _adaptation() -> list[Panel]:
    """The inner-loop step, and what the item memory learns."""
    return [
        row("Adaptation"),
        time_series(
            "Support loss before and after the inner-loop step",
            {"before": mean(BEFORE), "after": mean(AFTER)},
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
    ]


def _variants() -> list[Panel]:
    """Models side by side, and what their recommendations lead to."""
    return [
        row("Variants"),
        time_series(
            "Hit-rate by model",
            {"{{variant}}": ratio(f"{TRIED}_hits_total", f"{TRIED}_events_total", "variant")},
            "percentunit",
            "Where workers follow plans of models (worker.follow_models).",
        ),
        time_series(
            "MRR by model",
            {
                "{{variant}}": ratio(
                    f"{TRIED}_reciprocal_rank_total", f"{TRIED}_events_total", "variant"
                )
            },
            "short",
        ),
        time_series(
            "What recommendations lead to",
            {
                "{{variant}} {{rate}}": "innerloop_insights_rate"
                f'{{{EVERYTHING}, bound="estimate", rate!="hit_rate"}}'
            },
            "percentunit",
            "Share of recommendations with a click, an add-to-cart, a purchase (insights).",
        ),
        time_series(
            "Revenue per recommendation",
            {"{{variant}} {{currency}} {{bound}}": f"{REVENUE}{{{EVERYTHING}}}"},
            "short",
            "With its confidence interval.",
        ),
    ]


def _drift() -> list[Panel]:
    """The hit-rate over time, and its changes."""
    return [
        row("Drift"),
        time_series(
            "Hit-rate and its interval (insights)",
            {
                "{{variant}} {{bound}}": "innerloop_insights_rate"
                f'{{{EVERYTHING}, rate="hit_rate"}}',
                "{{variant}} since the last change": "innerloop_insights_drift_hit_rate"
                f"{{{EVERYTHING}}}",
            },
            "percentunit",
        ),
        time_series(
            "Changes found",
            {
                "{{variant}} {{change}}": "max by (variant, change) "
                f"(innerloop_insights_drift_changes{{{EVERYTHING}}})"
            },
            "short",
        ),
    ]
