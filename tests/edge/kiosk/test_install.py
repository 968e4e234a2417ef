"""What `kiosk install` writes, and that a service under those rules runs."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shelfmatch.edge.cli import main
from shelfmatch.edge.errors import KioskError
from shelfmatch.edge.kiosk.install import planned, service_unit
from shelfmatch.edge.kiosk.settings import read_settings

from .conftest import tile


def test_dry_run_shows_all_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root"
    options = ["kiosk", "install", "/srv/shop.bundle", "--root", str(root), "--port", "9001", "--screen-user", "anna"]
    assert main([*options, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert not root.exists() and "systemctl enable --now shelfmatch-kiosk.socket" in shown
    assert main(options) == 0
    written = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert set(written) == {
        "etc/shelfmatch/kiosk.toml",
        "etc/systemd/system/shelfmatch-kiosk.service",
        "etc/systemd/system/shelfmatch-kiosk.socket",
        "etc/chromium/policies/managed/shelfmatch-kiosk.json",
        "usr/local/bin/shelfmatch-kiosk-screen",
        "home/anna/.config/autostart/shelfmatch-kiosk.desktop",
    }
    assert all(path.read_text() in shown for path in written.values())
    assert tomllib.loads(written["etc/shelfmatch/kiosk.toml"].read_text())["server"]["port"] == 9001
    policy = json.loads(written["etc/chromium/policies/managed/shelfmatch-kiosk.json"].read_text())
    assert policy["VideoCaptureAllowedUrls"] == ["http://127.0.0.1:9001/"] and policy["URLBlocklist"] == ["*"]
    assert os.access(written["usr/local/bin/shelfmatch-kiosk-screen"], os.X_OK)


def test_the_screens_script_is_shell(tmp_path: Path) -> None:
    files = planned(Path("/srv/shop.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", "pi")
    (script,) = [one for one in files if one.path.endswith("-screen")]
    subprocess.run(["sh", "-n", "-c", script.text], check=True)


def test_words_of_the_unit_are_quoted_for_systemd() -> None:
    files = planned(Path("/srv/my $hop's.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", "pi")
    (unit,) = [one for one in files if one.path.endswith(".service")]
    assert 'serve --config /etc/shelfmatch/kiosk.toml "/srv/my $$hop\'s.bundle"\n' in unit.text


def test_what_the_service_couldnt_read_is_refused() -> None:
    with pytest.raises(KioskError, match="lies in somebody's home"):
        planned(Path("/home/pi/shop.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", "pi")


@pytest.mark.parametrize(
    "changes", [[], ["camera.source=0"], ["camera.source=rtsp://camera/1"], ["server.host=0.0.0.0"]]
)
def test_the_units_exposure(tmp_path: Path, changes: list[str]) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    unit = tmp_path / "shelfmatch-kiosk.service"
    unit.write_text(service_unit(read_settings(None, changes), "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True, text=True
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found and float(found[1]) <= 2.0, done.stdout + done.stderr


def test_started_by_its_socket_it_says_when_it_is_ready_and_keeps_the_watchdog(tile_shop: Path, tmp_path: Path) -> None:
    """As systemd starts it: with the socket handed over, no network of its own, and no memory both writable and executable."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(20)
    descriptor = listener.fileno()

    def become_the_service() -> None:
        os.dup2(descriptor, 3)
        os.environ["LISTEN_PID"] = str(os.getpid())
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE, where the kernel has it
        libc.unshare(0x40000000)  # CLONE_NEWNET, where this user may

    program = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); from shelfmatch.edge.cli import main; sys.exit(main())"
    environment = {
        **os.environ,
        "LISTEN_FDS": "1",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "600000",
    }
    environment.pop("WATCHDOG_PID", None)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "serve", str(tile_shop / "shop.bundle")],
            pass_fds=(3,) if descriptor == 3 else (descriptor, 3), env=environment, stderr=log, preexec_fn=become_the_service,
        )  # fmt: skip
    try:
        assert notify.recv(100) == b"READY=1"
        with socket.create_connection(("127.0.0.1", port)) as client:
            photo = tile(3)
            client.sendall(
                b"POST /v1/match HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
                % len(photo)
                + photo
            )
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        assert b'"sku":"sku-003"' in answer
        beats = [notify.recv(100) for _ in range(3)]
        assert beats == [b"WATCHDOG=1"] * 3
        process.terminate()
        assert process.wait(60) == 0
        while (message := notify.recv(100)) == b"WATCHDOG=1":  # those that came before the stop
            pass
        assert message == b"STOPPING=1"
    finally:
        process.kill()
        process.wait()
        listener.close()
        notify.close()


def test_check_says_what_it_found(tile_shop: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bundle = str(tile_shop / "shop.bundle")
    assert main(["serve", bundle, "--check", "--port", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["products"] == 12 and not found["staff"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", bundle, "--check", "--port", str(taken.getsockname()[1])]) == 2
    assert "can't be listened at" in capsys.readouterr().err
    assert main(["serve", str(tmp_path), "--check"]) == 2
    assert main(["kiosk", "code", str(tmp_path / "codes"), "--name", "anna"]) == 0
    code = capsys.readouterr().out.strip()
    assert re.fullmatch(r"(\w{4}-){3}\w{4}", code) and code not in (tmp_path / "codes").read_text()
