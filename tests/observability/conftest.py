"""What tests of whole deployments share with those of workers."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[1] / name) for name in ("worker", "subscriber")]
