"""Who is told how training gets on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.training.trained import Epoch


@dataclass(frozen=True)
class Progress:
    """Who is told what goes on."""

    on_phase: Callable[[str, int], None] = lambda name, total: None
    """A phase begins: its name and how many steps it has."""
    on_step: Callable[[int], None] = lambda steps: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
