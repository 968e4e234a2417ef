"""What `kiosk install` writes, and that a service under those rules runs."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
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
from shelfmatch.edge.kiosk.install import new_in, planned, service_unit
from shelfmatch.edge.kiosk.kiosk import camera_source
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
    assert policy["PasswordManagerEnabled"] is False  # a staff code that it kept would sign every shopper in
    assert os.access(written["usr/local/bin/shelfmatch-kiosk-screen"], os.X_OK)


@pytest.mark.parametrize("user", ["../..", "", "an na", "/home/anna", "anna\n", ".."])
def test_a_screen_user_that_is_no_name_is_refused(user: str) -> None:
    with pytest.raises(KioskError, match=r"--screen-user .* expected a user's name, like pi"):
        planned(Path("/srv/shop.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", user)


@pytest.mark.parametrize(
    ("home", "said"),
    [
        (None, "is no user of this device; expected who is logged in"),
        ("/nonexistent", r"has no home on this device \('/nonexistent'\); expected who is logged in"),
        ("", "has no home on this device"),
    ],
)
def test_a_screen_user_who_cannot_log_in_is_refused_before_anything_is_written(
    home: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shelfmatch.edge.kiosk import install

    user = None if home is None else pwd.struct_passwd(("daemon", "x", 1, 1, "", home, "/usr/sbin/nologin"))
    monkeypatch.setattr(install, "_user_of", lambda name: user)
    monkeypatch.setattr(install.Planned, "write", lambda *_: pytest.fail("written"))
    with pytest.raises(KioskError, match=f"--screen-user 'daemon' {said}"):
        install.install(
            Path("/srv/shop.bundle"),
            read_settings(None),
            root=Path("/"),
            screen_user="daemon",
            dry_run=False,
            as_json=True,
        )


def test_this_devices_users_are_found() -> None:
    from shelfmatch.edge.kiosk.install import _user_of

    found = _user_of(pwd.getpwuid(0).pw_name)
    assert found is not None and found.pw_uid == 0
    assert _user_of("nobody-here") is None and _user_of("a\0b") is None


def test_new_folders_in_a_home_are_its_users_too(tmp_path: Path) -> None:
    path = tmp_path / "pi/.config/autostart/kiosk.desktop"
    (tmp_path / "pi").mkdir()
    assert new_in(path, tmp_path / "pi") == [path, path.parent, path.parent.parent]
    path.parent.parent.mkdir()
    assert new_in(path, tmp_path / "pi") == [path, path.parent]
    assert new_in(tmp_path / "etc/kiosk.toml", tmp_path / "pi") == []


def test_a_user_whose_home_is_everything_gets_no_settings_of_the_system() -> None:
    """passwd gives some users / as their home: the unit, and the file with the camera's password, would have been theirs."""
    files = planned(Path("/srv/shop.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", "systemd-network", "/")
    given = {str(path) for one in files for path in new_in(Path(one.path), Path("/"))}
    assert given == {"/.config", "/.config/autostart", "/.config/autostart/shelfmatch-kiosk.desktop"}


@pytest.mark.parametrize("source", ["0", "csi", "/dev/video0"])
def test_the_service_may_use_a_camera_of_this_device(source: str) -> None:
    """By its path it was none, and the service saw no device at all."""
    text = unit(".service", f"camera.source={source}", "camera.turn=180")
    assert all(f"DeviceAllow=char-{one} rw\n" in text for one in ("video4linux", "media", "dma_heap"))
    assert "PrivateDevices" not in text and "PrivateNetwork=yes" in text
    assert "turn = 180\n" in unit("kiosk.toml", f"camera.source={source}", "camera.turn=180")


def test_the_screens_script_is_shell(tmp_path: Path) -> None:
    files = planned(Path("/srv/shop.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", "pi")
    (script,) = [one for one in files if one.path.endswith("-screen")]
    subprocess.run(["sh", "-n", "-c", script.text], check=True)


def test_words_of_the_unit_are_quoted_for_systemd() -> None:
    files = planned(Path("/srv/my $hop's.bundle"), read_settings(None), "/opt/x/bin/shelfmatch", "pi")
    (unit,) = [one for one in files if one.path.endswith(".service")]
    assert 'serve --config /etc/shelfmatch/kiosk.toml "/srv/my $$hop\'s.bundle"\n' in unit.text


def unit(ending: str, *changes: str) -> str:
    files = planned(Path("/srv/shop.bundle"), read_settings(None, list(changes)), "/opt/x/bin/shelfmatch", "pi")
    (found,) = [one for one in files if one.path.endswith(ending)]
    return found.text


@pytest.mark.parametrize(
    ("host", "places"),
    [
        ("127.0.0.1", ["127.0.0.1:8080"]),
        ("localhost", ["127.0.0.1:8080"]),
        ("0.0.0.0", ["0.0.0.0:8080"]),
        ("::", ["[::]:8080"]),
        ("192.168.1.5", ["192.168.1.5:8080", "127.0.0.1:8080"]),
        ("::1", ["[::1]:8080", "127.0.0.1:8080"]),
    ],
)
def test_systemd_listens_where_the_screen_calls(host: str, places: list[str], tmp_path: Path) -> None:
    """systemd refused the whole unit for a name; at another address alone, the screen waited for its page for ever."""
    text = unit(".socket", f"server.host={host}")
    assert re.findall("^ListenStream=(.*)$", text, re.MULTILINE) == places
    if shutil.which("systemd-analyze"):
        (tmp_path / "shelfmatch-kiosk.socket").write_text(text)
        command = ["systemd-analyze", "verify", str(tmp_path / "shelfmatch-kiosk.socket")]
        assert "Listen" not in subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("host", ["shop.local", "fe80::1%eth0"])
def test_an_address_that_systemd_cant_listen_at_is_refused(host: str) -> None:
    with pytest.raises(KioskError, match="expected an address of this device"):
        unit(".socket", f"server.host={host}")


def test_staff_codes_are_where_systemd_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"\nLoadCredential=staff-codes:{tmp_path}/codes\n" in unit(
        ".service", "staff.folder=/x", "staff.tokens=codes"
    )
    assert "\nLoadCredential=staff-codes:/etc/100%%/codes\n" in unit(
        ".service", "staff.folder=/x", "staff.tokens=/etc/100%/codes"
    )


def test_relative_paths_are_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service took them from the folder of its settings, /etc/shelfmatch, and ended at its start."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kiosk.toml").write_text('[pictures]\nfolder = "photos"\n')
    for settings in (
        read_settings(None, ["pictures.folder=photos", "privacy.detector=faces.tflite", "camera.source=film.mp4"]),
        read_settings(Path("kiosk.toml"), ["privacy.detector=faces.tflite", "camera.source=film.mp4"]),
    ):
        files = planned(Path("/srv/shop.bundle"), settings, "/opt/x/bin/shelfmatch", "pi")
        (text,) = [one.text for one in files if one.path.endswith("kiosk.toml")]
        written = tomllib.loads(text)
        assert written["pictures"]["folder"] == f"{tmp_path}/photos"
        assert written["privacy"]["detector"] == f"{tmp_path}/faces.tflite"
        assert written["camera"]["source"] == f"{tmp_path}/film.mp4"
    monkeypatch.setattr(os, "getcwd", lambda: "/home/pi")
    with pytest.raises(KioskError, match="/home/pi/photos lies in somebody's home"):
        unit("kiosk.toml", "pictures.folder=photos")


def test_a_cameras_password_is_for_root_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "rtsp://admin:s3cret@camera/1"
    options = ["kiosk", "install", "/srv/shop.bundle", "--root", str(tmp_path), "--camera", address]
    assert main(options) == 0 and main([*options, "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    assert "s3cret" not in shown.out + shown.err
    found = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    (kept,) = [path for path, text in found.items() if "s3cret" in text]
    assert kept == tmp_path / "etc/credstore/shelfmatch-kiosk-camera" and found[kept] == f"{address}\n"
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
    unit = found[tmp_path / "etc/systemd/system/shelfmatch-kiosk.service"]
    assert "LoadCredential=camera:/etc/credstore/shelfmatch-kiosk-camera\n" in unit and "AF_INET" in unit
    # What the service reads then: the settings, and the credential in a folder of its own.
    settings = read_settings(tmp_path / "etc/shelfmatch/kiosk.toml")
    assert settings.camera.source == "credential"
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "run"))
    with pytest.raises(KioskError, match="camera isn't there or is empty: the service has it"):
        camera_source(settings.camera.source)
    (tmp_path / "run/camera").write_text(f"{address}\n")
    assert camera_source(settings.camera.source) == address and camera_source("0") == "0"
    # Installed again from what it wrote, the address stays where it is.
    options = ["kiosk", "install", "/srv/shop.bundle", "--root", str(tmp_path)]
    assert main([*options, "--config", str(tmp_path / "etc/shelfmatch/kiosk.toml")]) == 0
    assert kept.read_text() == f"{address}\n" and "LoadCredential=camera:" in unit
    capsys.readouterr()
    assert main([*options, "--camera", "0"]) == 0
    assert "shelfmatch-kiosk-camera is of an earlier install, and not used any more" in capsys.readouterr().err
    kept.unlink()
    assert main([*options, "--camera", "credential"]) == 2
    assert "isn't there; write the camera's address into it" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["admin:s3cret@cam/1", "cam/1?password=s3cret"])
