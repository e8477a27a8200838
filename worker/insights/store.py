"""Where Faust keeps its tables."""

from __future__ import annotations

import importlib.util

from schemas.errors import SettingsError

_PACKAGE = "rocksdict"


def store_url(store: str) -> str:
    """Return Faust's name of the store that the setting `insights.store` asks for.

    Raises:
        SettingsError: it is RocksDB, and that is not installed.
    """
    installed = importlib.util.find_spec(_PACKAGE) is not None
    if store == "rocksdb" and not installed:
        raise SettingsError(
            "insights.store is rocksdb, but the package rocksdict is not installed; install "
            "innerloop[rocksdb], or set insights.store = memory"
        )
    return "rocksdb://" if store != "memory" and installed else "memory://"
