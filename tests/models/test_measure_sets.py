"""Which sets `measure.py` has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="measure.py needs torch: pip install 'shelfmatch[train]'")

from shelfmatch.models import measure


def test_a_set_that_it_has_not_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after the other sets were measured."""
    monkeypatch.setattr(sys, "argv", ["measure.py", str(tmp_path), "net.onnx", "--sets", "phone", "variants"])
    with pytest.raises(SystemExit) as ended:
        measure.main()
    assert ended.value.code == 2
    assert "--sets variants arrived; expected grocery" in capsys.readouterr().err
