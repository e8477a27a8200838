"""Alerts that faults provoke: which, where, and that they did."""

from __future__ import annotations

from collections.abc import Callable

from asking import Asking, wait_until

PROVOKED = {
    "one worker and its visitors": {
        "InnerloopNoWorker",
        "InnerloopWorkerStuck",
        "InnerloopDeadLetters",
        "InnerloopLagGrowing",
        "InnerloopLatencyBudgetBurnsFast",
        "InnerloopLatencyBudgetBurnsSlowly",
        "InnerloopHitRateDrop",
        "InnerloopNoEvents",
        "InnerloopPrivacyRequestUnread",
    },
    "a second worker": {
        "InnerloopRestoreTooLong",
        "InnerloopBundleMismatch",
        "InnerloopProcessDown",
    },
    "collector, gateway and sink": {
        "InnerloopRestarts",
        "InnerloopCollectorErrors",
        "InnerloopGatewayErrors",
        "InnerloopSinkFails",
    },
    "the whole deployment": {
        "InnerloopTransactionsAbort",
        "InnerloopRolloutBehind",
        "InnerloopHitRateDrift",
    },
}
"""By the test that provokes them."""


def nothing() -> None:
    """Do nothing."""


class Provoking:
    """Waits for alerts to fire and to fall silent, and takes note of those that did both.

    Args:
        asking: of the Prometheus with our rules.
        where: a key of `PROVOKED`.
    """

    def __init__(self, asking: Asking, where: str) -> None:
        self._asking = asking
        self._left = set(PROVOKED[where])
        self._fired: set[str] = set()

    def fires(self, *names: str, meanwhile: Callable[[], object] = nothing) -> None:
        """Wait until each of the alerts has fired, doing something again and again meanwhile."""
        left = set(names)

        def all_fired() -> bool:
            left.difference_update(self._asking.firing())
            if left:
                meanwhile()
            return not left

        wait_until(all_fired, "alerts firing", lambda: left)
        self._fired.update(names)

    def falls_silent(self, *names: str, meanwhile: Callable[[], object] = nothing) -> None:
        """Wait until none of the alerts fires any longer."""

        def none_fires() -> bool:
            meanwhile()
            return not self._asking.firing().intersection(names)

        wait_until(none_fires, "alerts silent", self._asking.firing)
        assert self._fired.issuperset(names)
        self._left.difference_update(names)

    def assert_all_were_provoked(self) -> None:
        """Fail if an alert of this test has not fired and fallen silent."""
        assert not self._left
