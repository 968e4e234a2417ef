"""The settings of a kiosk: every key is validated, and a wrong one is named with what was expected."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from shelfmatch.edge.cli import main
from shelfmatch.edge.errors import KioskError
from shelfmatch.edge.kiosk.settings import PageSettings, Settings, as_toml, keys, read_settings


def test_the_defaults_as_a_file_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "kiosk.toml").write_text(as_toml(Settings()))
    assert read_settings(tmp_path / "kiosk.toml") == read_settings(None) == Settings()
    tables = tomllib.loads(as_toml(Settings()))
    assert {key.name for key in keys()} == {f"{section}.{name}" for section, table in tables.items() for name in table}
    assert all(key.meaning for key in keys())


def test_every_letter_of_a_title_comes_back(tmp_path: Path) -> None:
    """Newer than Python's own tables, a face came back as another letter and a digit."""
    settings = replace(Settings(), page=PageSettings(title='Tee "Ö" \U0001fae9 \U000e0041 \x07'))
    (tmp_path / "kiosk.toml").write_text(as_toml(settings), encoding="utf-8")
    assert read_settings(tmp_path / "kiosk.toml") == settings


def test_a_file_and_changes_over_it(tmp_path: Path) -> None:
    file = tmp_path / "kiosk.toml"
    file.write_text(
        '[server]\nport = 9000\nhosts = ["kiosk.local"]\n[pictures]\nfolder = "photos"\n[page]\nmirror = false\n'
    )
    settings = read_settings(
        file, ["server.port=0", "answers.watch_seconds=0.5", "page.mirror=true", "server.hosts=a, b"]
    )
    assert settings.server.port == 0 and settings.server.hosts == ("a", "b") and settings.page.mirror
    assert settings.pictures.folder == str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nport = 99999", "server.port is 99999; expected 0 to 65535"),
        ('[server]\nport = "x"', "server.port is 'x'; expected a whole number"),
        ("[server]\nport = true", "expected a whole number"),
        ("[server]\nprot = 1", "has no key 'prot'; its keys are host, port"),
        ("[sever]\nport = 1", "has the section [sever]; the sections are server"),
        ("server = 1", "expected a section, [server]"),
        ('[page]\nlanguage = "fr"', "expected one of auto, en, de, zh"),
        ('[page]\ncurrency = "euro"', "three capital letters"),
        ("[server]\nhosts = [1]", "expected a list of texts"),
        ('[staff]\ntokens = "codes"', "without staff.folder"),
        ('[page]\ncamera = "device"', "without camera.source"),
        ("[camera]\nturn = 45", "camera.turn is 45; expected one of 0, 90, 180, 270"),
        ("[camera]\nturn = 180", 'camera.turn arrived without camera.source; name the camera, like "0"'),
        ('[privacy]\nkeep_unknowns = "x"', "without privacy.detector"),
        ("[server\n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "kiosk.toml").write_text(text)
    with pytest.raises(KioskError) as raised:
        read_settings(tmp_path / "kiosk.toml")
    assert said in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("port=1", "expected SECTION.KEY=VALUE"),
        ("server.prot=1", "expected one of server.host, server.port"),
        ("server.port=x", "expected a whole number"),
        ("page.mirror=perhaps", "expected true or false"),
    ],
)
def test_wrong_changes_are_named(change: str, said: str) -> None:
    with pytest.raises(KioskError, match=said):
        read_settings(None, [change])


def test_a_file_that_isnt_there() -> None:
    with pytest.raises(KioskError, match="can't be read"):
        read_settings(Path("nowhere/kiosk.toml"))


def test_every_key_stands_in_the_help_and_in_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "--keys"):
        with pytest.raises(SystemExit) as ended:
            main(["serve", option])
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        for key in keys():
            assert (key.name if option == "--help" else f"\n{key.name.partition('.')[2]} = ") in shown, key.name
