"""No bytes crash, hang or fool what reads them: drawn by hypothesis and atheris."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ATHERIS = Path(__file__).with_name("run_atheris.py")


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_and_random_bytes_are_refused_in_order(name, tmp_path):
    target = TARGETS[name](tmp_path / "work")
    seeds = target.seeds()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def refused(data):
        seed = data.draw(st.sampled_from(seeds))
        start = data.draw(st.integers(0, len(seed)))
        stop = data.draw(st.integers(start, min(len(seed), start + 20)))
        junk = data.draw(st.binary(max_size=60))
        target(seed[:start] + junk + seed[stop:])

    refused()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_fuzzer_finds_nothing(name, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: there is none for this Python or system")
    flags = ["-atheris_runs=2000", "-timeout=20", "-rss_limit_mb=4096", "-max_len=4096", "-seed=1"]
    command = [sys.executable, str(ATHERIS), name, str(tmp_path), *flags]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "Done 2000" in done.stdout + done.stderr
