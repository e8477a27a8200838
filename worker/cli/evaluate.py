"""`innerloop evaluate`: a bundle and its rivals on users that the model never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    bundle: Annotated[Path, typer.Option(help="Bundle to evaluate.")],
    events: Annotated[
        Path,
        typer.Option(help="Events: user_id, item_id, event_type, timestamp (CSV or Parquet)."),
    ],
    items: Annotated[Path, typer.Option(help="Items: item_id, title and more (CSV or Parquet).")],
    cut: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.99, help="New users are first seen after this quantile of time."
        ),
    ] = 0.75,
    users: Annotated[
        int | None, typer.Option(min=1, help="Score this many new users (default: all).")
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Never recommend what the user acted on.")
    ] = False,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the report as JSON.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Rank the whole catalogue before each event of each new user, then learn from the event.

    The inner loop, the same model without it, and rivals see the same stream: recency-weighted
    popularity, item co-visitation (as it stands at the cut, and learning online) and V-SKNN.
    """
    from rich.console import Console

    from worker.evaluation.evaluate import EvaluationJob
    from worker.evaluation.evaluate import evaluate as run
    from worker.evaluation.report import tables, write_json

    console = Console()
    job = EvaluationJob(bundle, events, items, cut, users, exclude_seen, device)
    with console.status("loading") as status:
        report = run(job, lambda name: status.update(f"scoring {name}"))
    console.print(tables(report))
    if json_out is not None:
        write_json(report, json_out)
        console.print(f"wrote {json_out}")
