"""`shelfmatch kiosk install`: the files that make a device with a screen a kiosk, shown first and then written."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import pwd
import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

from ..camera.sources import is_camera
from ..errors import KioskError
from ..imaging.camera import may_hold_password, shown_source
from ..machine.systemd import (
    ANY_NETWORK,
    CREDENTIALS,
    LOOPBACK_ALONE,
    NO_NETWORK,
    Planned,
    command_line,
    in_a_home,
    own_command,
    sandbox,
)
from ..terminal import DONE, WRONG_INPUT, complain, print_json
from .settings import CAMERA_CREDENTIAL, IN_CREDENTIAL, Settings, as_toml

NAME: Final = "shelfmatch-kiosk"
SETTINGS: Final = "/etc/shelfmatch/kiosk.toml"
CAMERA_PATH: Final = f"{CREDENTIALS}/{NAME}-{CAMERA_CREDENTIAL}"
_A_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", re.ASCII)
"""No path, no space: a part of the name of a folder."""
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

SERVICE: Final = """\
# Written by shelfmatch kiosk install. systemd-analyze security {name}.service
[Unit]
Description=shelfmatch kiosk: names what is held up to the camera
Requires={name}.socket
After={name}.socket
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
WatchdogSec=30
TimeoutStartSec=120
TimeoutStopSec=15
{sandbox}{credential}Environment=MALLOC_ARENA_MAX=2 PYTHONDONTWRITEBYTECODE=1 SHELFMATCH_DEVICE={device}
# /proc/meminfo and /sys say how much memory is left and how hot it is.
ProcSubset=all
MemoryMax=75%
TasksMax=128
OOMScoreAdjust=-200

[Install]
WantedBy=multi-user.target
"""

SOCKET: Final = """\
# Written by shelfmatch kiosk install. The first call starts the service; none is lost while it restarts.
[Unit]
Description=shelfmatch kiosk, its address

[Socket]
{addresses}Backlog=128
NoDelay=yes

[Install]
WantedBy=sockets.target
"""

SCREEN: Final = """\
#!/bin/sh
# Written by shelfmatch kiosk install: the page, full screen, again and again.
while true; do
    until curl --silent --fail --max-time 2 {url}readyz >/dev/null; do sleep 1; done
    chromium --kiosk --noerrdialogs --disable-infobars --disable-session-crashed-bubble --no-first-run \\
        --password-store=basic --check-for-update-interval=31536000 --ozone-platform=wayland --disable-translate \\
        --overscroll-history-navigation=0 --disable-pinch --user-data-dir="$HOME/.config/{name}" {url}
    sleep 2
done
"""

DESKTOP: Final = """\
[Desktop Entry]
Type=Application
Name=shelfmatch kiosk
Exec=/usr/local/bin/{name}-screen
X-GNOME-Autostart-enabled=true
"""


def planned(bundle: Path, settings: Settings, executable: str, screen_user: str, home: str = "") -> list[Planned]:
    """The files of a kiosk that serves this bundle. `home`: the screen user's, /home/NAME unless it is named. Raises KioskError for
    what the service couldn't read, and for a name that no user has."""
    if not _A_USER.fullmatch(screen_user):
        raise KioskError(f"--screen-user {screen_user!r} arrived; expected a user's name, like pi")
    source = settings.camera.source
    if not may_hold_password(source) and shown_source(source) != source:
        raise KioskError(
            f"camera.source {shown_source(source)} arrived; expected a camera's address, like rtsp://NAME:PASSWORD@HOST/PATH, "
            "its number, or a video file"
        )
    settings = _from_the_root(settings)
    if problem := in_a_home(str(bundle), executable, settings.pictures.folder, settings.privacy.detector):
        raise KioskError(problem)
    command = [executable, "serve", "--config", SETTINGS, str(bundle)]
    url = f"http://127.0.0.1:{settings.server.port}/"
    policy = {
        "VideoCaptureAllowedUrls": [url],
        "AudioCaptureAllowed": False,
        "URLBlocklist": ["*"],
        "URLAllowlist": [f"127.0.0.1:{settings.server.port}"],
        "BrowserSignin": 0,
        "PasswordManagerEnabled": False,
        "AutofillAddressEnabled": False,
        "MetricsReportingEnabled": False,
        "TranslateEnabled": False,
        "DefaultNotificationsSetting": 2,
    }
    home = home or ("/root" if screen_user == "root" else f"/home/{screen_user}")
    return [
        *([Planned(CAMERA_PATH, f"{source}\n", 0o600)] if may_hold_password(source) else []),
        Planned(SETTINGS, as_toml(_for_the_service(settings))),
        Planned(f"/etc/systemd/system/{NAME}.service", service_unit(settings, command_line(command))),
        Planned(f"/etc/systemd/system/{NAME}.socket", SOCKET.format(addresses=_addresses(settings))),
        Planned(f"/etc/chromium/policies/managed/{NAME}.json", json.dumps(policy, indent=2) + "\n"),
        Planned(f"/usr/local/bin/{NAME}-screen", SCREEN.format(url=url, name=NAME), 0o755),
        Planned(f"{home.rstrip('/')}/.config/autostart/{NAME}.desktop", DESKTOP.format(name=NAME)),
    ]


