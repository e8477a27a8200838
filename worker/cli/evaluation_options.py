"""Flags of `innerloop evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MORE = "More to report"

_FILES = "FILE|FOLDER|'PATTERN'"

EventsOption = Annotated[
    Path,
    typer.Option(
        metavar=_FILES,
        help="Events: user_id, item_id, event_type, timestamp (CSV or Parquet); of many files a"
        " folder of Parquet or a pattern, such as 'shards/*.parquet'.",
    ),
]
ItemsOption = Annotated[
    Path,
    typer.Option(metavar=_FILES, help="Items: item_id, title and more (CSV or Parquet)."),
]
BundlesOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]FOLDER",
        help="Bundle to evaluate; may be given several times. The first is compared with every"
        " other model.",
    ),
]
RivalsOption = Annotated[
    str,
    typer.Option(
        metavar="GROUP|NAME,…", help="A group (fast, neural, …), all, none, or names, with commas."
    ),
]
TuneOption = Annotated[
    bool, typer.Option(help="Choose the rivals' settings on a validation slice of the training.")
]
OffOption = Annotated[
    bool,
    typer.Option("--with-off/--without-off", help="Score each bundle without its inner loop, too."),
]
CutOption = Annotated[
    float,
    typer.Option(min=0.01, max=0.99, help="New users are first seen after this quantile of time."),
]
UsersOption = Annotated[
    int | None, typer.Option(min=1, help="Score this many new users (default: all).")
]
ExcludeSeenOption = Annotated[
    bool, typer.Option("--exclude-seen", help="Never recommend what the user acted on.")
]
SeedOption = Annotated[
    int, typer.Option(min=0, help="Of rivals' training, and of every sample that is drawn.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
DiversityOption = Annotated[
    list[float] | None,
    typer.Option(
        min=0.0,
        max=0.99,
        help="Score each bundle also with lists spread out so much (policy.diversity); several"
        " times for several.",
        show_default=False,
        rich_help_panel=_MORE,
    ),
]
SegmentsOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Group users by this column of --users-file (default: by activity).",
        rich_help_panel=_MORE,
    ),
]
UsersFileOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Users: user_id and more columns (CSV or Parquet).",
        rich_help_panel=_MORE,
    ),
]
ScenariosOption = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN[=VALUE,…]",
        help="Quality on scenarios, by a column of the items or else the events file (default:"
        " those that the first bundle's training held out).",
        rich_help_panel=_MORE,
    ),
]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", metavar="OUT", help="Write the report as JSON.", rich_help_panel=_MORE),
]
PlotsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Draw plots into it (extra `plots`).", rich_help_panel=_MORE
    ),
]
RanksOption = Annotated[
    Path | None,
    typer.Option(
        metavar="OUT.npz",
        help="Write every model's rank of every scored event.",
        rich_help_panel=_MORE,
    ),
]
