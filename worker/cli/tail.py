"""`innerloop tail`: recommendations as they come, for people and for pipes."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import BootstrapServersOption, ConfigOption, PropertyOption, settings_from

if TYPE_CHECKING:
    from rich.console import Console

    from schemas.settings import Settings
    from worker.subscriber.latest import Received
    from worker.subscriber.titles import Titles

_POLL_S = 0.2
_TITLES_WAIT_S = 60.0


def tail(
    *,
    user: Annotated[
        list[str] | None,
        typer.Option(
            help="Only of this user; may be given several times. The user's own id, also where "
            "ids are hashed (setting privacy.user_id_key).",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Only of this variant; may be given several times.", show_default=False),
    ] = None,
    since: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="Begin so many minutes ago.")
    ] = 0.0,
    number: Annotated[
        int | None,
        typer.Option("-n", "--number", min=1, help="End after so many.", show_default=False),
    ] = None,
    items: Annotated[int, typer.Option(min=1, help="Show so many items of each.")] = 5,
    table: Annotated[
        bool, typer.Option("--table", help="A table with scores and reasons for each.")
    ] = False,
    titles: Annotated[
        bool, typer.Option("--titles", help="Show items' titles, from the topic catalog.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="The messages as JSON, one a line, with traceparent if there is."
        ),
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Show recommendations as they come.

    A line shows when it came, how long after the event, the user, how many of the user's events
    are behind it, and the best items. Copies that a restarted worker repeats are shown, too. Ctrl-C
    ends it.
    """
    from rich.console import Console

    settings = settings_from(config, bootstrap_servers, properties)
    keep = _filter(settings, user, variant)
    console = Console(highlight=False, soft_wrap=True)
    with contextlib.ExitStack() as stack:
        known = _titles(settings, stack) if titles and not as_json else None
        show = _as_json if as_json else _Pretty(console, items, table, known).show
        try:
            with contextlib.closing(_received(settings, since)) as received:
                for each in itertools.islice(filter(keep, received), number):
                    show(each)
        except KeyboardInterrupt:
            return
        except BrokenPipeError:
            # Whoever read has gone: nothing more is to be written, not even at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _filter(
    settings: Settings, users: list[str] | None, variants: list[str] | None
) -> Callable[[Received], bool]:
    from schemas.pseudonyms import pseudonymiser

    known_as = pseudonymiser(settings.privacy) or str
    wanted = {known_as(user) for user in users or ()}
    tried = set(variants or ())

    def keep(received: Received) -> bool:
        found = received.recommendation
        return (not wanted or found.user_id in wanted) and (not tried or found.variant in tried)

    return keep


def _received(settings: Settings, minutes: float) -> Generator[Received]:
    from worker.subscriber.reading import RecommendationReader

    reader = RecommendationReader(settings, minutes)
    try:
        while True:
            for found in reader.read(_POLL_S):
                if not isinstance(found, str):
                    yield found
    finally:
        reader.close()


def _titles(settings: Settings, stack: contextlib.ExitStack) -> Titles:
    from worker.subscriber.titles import Titles

    titles = Titles(settings)
    stack.callback(titles.close)
    if not titles.wait(_TITLES_WAIT_S):
        typer.echo("the catalog is not read to its end yet; titles may be missing", err=True)
    return titles


def _as_json(received: Received) -> None:
    import msgspec

    message = msgspec.to_builtins(received.recommendation)
    if received.trace is not None:
        message |= received.trace.members()
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


class _Pretty:
    """Shows a recommendation as a line, or as a table."""

    def __init__(self, console: Console, items: int, table: bool, titles: Titles | None) -> None:
        self._console = console
        self._items = items
        self._table = table
        self._titles = titles

    def show(self, received: Received) -> None:
        """Show one."""
        from datetime import UTC, datetime

        from rich.markup import escape

        found = received.recommendation
        at = datetime.fromtimestamp(received.received_at / 1000, UTC)
        count = "event" if found.events_seen == 1 else "events"
        line = (
            f"[dim]{at:%H:%M:%S}.{at.microsecond // 1000:03d}[/] "
            f"[cyan]{escape(_plain(found.user_id))}[/] {found.events_seen} {count} "
            f"[dim]{escape(_plain(found.variant))}[/] [green]{_duration(received.latency_ms)}[/]"
        )
        if self._table:
            self._console.print(line)
            self._console.print(self._as_table(received))
            return
        listed = [self._named(item.item_id) for item in found.items[: self._items]]
        more = len(found.items) - len(listed)
        rest = f" [dim]+{more}[/]" if more > 0 else ""
        self._console.print(f"{line}  {escape(' · '.join(listed))}{rest}")

    def _as_table(self, received: Received) -> object:
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        table = Table("", "item", "score", "because of", box=SIMPLE_HEAD)
        for place, item in enumerate(received.recommendation.items[: self._items], start=1):
            reason = item.reason
            event = f"{reason.event_type.value} of " if reason.event_type else ""
            because = f"{event}{self._named(reason.item_id)}" if reason.item_id else "the start"
            name = escape(self._named(item.item_id))
            table.add_row(str(place), name, f"{item.score:.3f}", escape(because))
        return table

    def _named(self, item_id: str) -> str:
        title = self._titles.of(item_id) if self._titles is not None else None
        return _plain(f"{title} ({item_id})" if title else item_id)


def _plain(text: str) -> str:
    """Return a text with what would steer a terminal, or break the line, written out.

    Ids come from browsers: one of them may hold a terminal's control sequences.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _duration(ms: int) -> str:
    if ms < 10_000:
        return f"{ms} ms"
    return f"{ms / 1000:.0f} s" if ms < 600_000 else f"{ms / 3_600_000:.1f} h"