def _from_the_root(settings: Settings) -> Settings:
    """Files and folders from / on: relative ones are meant from here, and the service would take them from the folder of its
    settings."""
    pictures, privacy, camera = settings.pictures, settings.privacy, settings.camera
    source = camera.source
    is_file = source and source != IN_CREDENTIAL and not is_camera(source) and not may_hold_password(source)
    return dataclasses.replace(
        settings,
        pictures=dataclasses.replace(pictures, folder=_absolute(pictures.folder)),
        privacy=dataclasses.replace(privacy, detector=_absolute(privacy.detector)),
        camera=dataclasses.replace(camera, source=_absolute(source)) if is_file else camera,
    )


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""


def _for_the_service(settings: Settings) -> Settings:
    """As the service reads them: staff codes and a camera's address come as credentials, for everybody may read the settings, and
    what it writes lies in its own folder."""
    staff = dataclasses.replace(settings.staff, tokens="", folder="")
    privacy = settings.privacy
    if privacy.keep_unknowns:
        privacy = dataclasses.replace(privacy, keep_unknowns=f"/var/lib/{NAME}/unknown")
    camera = settings.camera
    if may_hold_password(camera.source):
        camera = dataclasses.replace(camera, source=IN_CREDENTIAL)
    return dataclasses.replace(settings, staff=staff, privacy=privacy, camera=camera)


def _addresses(settings: Settings) -> str:
    """Where systemd listens: it takes no names, and the screen calls 127.0.0.1 wherever else the kiosk is called from. Raises
    KioskError."""
    host = "127.0.0.1" if settings.server.host == "localhost" else settings.server.host
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        found = None
    if found is None or getattr(found, "scope_id", None):
        raise KioskError(
            f"server.host {host} arrived; expected an address of this device, since systemd takes no name: 127.0.0.1 for this "
            "device alone, 0.0.0.0 for all that can reach it (the names that they call it by are server.hosts)"
        )
    hosts = [host] if found.is_unspecified or host == "127.0.0.1" else [host, "127.0.0.1"]
    places = (f"[{one}]:{settings.server.port}" if ":" in one else f"{one}:{settings.server.port}" for one in hosts)
    return "".join(f"ListenStream={place}\n" for place in places)


def service_unit(settings: Settings, command: str) -> str:
    """The unit: without a network of its own (systemd hands it its socket), without devices unless it has a camera."""
    source = settings.camera.source
    # An rtsp:// camera is a call to the network; otherwise there is none but the socket that systemd hands over.
    is_far = may_hold_password(source) or source == IN_CREDENTIAL
    network = ANY_NETWORK if is_far else NO_NETWORK
    if not is_far and settings.server.host in LOOPBACK:
        network += LOOPBACK_ALONE
    tokens = settings.staff.tokens
    # From / on: systemd looks for other names in its own folders. A % names one of its specifiers.
    credentials = [f"staff-codes:{Path(tokens).absolute()}".replace("%", "%%")] if tokens else []
    credentials += [f"{CAMERA_CREDENTIAL}:{CAMERA_PATH}"] if is_far else []
    return SERVICE.format(
        name=NAME,
        command=command,
        credential="".join(f"LoadCredential={one}\n" for one in credentials),
        sandbox=sandbox(NAME, network, has_camera=is_camera(source) and not is_far),
        device="/etc/shelfmatch/device.toml" if Path("/etc/shelfmatch/device.toml").is_file() else "",
    )


