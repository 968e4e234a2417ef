"""`shelfmatch serve` and `shelfmatch kiosk`: the service and page of a kiosk, and setting a device up for it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RuntimeUnavailable
from ..terminal import DONE, complain, print_json
from .options import Command, add_bundle, add_turn, number, whole

if TYPE_CHECKING:
    from ..kiosk.settings import Settings

_NEEDED = ("starlette", "uvicorn", "msgspec", "prometheus_client", "python_multipart")


class _Keys(argparse.Action):
    """--keys: every key of the settings, with its default and its meaning."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from ..kiosk.settings import Settings, as_toml

        print(as_toml(Settings()))
        parser.exit(DONE)


def register(command: Command) -> None:
    """The commands serve and kiosk."""
    serve = command("serve", _serve, "the kiosk: an HTTP API and a page that name what is held up to a camera")
    add_bundle(serve)
    _add_settings(serve)
    options_alone = serve.format_help
    serve.format_help = lambda: f"{options_alone()}\n{_keys_text()}"  # type: ignore[method-assign]
    serve.add_argument(
        "--check", action="store_true", help="open everything, the camera too, say what was found, and stop"
    )
    kiosk = command("kiosk", _kiosk, "set a device up as a kiosk, and make staff codes")
    kiosk.add_argument("action", metavar="install|code", choices=("install", "code"), help="install: write the units, the "
                       "settings and the browser's policy of a kiosk; code: add a staff code to a file")  # fmt: skip
    kiosk.add_argument("target", metavar="SHOP.bundle|FILE", help="the bundle to serve, or the file of staff codes")
    _add_settings(kiosk)
    kiosk.add_argument("--dry-run", action="store_true", help="show what would be written and done, and change nothing")
    kiosk.add_argument("--root", metavar="FOLDER", default="/", help="install into this folder instead of /")
    kiosk.add_argument(
        "--screen-user", metavar="USER", default="pi", help="who is logged in at the screen (default: pi)"
    )
    kiosk.add_argument("--name", metavar="NAME", default="staff", help="whose code it is (default: staff)")
    kiosk.add_argument("--days", metavar="N", type=number, help="the code expires after so many days, up to 3650 "
                        "(default: never)")  # fmt: skip


def _keys_text() -> str:
    """Every key, for --help; not loaded for any other command."""
    from ..kiosk.settings import keys

    return "keys of the settings, with their defaults:\n" + "".join(
        f"  {key.name} = {key.default}\n      {key.meaning}\n" for key in keys()
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="settings as TOML; --keys shows all of them")
    parser.add_argument(
        "--keys", action=_Keys, nargs=0, help="print every key of the settings, with its default, as TOML"
    )
    parser.add_argument(
        "--host", metavar="ADDRESS", help="listen at this address (default: 127.0.0.1, this device alone)"
    )
    parser.add_argument("--port", metavar="N", type=whole, help="listen at this port (default: 8080)")
    parser.add_argument(
        "--pictures",
        metavar="FOLDER|CSV",
        help="pictures of the products: what the bundle was built from, or a folder with SKU.jpg",
    )
    parser.add_argument("--staff-codes", metavar="FILE", help="staff mode, with the codes of this file; needs --folder")
    parser.add_argument("--folder", metavar="FOLDER", help="where what staff teach is kept")
    parser.add_argument(
        "--camera", metavar="N|csi|VIDEO|ADDRESS", help="the device's own camera, for screens on plain HTTP"
    )
    add_turn(parser, None)
    parser.add_argument(
        "--keep-unknowns", metavar="FOLDER", help="keep crops of unknown products there; needs a detector"
    )
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="any key of the settings, like "
                        "answers.queue=4; repeatable, over what the file says")  # fmt: skip


def _settings_of(options: argparse.Namespace) -> Settings:
    """The file's settings with those of the command line over them. Raises KioskError."""
    from ..kiosk.settings import read_settings

    names = {
        "host": "server.host", "port": "server.port", "pictures": "pictures.folder", "staff_codes": "staff.tokens",
        "folder": "staff.folder", "camera": "camera.source", "turn": "camera.turn", "keep_unknowns": "privacy.keep_unknowns",
    }  # fmt: skip
    given = [f"{key}={value}" for name, key in names.items() if (value := getattr(options, name)) is not None]
    return read_settings(None if options.config is None else Path(options.config), [*given, *options.set])


def _check_extra() -> None:
    """Raise RuntimeUnavailable where the extra isn't installed."""
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise RuntimeUnavailable(
            f"the kiosk needs {', '.join(missing)}, which is not installed; pip install 'shelfmatch[kiosk]'"
        )


def _serve(options: argparse.Namespace) -> int:
    settings = _settings_of(options)
    _check_extra()
    import logging  # only here: every command's start would pay for it

    # systemd's journal puts the time before each line.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    from ..kiosk import server

    if options.check:
        found = server.check(Path(options.bundle), settings)
        if options.json:
            print_json(found)
        else:
            texts = {key: ("no", "yes")[value] if isinstance(value, bool) else value for key, value in found.items()}
            print("\n".join(f"{key:15} {value}" for key, value in texts.items()))
        return DONE
    server.start(Path(options.bundle), settings)
    return DONE


def _kiosk(options: argparse.Namespace) -> int:
    if options.action == "code":
        from ..kiosk.staff import add_code

        code = add_code(Path(options.target), options.name, options.days)
        if options.json:
            print_json({"code": code, "name": options.name, "file": options.target})
        else:
            print(code)
            complain(f"{options.target} has its hash; the code itself is kept nowhere, write it down now")
        return DONE
    from ..kiosk.install import install

    return install(
        Path(options.target),
        _settings_of(options),
        root=Path(options.root),
        screen_user=options.screen_user,
        dry_run=options.dry_run,
        as_json=options.json,
    )
