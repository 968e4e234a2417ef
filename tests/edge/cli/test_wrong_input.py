"""Wrong input: one line, exit code 2, and nothing is changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from shelfmatch.edge.bundle.writer import BundleWriter
from shelfmatch.edge.cli.app import main
from tests.support.commands import BUILD, COMMAND, exit_code_of, run, snapshot, source, tiny_options

WRONG: dict[str, tuple[list[str], str]] = {
    "no command": ([], "COMMAND"),
    "a command that isn't there": (["sell"], "invalid choice: 'sell'"),
    "an option that isn't there": ([*BUILD, "--fast"], "unrecognized arguments: --fast"),
    "build without -o": (["build", "photos"], "-o/--output-bundle"),
    "two encoders by two options": (
        [*BUILD, "--encoder", "shelfmatch-vit"],
        "'shelfmatch-vit' arrived beside 'tiny.tflite', expected one: tiny.tflite,shelfmatch-vit",
    ),
    "source missing": (source("gone"), "gone does not exist; expected a folder of folders named by SKU, or a CSV"),
    "source empty": (source("nothing"), "nothing holds no photos; expected nothing/SKU/photo.jpg, or a CSV"),
    "source of texts": (source("texts"), "texts holds no photos"),
    "source of a photo": (source("query.png"), "query.png is one photo; expected the folder"),
    "source of unreadable photos": (
        source("unreadable"),
        "none of the 1 photos in unreadable can be used; the first: sku/a.jpg is damaged",
    ),
    "CSV without a header": (source("no-header.csv"), "expected it to include image,sku"),
    "CSV of other columns": (
        source("other-columns.csv"),
        "has the header 'picture,code'; expected it to include image,sku",
    ),
    "CSV of a header": (source("only-header.csv"), "only-header.csv has a header and no rows"),
    "CSV with a short row": (source("short-row.csv"), "short-row.csv line 2 has more or fewer fields than the header"),
    "CSV with a long row": (source("long-row.csv"), "long-row.csv line 2 has more or fewer fields than the header"),
    "CSV without an image": (source("no-image.csv"), "no-image.csv line 2 names no image"),
    "CSV without a SKU": (
        source("no-sku.csv"),
        "no-sku.csv line 2: SKU '' arrived; expected 1 to 200 printable characters",
    ),
    "CSV with an odd SKU": (source("odd-sku.csv"), r"SKU 'S\x071' arrived"),
    "CSV of missing photos": (
        source("missing-photos.csv"),
        "none of the 2 photos in missing-photos.csv can be used; the first: gone.png",
    ),
    "CSV in Windows-1251": (
        source("cyrillic.csv"),
        "cyrillic.csv can't be read as a CSV: its letters are in an encoding",
    ),
    "encoder unknown": ([*BUILD[:-1], "mobilenet"], "unknown encoder 'mobilenet'; expected "),
    "encoder missing": ([*BUILD[:-1], "gone.tflite"], "encoder gone.tflite does not exist"),
    "encoder a text": ([*BUILD[:-1], "text.tflite"], "is it a whole .tflite file?"),
    "encoder cut off": ([*BUILD[:-1], "cut.tflite"], "is it a whole .tflite file?"),
    "encoder without a card": ([*BUILD[:-1], "float.onnx"], "encoder float.onnx needs a card: write float.json with"),
    "encoder of two outputs": ([*BUILD[:-1], "two.tflite"], "two.tflite has 2 outputs"),
    "encoder's card broken": ([*BUILD[:-1], "card.json"], "card card.json can't be read"),
    "encoder of another kind": (
        [*BUILD, "--runtime", "onnx"],
        "runtime 'onnx' runs .onnx files; the encoder is a .tflite file",
    ),
    "runtime unknown": ([*BUILD, "--runtime", "cuda"], "argument --runtime: invalid choice: 'cuda'"),
    "output unknown": (
        [*BUILD, "--output", "feature"],
        "computes no tensor 'feature'; pooled features it has: 3 ('embedding'",
    ),
    "output of a card": ([*BUILD[:-1], "card.json", "--output", "cells"], "--output goes with a .tflite or .onnx file"),
    "output of a missing file": ([*BUILD[:-1], "gone.onnx", "--output", "x"], "gone.onnx can't be read"),
    "output of a text": ([*BUILD[:-1], "text.tflite", "--output", "x"], "can't load the encoder"),
    "index unknown": ([*BUILD, "--index", "ivf"], "argument --index: invalid choice: 'ivf'"),
    "vectors unknown": ([*BUILD, "--vectors", "f64"], "argument --vectors: invalid choice: 'f64'"),
    "resizer unknown": ([*BUILD, "--resizer", "lanczos"], "argument --resizer: invalid choice: 'lanczos'"),
    "workers below zero": ([*BUILD, "--workers", "-1"], "argument --workers: "),
    "workers no number": ([*BUILD, "--workers", "²"], "'²' arrived, expected a whole number"),
    "rate of one": ([*BUILD, "--false-accept", "1"], "'1' arrived, expected a number between 0 and 1, like 0.05"),
    "rate no number": ([*BUILD, "--false-accept", "nan"], "'nan' arrived, expected a number between 0 and 1"),
    "destination a file": (["build", "photos", "-o", "query.png", "--encoder", "tiny.tflite"], "query.png is a file"),
    "destination unwritable": (
        ["build", "photos", "-o", "/proc/new.bundle", "--encoder", "tiny.tflite"],
        "/proc/new.bundle can't be written",
    ),
    "destination inside a file": (
        ["build", "photos", "-o", "query.png/b", "--encoder", "tiny.tflite"],
        "query.png/b can't be written",
    ),
    "report unwritable": ([*BUILD, "--report", "gone/page.html"], "page.html"),
    "match without an image": (
        ["match", "shop.bundle"],
        "no image arrived; expected photos, folders of photos, --watch FOLDER or --camera N",
    ),
    "bundle missing": (
        ["match", "gone.bundle", "query.png"],
        "gone.bundle does not exist; expected a bundle made by shelfmatch build",
    ),
    "bundle of photos": (["match", "photos", "query.png"], "photos is not a bundle: it has no readable manifest.json"),
    "bundle a file": (["match", "query.png", "query.png"], "query.png is not a bundle"),
    "image missing": (["match", "shop.bundle", "gone.jpg"], "gone.jpg does not exist; expected the path of a photo"),
    "image a text": (["match", "shop.bundle", "text.jpg"], "text.jpg is damaged or not a photo of a known format"),
    "image empty": (["match", "shop.bundle", "empty.jpg"], "empty.jpg is empty"),
    "image a folder without photos": (["match", "shop.bundle", "nothing"], "nothing holds no photos; expected files"),
    "top 0": (["match", "shop.bundle", "query.png", "--top-k", "0"], "'0' arrived, expected a whole number from 1"),
    "where without a value": (
        ["match", "shop.bundle", "query.png", "--where", "tea"],
        "--where 'tea' arrived; expected KEY=VALUE",
    ),
    "where without a key": (
        ["match", "shop.bundle", "query.png", "--where", "=tea"],
        "--where '=tea' arrived; expected KEY=VALUE",
    ),
    "where of an attribute nobody has": (
        ["match", "shop.bundle", "query.png", "--where", "colour=red"],
        "no product has the attribute 'colour'; the catalogue has name, sku",
    ),
    "add to a missing bundle": (["add", "gone.bundle", "photos"], "gone.bundle does not exist"),
    "add to a folder of photos": (["add", "photos", "photos"], "photos is not a bundle"),
    "add a missing source": (["add", "shop.bundle", "gone"], "gone does not exist"),
    "add unreadable photos": (["add", "shop.bundle", "unreadable"], "none of the 1 photos in unreadable can be used"),
    "remove without a SKU": (["remove", "shop.bundle"], "the following arguments are required: SKU"),
    "remove an unknown SKU": (
        ["remove", "shop.bundle", "sku-000", "tea"],
        "shop.bundle has no product 'tea'; shelfmatch info --products",
    ),
    "remove from a missing bundle": (["remove", "gone.bundle", "sku-000"], "gone.bundle does not exist"),
    "info of a missing bundle": (["info", "gone.bundle"], "gone.bundle does not exist"),
    "verify a folder of photos": (["verify", "photos"], "photos is not a bundle"),
    "eval of a missing CSV": (
        ["eval", "shop.bundle", "gone.csv"],
        "gone.csv does not exist; expected a folder of folders named by SKU, or a CSV",
    ),
    "eval of other columns": (["eval", "shop.bundle", "other-columns.csv"], "expected it to include image,sku"),
    "eval of a header": (["eval", "shop.bundle", "only-header.csv"], "only-header.csv has a header and no rows"),
    "eval of an unknown SKU": (
        ["eval", "shop.bundle", "foreign-sku.csv"],
        "query query.png has the SKU 'sku-999', which the bundle doesn't",
    ),
    "eval without an image": (["eval", "shop.bundle", "no-image.csv"], "no-image.csv line 2 names no image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(name: str, shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments, expected = WRONG[name]
    before = snapshot(shop)
    assert exit_code_of(arguments) == 2
    out, err = capfd.readouterr()
    assert err.count("\n") == 1 and err.startswith("shelfmatch") and expected in err
    assert out == "" and str(shop) not in err
    assert snapshot(shop) == before


@pytest.mark.parametrize("name", [*list(WRONG)[::7], "encoder a text", "image a text", "destination unwritable"])
def test_wrong_input_in_a_process_of_its_own(name: str, shop: Path) -> None:
    """Nothing else writes to stderr either: native libraries, warnings, the interpreter's end."""
    arguments, expected = WRONG[name]
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1) and expected in done.stderr


