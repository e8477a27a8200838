from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli.app import app, main
from worker.encoder.folder import read_description


def test_the_command_exports_and_tells_what_it_checked(tiny_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    arguments = ["export-encoder", "--model", str(tiny_model), "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--max-tokens", "24", "--no-int8"])
    assert result.exit_code == 0, result.output
    description = read_description(out)
    assert description.max_tokens == 24
    assert description.verification.int8_median_cosine is None
    difference = f"{description.verification.float_max_abs_difference:.1e}"
    for said in ("tiny-bert (folder:tiny-bert)", "24 tokens", f"within {difference}"):
        assert said in result.output
    assert "int8" not in result.output


def test_a_known_error_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = str(tmp_path / "out")
    monkeypatch.setattr(
        sys, "argv", ["innerloop", "export-encoder", "--model", str(tmp_path), "--out", out]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "holds no *.safetensors" in error
    assert list(tmp_path.iterdir()) == []
