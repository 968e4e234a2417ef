"""Weights without a network: said at once."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shelfmatch.export.hub import problem_of_reaching


def test_a_port_where_nothing_listens_and_one_where_something_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert problem_of_reaching(f"http://127.0.0.1:{port}") == ""
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")  # a proxy is what has to answer
        assert problem_of_reaching("https://hub.invalid") == ""
    assert "refused" in problem_of_reaching(f"http://127.0.0.1:{port}").lower()
    monkeypatch.delenv("https_proxy")
    start = time.monotonic()
    assert problem_of_reaching("https://hub.invalid", timeout_s=0.5)
    assert time.monotonic() - start < 2


@pytest.mark.slow
def test_an_export_without_a_network_ends_at_once(tmp_path: Path) -> None:
    """It was silent for a minute, and then told of retries."""
    if importlib.util.find_spec("timm") is None:  # importing it is the export's own business: see tools.need_timm
        pytest.skip("timm is not installed")
    (tmp_path / "photos" / "sku").mkdir(parents=True)
    script = (
        "import sys, time; from shelfmatch.export.sources import SourceOptions, open_source\n"
        "from shelfmatch.export.tools import need_timm; need_timm(); start = time.monotonic()\n"
        "try: open_source('timm:mobilenetv3_small_050.lamb_in1k', SourceOptions())\n"
        "except Exception as error: print(round(time.monotonic() - start, 1), error)"
    )
    environment = {"PATH": "", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300)
    seconds, _, message = done.stdout.partition(" ")
    assert float(seconds) < 10, done.stdout + done.stderr
    assert "http://127.0.0.1:9 can't be reached" in message and "give --checkpoint FILE" in message
    assert message.count("\n") == 1