@pytest.mark.parametrize("destination", ["photos", "photos/sku-000", "texts"])
def test_a_folder_of_photos_is_never_written_to(
    shop: Path, destination: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(shop)
    folders = sorted(shop.rglob("*"))
    assert main(["build", "photos", "-o", destination, *tiny_options(shop)]) == 2
    err = capfd.readouterr().err
    assert (
        err.count("\n") == 1
        and f"{destination} exists and is not a bundle (it holds " in err
        and "choose another name" in err
    )
    assert snapshot(shop) == before and sorted(shop.rglob("*")) == folders


def test_a_failed_build_leaves_nothing_behind(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(source("unreadable")) == 2
    assert not (shop / "new.bundle").exists()
    before = snapshot(shop / "shop.bundle")
    assert main(["build", "unreadable", "-o", "shop.bundle", *tiny_options(shop)]) == 2
    assert snapshot(shop / "shop.bundle") == before
    assert main(["match", "shop.bundle", "query.png"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["build", "photos", "-o", "shop.bundle"], ["add", "shop.bundle", "photos"], ["remove", "shop.bundle", "sku-000"]],
    ids=lambda arguments: arguments[0],
)
def test_one_writer_at_a_time(shop: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    extra = tiny_options(shop) if arguments[0] == "build" else []
    with BundleWriter("shop.bundle"):
        assert main([*arguments, *extra]) == 2
        message = "shelfmatch: shop.bundle is being changed by another process; wait for it to finish"
        assert capfd.readouterr().err.startswith(message)
        assert main(["match", "shop.bundle", "query.png"]) == 0  # readers go on
    assert main([*arguments, *extra]) == 0


def test_a_bundle_of_the_future(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = shop / "shop.bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format_version": 2', '"format_version": 99'))
    for arguments in (["match", "shop.bundle", "query.png"], ["info", "shop.bundle"], ["verify", "shop.bundle"]):
        assert main(arguments) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1 and "bundle format 99; this shelfmatch reads up to 3, install a newer one" in err


def test_a_full_disk(shop: Path) -> None:
    """A limit on the size of files stands in for it; SQLite has errors of its own."""
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *COMMAND, *BUILD], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not (shop / "new.bundle" / "manifest.json").exists()