def test_an_address_without_a_beginning_is_refused_and_not_shown(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kiosk", "install", "/srv/shop.bundle", "--root", str(tmp_path), "--camera", source]) == 2
    shown = capsys.readouterr()
    assert "expected a camera's address, like rtsp://" in shown.err and "s3cret" not in shown.out + shown.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_pipelines_password_is_kept_as_an_addresss(tmp_path: Path) -> None:
    pipeline = "rtspsrc location=cam user-pw=s3cret ! decodebin ! appsink"
    assert main(["kiosk", "install", "/srv/shop.bundle", "--root", str(tmp_path), "--camera", pipeline]) == 0
    found = {path.name for path in tmp_path.rglob("*") if path.is_file() and "s3cret" in path.read_text()}
    assert found == {"shelfmatch-kiosk-camera"}


@pytest.mark.parametrize(
    "change", [f"{key}=rtsp://admin:s3cret@cam/1?a=b" for key in ("camera.surce", "server.port", "page.camera")]
)
def test_messages_show_no_password(change: str) -> None:
    with pytest.raises(KioskError) as raised:
        read_settings(None, [change])
    assert change.partition("=")[0] in str(raised.value) and "s3cret" not in str(raised.value)


def test_staff_codes_that_get_lost_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["kiosk", "install", "/srv/shop.bundle", "--root", str(tmp_path)]
    staff = ["--staff-codes", "/etc/shelfmatch/staff-codes", "--folder", "/var/lib/shelfmatch-kiosk"]
    assert main([*options, *staff]) == 0 and main([*options, *staff]) == 0
    assert "staff codes" not in capsys.readouterr().err
    assert main(options) == 0
    assert "the kiosk had staff codes, and has none with these settings" in capsys.readouterr().err


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
