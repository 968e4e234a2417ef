"""`shelfmatch shelf install`: the service of a watch, what everybody may read of it, and what systemd makes of its words."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge.cli.app import main
from shelfmatch.edge.cli.shelf_outputs import PASSWORD_VARIABLE, SECRET_VARIABLE
from shelfmatch.edge.files import write_atomic
from shelfmatch.edge.machine.systemd import command_line
from tests.support.shelf import SmallShelf

SYSTEMD = Path("/lib/systemd/systemd")
SECRET = "rtsp://admin:s3cret@cam/1"


def run(*words: str | Path) -> int:
    return main(["shelf", *map(str, words)])


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda: capsys.readouterr().err


def test_what_the_service_would_miss_is_said_before_it_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("install", "/srv/bay.json", "--source", "0", "--bundle", "/srv/b")
    assert run(*words, "--dry-run") == 0
    assert "/srv/bay.json isn't there" in capsys.readouterr().err
    assert run(*words) == 2
    assert "/srv/bay.json isn't there" in capsys.readouterr().err


def test_the_unit_is_hardened_and_names_absolute_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", "/srv/bay.json", "--source", "rtsp://cam/1", "--bundle", "/srv/b", "--dry-run", "--json") == 0
    unit = json.loads(capsys.readouterr().out)["text"]
    for rule in (
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "WatchdogSec=",
    ):
        assert rule in unit
    assert "AF_INET" in unit and "PrivateDevices=yes" in unit
    assert re.search(
        r"ExecStart=\S+ shelf watch .*--log /var/lib/shelfmatch-shelf/log .*/srv/bay\.json",
        unit,
    )
    run("install", "/srv/bay.json", "--source", "0", "--bundle", "/srv/b", "--dry-run", "--json")
    unit = json.loads(capsys.readouterr().out)["text"]
    assert all(f"DeviceAllow=char-{one} rw" in unit for one in ("video4linux", "media", "dma_heap"))
    assert "PrivateNetwork=yes" in unit


def test_the_unit_has_all_that_watch_takes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("install", "/srv/bay.json", "--source", "0", "--bundle", "/srv/b", "--dry-run", "--json")
    outputs = (
        "--turn", "180",
        "--every", "5", "--frames", "4", "--seconds", "9", "--port", "8090", "--state", "/var/lib/shelfmatch-shelf/known",
        "--mqtt", "mqtts://shelf@broker:8883", "--device", "bay-1", "--topic", "shop/bay-1", "--pictures", "/srv/people.tflite",
        "--webhook", "https://a.example/1", "--webhook", "https://b.example/2",
    )  # fmt: skip
    assert run(*words, *outputs) == 0
    unit = json.loads(capsys.readouterr().out)["text"]
    (line,) = re.findall("^ExecStart=.*", unit, re.MULTILINE)
    for option, value in zip(outputs[::2], outputs[1::2], strict=True):
        assert f"{option} {value} " in line
    for name in (PASSWORD_VARIABLE, SECRET_VARIABLE):
        assert f"\nLoadCredential={name}\n" in unit
    assert "AF_INET" in unit and "PrivateNetwork" not in unit and "IPAddressDeny" not in unit
    run(*words, "--port", "8090")
    unit = json.loads(capsys.readouterr().out)["text"]
    assert "IPAddressDeny=any" in unit and "PrivateNetwork" not in unit and "LoadCredential" not in unit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--log", "/srv/log"), "where the service can't write; expected a place in /var/lib/shelfmatch-shelf"),
        (("--state", "/var/lib/shelfmatch-shelf/../x"), "where the service can't write"),
        (("--pictures", "/home/x/people.tflite"), "lies in somebody's home"),
        (("--mqtt", "http://broker"), "expected mqtt://HOST"),
        (("--webhook", "ftp://x"), "expected https://HOST/PATH"),
    ],
)  # fmt: skip
def test_a_unit_that_couldnt_run_isnt_written(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("/srv/bay.json", "--source", "0", "--bundle", "/srv/b", "--root", str(tmp_path))
    assert run("install", *arguments, *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("/srv/a\nUser=root", "--source", "0", "--bundle", "/srv/b"),
        ("/srv/a", "--source", "rtsp://cam/\r1", "--bundle", "/srv/b"),
        ("/srv/a", "--source", "0", "--bundle", "/srv/\x00b"),
        ("/srv/a", "--source", "0", "--bundle", "/srv/b", "--log", "/var/lib/shelfmatch-shelf/a\nb"),
        ("/srv/a", "--source", "0", "--bundle", "/srv/b", "--state", "/var/lib/shelfmatch-shelf/a\x85b"),
        ("/srv/a", "--source", "0", "--bundle", "/srv/b", "--log", "l", "--device", "a\nb"),
        ("/srv/a", "--source", "0", "--bundle", "/srv/b", "--log", "l", "--topic", "a\u2028b"),
        ("/srv/a", "--source", "0", "--bundle", "/srv/b", "--pictures", "/srv/\x1bp"),
        ("/srv/\udcff", "--source", "0", "--bundle", "/srv/b"),
    ],
)
def test_a_unit_has_a_setting_on_each_line(words: tuple[str, ...], tmp_path: Path, said: Any) -> None:
    assert run("install", *words, "--root", tmp_path) == 2
    assert "arrived; expected text on one line, in UTF-8, without control characters" in said()
    assert list(tmp_path.iterdir()) == []


def test_webhooks_and_brokers_of_a_unit_are_one_line_too(tmp_path: Path, said: Any) -> None:
    for words in (("--webhook", "https://a/\nb"), ("--mqtt", "mqtt://a/\nb")):
        assert run("install", "/srv/a", "--source", "0", "--bundle", "/srv/b", *words, "--root", tmp_path) == 2
        assert "expected" in said()
    assert list(tmp_path.iterdir()) == []


WORDS = (
    "/srv/my shop.json", "it's", 'q"q', "b\\s", "$HOME", "${HOME}", "100%", "%h", ";", "#", "ä", "ü ö", "", "-",
    "a'b \"c\" \\d $e %f",
)  # fmt: skip


@pytest.mark.skipif(not SYSTEMD.is_file(), reason="systemd isn't installed here: apt-get install systemd")
def test_systemd_reads_the_words_of_a_unit_as_they_were_meant(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for (
        folder
    ) in tmp_path.parents:  # pytest's folders are of the one who runs it, and systemd's test mode takes no root
        if folder != Path("/tmp") and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    program = tmp_path / "a$b c" / "echo"
    program.parent.mkdir()
    program.symlink_to("/bin/echo")
    unit = tmp_path / "words.service"
    unit.write_text(f"[Service]\nType=oneshot\nExecStart={command_line([str(program), *WORDS])}\n")
    unit.chmod(0o644)
    command = [str(SYSTEMD), "--user", "--test", f"--unit={unit.name}"]
    somebody = ["setpriv", "--reuid=65534", "--clear-groups"] if Path("/root").owner() == Path(tmp_path).owner() else []
    environment = {
        "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    done = subprocess.run(
        somebody + command, capture_output=True, text=True, env=environment, timeout=60, check=False, errors="replace"
    )
    found = re.findall(r"^\s*Command Line: (.*echo.*)$", done.stdout + done.stderr, re.MULTILINE)
    if not found:
        pytest.skip(f"systemd's test mode doesn't run here: {(done.stderr or done.stdout)[:200]}")
    # What it shows is quoted for a shell, `$` too; `$$` becomes `$` when the program is started (systemd.service(5)).
    shown = shlex.split(found[0].replace("\\$", "$"))
    assert shown[0] == str(program) and [word.replace("$$", "$") for word in shown[1:]] == list(WORDS)


@pytest.mark.parametrize(
    "source",
    [
        SECRET,
        "rtsp://cam/1?user=admin&psw=s3cret",
        "http://cam/v?loginuse=admin&loginpas=s3cret",
        "rtspsrc location=rtsp://cam user-id=admin user-pw=s3cret ! decodebin ! appsink",
    ],
)
def test_nobody_reads_a_cameras_password_in_the_unit(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("install", "/srv/bay.json", "--source", source, "--bundle", "/srv/b", "--root", tmp_path)
    assert run(*words, "--dry-run") == 0
    assert "s3cret" not in capsys.readouterr().out and not (tmp_path / "etc").exists()
    assert run(*words, "--json") == 0
    told = capsys.readouterr().out
    unit = (tmp_path / "etc/systemd/system/shelfmatch-shelf.service").read_text()
    credential = tmp_path / "etc/credstore/SHELFMATCH_SOURCE"
    assert "s3cret" not in told + unit and json.loads(told)["credential"] == "/etc/credstore/SHELFMATCH_SOURCE"
    assert "\nLoadCredential=SHELFMATCH_SOURCE:/etc/credstore/SHELFMATCH_SOURCE\n" in unit and "--source" not in unit
    assert credential.read_text() == f"{source}\n" and credential.stat().st_mode & 0o777 == 0o600
    assert credential.parent.stat().st_mode & 0o777 == 0o700
    # The next install needs no password; one without an address leaves the credential, and says so.
    credential.chmod(0o666)
    assert run("install", "/srv/bay.json", "--bundle", "/srv/b", "--root", tmp_path) == 0
    assert credential.read_text() == f"{source}\n" and credential.stat().st_mode & 0o777 == 0o600
    capsys.readouterr()
    assert run("install", "/srv/bay.json", "--source", "0", "--bundle", "/srv/b", "--root", tmp_path) == 0
    assert "is of an earlier install, and not used any more" in capsys.readouterr().err and credential.exists()


@pytest.mark.parametrize("source", ["admin:s3cret@cam/1", "rtps://admin:s3cret@cam/1", " rtsp://admin:s3cret@cam/1"])
def test_an_address_that_is_none_isnt_written_as_a_folder(source: str, tmp_path: Path, said: Any) -> None:
    assert run("install", "/srv/bay.json", "--source", source, "--bundle", "/srv/b", "--root", tmp_path) == 2
    message = said()
    assert "expected a camera's address, like rtsp://" in message and "s3cret" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_never_readable_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (modes.append(os.fstat(file).st_mode & 0o777), real(file))[1])
    opened: list[int] = []
    before = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, mode=0o777, **rest: (opened.append(mode), before(path, flags, mode, **rest))[1]
    )
    write_atomic(tmp_path / "secret", b"x", 0o600)
    assert opened[0] == 0o600 and modes[0] == 0o600 and (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_place_for_credentials_that_is_no_folder_is_said(tmp_path: Path, said: Any) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "credstore").symlink_to("nowhere")
    assert run("install", "/srv/bay.json", "--source", SECRET, "--bundle", "/srv/b", "--root", tmp_path) == 2
    assert "etc/credstore is no folder" in said() and len(list(tmp_path.rglob("*"))) == 2


def test_a_watch_takes_its_source_from_a_credential_or_the_environment(
    shelf: SmallShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    words = ("watch", shelf.plan_path, "--bundle", shelf.bundle, "--check")
    for missing in (words, (*words, "--source", "")):
        assert run(*missing) == 2
        assert "--source is missing or empty, and SHELFMATCH_SOURCE isn't set; expected a folder" in said()
    (tmp_path / "in").mkdir()
    monkeypatch.setenv("SHELFMATCH_SOURCE", str(tmp_path / "in"))
    assert run(*words) == 0
    (tmp_path / "SHELFMATCH_SOURCE").write_text(f"{tmp_path / 'nothing'}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert run(*words) == 2
    assert "nothing" in said()
