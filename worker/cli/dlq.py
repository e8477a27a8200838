"""`innerloop dlq`: look at the dead letters, and put them back once what was wrong is mended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.dead_letter import DeadLetterHeader, DeadLetterReason
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)

if TYPE_CHECKING:
    from worker.dead_letters.inspection import Inspection
    from worker.dead_letters.records import Selection, StoredDeadLetter
    from worker.dead_letters.replay import Replayed

dlq_app = typer.Typer(help="Look at dead letters, and put them back.", no_args_is_help=True)

ReasonOption = Annotated[
    list[DeadLetterReason] | None,
    typer.Option("--reason", help="Only with this reason; may be given several times."),
]
PartitionOption = Annotated[
    list[int] | None,
    typer.Option("--partition", min=0, help="Only of this partition; may be given several times."),
]
SinceOption = Annotated[
    datetime | None, typer.Option(help="Only those put there at or after this time, UTC.")
]
UntilOption = Annotated[
    datetime | None, typer.Option(help="Only those put there before this time, UTC.")
]


@dlq_app.command("inspect")
def inspect_(
    *,
    reason: ReasonOption = None,
    partition: PartitionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    sample: Annotated[int, typer.Option(min=0, help="Show so many of the latest whole.")] = 3,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Count the dead letters by reason, stage and source, and show some.

    A value is shown as text if it is UTF-8, else in hexadecimal. It is what somebody published, so
    it may hold personal data.
    """
    from rich.console import Console

    from worker.cli.progress import PhaseProgress
    from worker.dead_letters.inspection import inspect

    settings = settings_from(config, bootstrap_servers, properties)
    selection = _selection(reason, partition, since, until)
    with PhaseProgress(Console(stderr=True)) as bar:
        found = inspect(settings, selection, sample, bar.start, bar.advance)
    _show(found)


@dlq_app.command()
def replay(
    *,
    reason: ReasonOption = None,
    partition: PartitionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many.", show_default=False)
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that an earlier replay put back.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be put back.")
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Put dead letters back to where they came from: key, value and headers as they were.

    Each is put back once, whatever the filters of the replays, unless --again says otherwise. One
    that still cannot be used becomes a new dead letter, which a later replay takes up.
    """
    from rich.console import Console

    from worker.cli.progress import PhaseProgress
    from worker.dead_letters.replay import replay as put_back

    settings = settings_from(config, bootstrap_servers, properties)
    selection = _selection(reason, partition, since, until)
    with PhaseProgress(Console(stderr=True)) as bar:
        done = put_back(
            settings,
            selection,
            dry_run=dry_run,
            again=again,
            most=limit,
            on_phase=bar.start,
            on_step=bar.advance,
        )
    _tell(done, dry_run=dry_run)


def _selection(
    reasons: list[DeadLetterReason] | None,
    partitions: list[int] | None,
    since: datetime | None,
    until: datetime | None,
) -> Selection:
    from worker.dead_letters.records import Selection

    return Selection(
        reasons=frozenset(reason.value for reason in reasons or ()),
        partitions=frozenset(partitions or ()),
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
    )


def _show(found: Inspection) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("reason", "stage", "source", "count", "replayed", "failed again", "from", "to")
    table = Table(*columns, box=None)
    for (reason, stage, source), group in sorted(
        found.groups.items(), key=lambda entry: -entry[1].count
    ):
        numbers = (group.count, group.replayed, group.failed_again)
        times = (_time(group.first), _time(group.last))
        table.add_row(reason, stage, source, *map(str, numbers), *times)
    console = Console()
    console.print(table)
    for letter in found.latest:
        _show_letter(letter)
    total = sum(group.count for group in found.groups.values())
    replayed = sum(group.replayed for group in found.groups.values())
    typer.echo(f"dead letters: {total}, of which replayed: {replayed}")


def _show_letter(letter: StoredDeadLetter) -> None:
    from worker.dead_letters.inspection import payload

    source = f"{letter.source_topic} {letter.source_partition}/" + letter.about.get(
        DeadLetterHeader.SOURCE_OFFSET, "?"
    )
    lines = [
        f"{letter.partition}/{letter.offset}  {_time(letter.time)}  {letter.reason}  ({source})",
        f"  {payload(letter.about.get(DeadLetterHeader.MESSAGE, '').encode())}",
        f"  key    {payload(letter.key)}",
        f"  value  {payload(letter.value)}",
    ]
    lines += [f"  header {name}: {payload(content)}" for name, content in letter.headers]
    typer.echo("\n".join(lines))


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _tell(done: Replayed, *, dry_run: bool) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in done.by_reason.most_common())
    typer.echo(
        f"{'to be put back' if dry_run else 'put back'}: {done.count}"
        + (f" ({reasons})" if reasons else "")
    )
    if done.before:
        typer.echo(f"put back by an earlier replay: {done.before} (--again takes them, too)")
    if done.without_value:
        typer.echo(f"without their value, so left alone: {done.without_value}")