def install(bundle: Path, settings: Settings, *, root: Path, screen_user: str, dry_run: bool, as_json: bool) -> int:
    """Show what makes this device a kiosk, and unless `dry_run`, write it below `root` and start it; the exit code."""
    bundle = bundle.absolute()
    user = _user_of(screen_user) if root == Path("/") else None
    files = planned(bundle, settings, own_command(), screen_user, "" if user is None else user.pw_dir)
    if user is None and root == Path("/") and not dry_run:
        raise KioskError(
            f"--screen-user {screen_user!r} is no user of this device; expected who is logged in at the screen"
        )
    if user is not None and not dry_run and not os.path.isdir(user.pw_dir):  # noqa: PTH112  ("" is no folder to it)
        raise KioskError(
            f"--screen-user {screen_user!r} has no home on this device ({user.pw_dir!r}); expected who is logged in at the screen"
        )
    _check_earlier(files, settings, root)
    commands = [
        ["systemctl", "daemon-reload"],
        # One that runs has the settings and credentials of its start; where none runs, this does nothing.
        ["systemctl", "try-restart", f"{NAME}.service"],
        ["systemctl", "enable", "--now", f"{NAME}.socket", f"{NAME}.service"],
    ]
    if as_json:
        listed = [
            {"path": one.path, "mode": f"{one.mode:04o}", "text": None if one.is_secret else one.text} for one in files
        ]
        print_json({"files": listed, "commands": commands, "dry_run": dry_run})
    else:
        for one in files:
            print(f"# {one.path} ({one.mode:04o})\n{'(the camera: not shown)' if one.is_secret else one.text}")
        print("\n".join(f"$ {shlex.join(command)}" for command in commands))
    if dry_run:
        return DONE
    _write(files, root, user)
    if root != Path("/"):
        return DONE
    for command in commands:
        if subprocess.run(command, check=False).returncode:
            complain(f"{shlex.join(command)} failed; the files are written, run it again when that is mended")
            return WRONG_INPUT
    return DONE


def new_in(path: Path, home: Path) -> list[Path]:
    """A file in a home's .config, and its folders that aren't there yet: on a fresh device .config isn't, and as root's it would
    keep the user's browser and desktop from their own settings. Nothing for a file elsewhere, also where a home is /."""
    if home / ".config" not in path.parents:
        return []
    return [path, *(folder for folder in path.parents if home in folder.parents and not folder.exists())]


def _check_earlier(files: list[Planned], settings: Settings, root: Path) -> None:
    """Say what of an earlier install is lost or left over. Raises KioskError for a camera's address that isn't there."""
    kept, unit = (root / path.lstrip("/") for path in (CAMERA_PATH, f"/etc/systemd/system/{NAME}.service"))
    if settings.camera.source == IN_CREDENTIAL and not kept.exists():
        raise KioskError(
            f"camera.source is {IN_CREDENTIAL!r}, and {kept} isn't there; write the camera's address into it, one line for root "
            "alone (chmod 600), or name the camera with --camera"
        )
    if settings.camera.source != IN_CREDENTIAL and not any(one.is_secret for one in files) and kept.exists():
        complain(f"{CAMERA_PATH} is of an earlier install, and not used any more; remove it if nothing else needs it")
    try:
        had_staff = "LoadCredential=staff-codes:" in unit.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if had_staff and not settings.staff.tokens:
        complain(
            "the kiosk had staff codes, and has none with these settings; name them with --staff-codes and --folder"
        )


def _user_of(name: str) -> pwd.struct_passwd | None:
    """This device's user of a name."""
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):  # a NUL in it
        return None


def _write(files: list[Planned], root: Path, user: pwd.struct_passwd | None) -> None:
    """Write the files; what comes into the screen user's home belongs to them. Raises KioskError."""
    for one in files:
        path = root / one.path.lstrip("/")
        theirs = new_in(path, Path(user.pw_dir)) if user is not None else []
        try:
            one.write(root)
            for owned in theirs:
                assert user is not None
                os.chown(owned, user.pw_uid, user.pw_gid)
        except OSError as error:
            raise KioskError(f"{path} can't be written: {error.strerror or error}; run it with sudo") from error
    os.sync()
