#!/usr/bin/env python3
"""Ask each address given over HTTP; end with status 0 if all answer 2xx, else say why and 1.

The images have no curl, and this needs nothing but the standard library.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

TIMEOUT_S = 4.0


def trouble(url: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """Return what is wrong with the answer to a request for the address; None if nothing is.

    Args:
        url: http://host:port/path.
        timeout_s: longest wait for the connection and for each part of the answer, seconds.
    """
    # A proxy of the environment is for the world outside, and never for these.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        said = error.read(500).decode("utf-8", "replace").strip()
        return f"{url} answered {error.code}: {said}"
    except (OSError, ValueError) as error:
        return f"{url} did not answer: {error}"


def main(urls: Sequence[str]) -> int:
    """Check all addresses and return the exit status: 0, 1 for trouble, 2 for no address."""
    if not urls:
        sys.stderr.write("usage: innerloop-healthcheck URL…\n")
        return 2
    troubles = [found for url in urls if (found := trouble(url))]
    for found in troubles:
        sys.stderr.write(f"{found}\n")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
