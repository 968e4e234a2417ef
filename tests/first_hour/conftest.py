"""A folder to work in, as somebody new would: commands are done, or refused in one line that says what to do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge.cli.app import main
from tests.conftest import tile_photo


class FirstHour:
    """Commands in a folder of their own, which is also the current one."""

    def __init__(self, folder: Path, encoder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.encoder = ["--encoder", str(encoder), "--resizer", "pillow", "--adapt", "off", "--workers", "1"]
        self._capfd = capfd

    def photos(self, *names: str, first: int = 0) -> None:
        """Photos of different products in these files."""
        for number, name in enumerate(names, start=first):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            tile_photo(number, 0).save(path)

    def write(self, name: str, text: str, encoding: str = "utf-8") -> None:
        """A text file."""
        (self.folder / name).write_bytes(text.encode(encoding))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, what it prints, what it complains of."""
        self._capfd.readouterr()
        try:
            code: Any = main(list(arguments))
        except SystemExit as end:
            code = end.code
        return code, *self._capfd.readouterr()

    def done(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The document of a command that does what it should."""
        found, out, err = self.run(*arguments, "--json")
        assert (found, err) == (code, ""), (found, out, err)
        document: dict[str, Any] = json.loads(out)
        return document

    def nearest(self, query: str, *options: str) -> list[str]:
        """SKUs of the nearest products, sure or not."""
        code, out, err = self.run("match", "shop.bundle", query, *options, "--json")
        assert code in (0, 1) and err == "", (code, out, err)
        return [candidate["sku"] for candidate in json.loads(out)["candidates"]]

    def build(self, source: str, *options: str, bundle: str = "shop.bundle") -> dict[str, Any]:
        """A bundle from a source."""
        return self.done("build", source, "-o", bundle, *self.encoder, *options)

    def refused(self, *arguments: str, remedy: str, option: Sequence[str] = ()) -> None:
        """A command that changes nothing and says in one line what to do."""
        before = self.snapshot()
        code, out, err = self.run(*arguments, *option)
        assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
        assert err.startswith("shelfmatch") and remedy in err, err
        assert self.snapshot() == before

    def build_refused(self, source: str, *options: str, remedy: str, bundle: str = "shop.bundle") -> None:
        """A build that is refused."""
        self.refused("build", source, "-o", bundle, *self.encoder, *options, remedy=remedy)

    def products(self, bundle: str = "shop.bundle") -> dict[str, dict[str, Any]]:
        """SKU → name, attributes and number of photos of what a bundle holds."""
        listed = self.done("info", bundle, "--products")["product_list"]
        return {
            row["sku"]: {key: value for key, value in row.items() if key not in ("sku", "attributes")} for row in listed
        }

    def snapshot(self) -> dict[str, bytes]:
        """Every file."""
        found = {}
        for path in self.folder.rglob("*"):
            if path.is_file():
                found[unicodedata.normalize("NFC", str(path.relative_to(self.folder)))] = path.read_bytes()
        return found


@pytest.fixture
def hour(
    tmp_path: Path, tiny_tflite: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> FirstHour:
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    return FirstHour(tmp_path / "shop", tiny_tflite, capfd)
