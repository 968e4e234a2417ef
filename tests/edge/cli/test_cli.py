"""The command line, as people and scripts meet it: documents, exit codes, and one line when something is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge import Matcher
from shelfmatch.edge.bundle.bundle import BundleWriter
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.models import known
from tests.conftest import tile_photo, write_tiles
from tests.support import tiny_models

COMMAND = [sys.executable, "-m", "shelfmatch.edge.cli"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, files that are no photos, encoders, CSVs, and a bundle of 12 products."""
    folder = tmp_path_factory.mktemp("cli")
    write_tiles(folder / "photos", range(12))
    tile_photo(3, 99).save(folder / "query.png")
    tile_photo(4, 99).save(folder / "other.png")
    tile_photo(77, 0).save(folder / "stranger.png")
    (folder / "text.jpg").write_text("not a photo")
    (folder / "empty.jpg").touch()
    (folder / "nothing").mkdir()
    (folder / "texts" / "sku").mkdir(parents=True)
    (folder / "texts" / "sku" / "readme.txt").write_text("no photo")
    (folder / "unreadable" / "sku").mkdir(parents=True)
    (folder / "unreadable" / "sku" / "a.jpg").write_text("no photo")
    (folder / "tiny.tflite").write_bytes(tiny_models.average_tflite())
    (folder / "tiny.onnx").write_bytes(tiny_models.average_onnx())
    (folder / "float.onnx").write_bytes(tiny_models.average_onnx(dtype="float32"))
    (folder / "two.tflite").write_bytes(tiny_models.average_tflite(extra_output=True))
    (folder / "text.tflite").write_text("not a network")
    (folder / "cut.tflite").write_bytes(tiny_models.average_tflite()[:400])
    (folder / "card.json").write_text('{"width": 3')
    for name, lines in CSVS.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (folder / "cyrillic.csv").write_bytes("image,sku\nquery.png,Зелёный\n".encode("cp1251"))
    assert main(["build", str(folder / "photos"), "-o", str(folder / "shop.bundle"), *TINY(folder)]) == 0
    return folder


def TINY(folder: Path) -> list[str]:
    return ["--encoder", str(folder / "tiny.tflite"), "--resizer", "pillow", "--adapt", "off"]


CSVS = {
    "shop": [
        "image,sku,name,category,gtin,price,shelf",
        *(f"photos/sku-{n:03d}/0.png,S{n},Tea {n},{'tea' if n % 2 else 'coffee'},400{n},1.{n},A{n}" for n in range(12)),
    ],
    "queries": ["image,sku", "query.png,sku-003", "other.png,sku-004", "stranger.png,"],
    "queries-with-gap": ["image,sku", "query.png,sku-003", "text.jpg,sku-004"],
    "no-header": ["photos/sku-000/0.png,S0", "photos/sku-001/0.png,S1"],
    "other-columns": ["picture,code", "query.png,S1"],
    "only-header": ["image,sku"],
    "short-row": ["image,sku,name", "query.png"],
    "long-row": ["image,sku", "query.png,S1,more"],
    "no-image": ["image,sku", ",S1"],
    "no-sku": ["image,sku", "query.png,"],
    "odd-sku": ["image,sku", "query.png,S\x071"],
    "missing-photos": ["image,sku", "gone.png,S1", "gone-too.png,S2"],
    "foreign-sku": ["image,sku", "query.png,sku-999"],
}


@pytest.fixture
def shop(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in, which is also the current folder: messages name what the user typed."""
    shutil.copytree(prepared, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def run(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, **settings)


def document(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """What a command prints with --json, which is all it prints."""
    assert main([*arguments, "--json"]) == code
    out, err = capfd.readouterr()
    assert err == "" and out.endswith("\n") and out.count("\n") == 1
    return json.loads(out)


def lines(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[str]:
    """What a command prints for people."""
    assert main(list(arguments)) == code
    out, err = capfd.readouterr()
    assert err == ""
    return out.splitlines()


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


# Documents

REPORT = {"products", "references", "photos", "unreadable", "duplicates", "ignored", "without_photos", "removed"}
REPORT |= {"seconds", "encoder", "index", "decision", "adaptation", "pruned", "size_bytes", "left_out", "findings"}
DECISION = {"method", "intercept", "score_weight", "margin_weight", "threshold", "target_false_accept_rate"}
DECISION |= {"references_weight", "known", "unknown", "false_accept_rate", "correct_accept_rate", "reliability"}


def test_build(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shop / "photos" / "sku-000" / "notes.txt").write_text("ignored")
    (shop / "photos" / "sku-001" / "broken.jpg").write_text("unreadable")
    shutil.copy("photos/sku-002/0.png", "photos/sku-002/twin.png")
    built = document(capfd, "build", "photos", "-o", "new.bundle", *TINY(shop))
    assert set(built) == REPORT and set(built["decision"]) == DECISION
    assert (built["products"], built["photos"], built["references"], built["removed"]) == (12, 38, 36, 0)
    assert built["ignored"] == ["sku-000/notes.txt"] and built["without_photos"] == []
    assert [entry["image"] for entry in built["unreadable"]] == ["sku-001/broken.jpg"]
    assert built["duplicates"] == [{"image": "sku-002/twin.png", "message": "the same file as sku-002/0.png"}]
    assert built["index"] == {"kind": "exact", "dtype": "i8"} and built["encoder"] == "tiny"
    assert built["size_bytes"] == sum(
        p.stat().st_size for p in Path("new.bundle").iterdir() if p.name != "manifest.json"
    )


def test_build_for_people(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shop / "photos" / "sku-001" / "broken.jpg").write_text("unreadable")
    printed = lines(capfd, "build", "photos", "-o", "new.bundle", *TINY(shop))
    assert printed[0].startswith("built new.bundle: 12 products, 0.0 MB, 36 of 37 photos added in ")
    assert printed[1].startswith("  unreadable: sku-001/broken.jpg") and "is damaged or not a photo" in printed[1]
    assert printed[2] == "  adapter: none (switched off)"
    assert printed[3].startswith("  threshold ") and "5% false accepts, from leaving photos out" in printed[3]
    assert str(shop) not in "".join(printed)


def test_build_settings(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = ["--vectors", "f32", "--index", "hnsw", "--false-accept", "0.2", "--workers", "2", "--runtime", "onnx"]
    settings += ["--encoder", "tiny.onnx", "--resizer", "pillow", "--adapt", "off", "--report", "page.html"]
    built = document(capfd, "build", "shop.csv", "-o", "new.bundle", *settings)
    assert built["index"] == {"kind": "hnsw", "dtype": "f32"} and built["decision"]["target_false_accept_rate"] == 0.2
    info = document(capfd, "info", "new.bundle")
    assert info["encoder"]["format"] == "onnx" and info["resizer"] == "pillow"
    assert "12" in Path("page.html").read_text()


def test_build_with_a_card_and_with_an_output(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    record = {**inspect_encoder(shop / "tiny.tflite").to_dict(), "name": "mine", "resize": "pad"}
    (shop / "mine.json").write_text(json.dumps(record))
    assert document(capfd, "build", "photos", "-o", "a.bundle", "--encoder", "mine.json")["encoder"] == "mine"
    assert document(capfd, "info", "a.bundle")["encoder"]["resize"] == "pad"
    settings = ["--encoder", "two.tflite", "--output", "embedding"]
    assert document(capfd, "build", "photos", "-o", "b.bundle", *settings)["references"] == 36


def test_build_replaces_a_bundle(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(shop / "photos" / "sku-000")
    assert document(capfd, "build", "photos", "-o", "shop.bundle", *TINY(shop))["products"] == 11
    assert document(capfd, "info", "shop.bundle")["generation"] == 2


def test_match(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = document(capfd, "match", "shop.bundle", "query.png")
    assert set(answer) == {"image", "decision", "sku", "confidence", "candidates", "latency_ms"}
    assert (answer["image"], answer["decision"], answer["sku"]) == ("query.png", "match", "sku-003")
    assert len(answer["candidates"]) == 5
    assert all(set(candidate) == {"sku", "name", "score", "confidence"} for candidate in answer["candidates"])
    assert set(answer["latency_ms"]) == {"decode", "preprocess", "encode", "search", "decide", "total"}
    assert answer["latency_ms"]["total"] > 0 and 0 < answer["confidence"] <= 1
    stranger = document(capfd, "match", "shop.bundle", "stranger.png", "--top-k", "2")
    assert (stranger["decision"], stranger["sku"], len(stranger["candidates"])) == ("unknown", None, 2)


def test_match_for_people(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "shop.csv", "-o", "named.bundle", *TINY(shop)]) == 0
    capfd.readouterr()
    printed = lines(capfd, "match", "named.bundle", "query.png", "--top-k", "3")
    assert printed[0].startswith("query.png: ") and "S3 Tea 3" in printed[0] and printed[0].endswith(" ms")
    assert [line.split()[:2] for line in printed[1:]] == [
        ["1.", "S3"],
        ["2.", printed[2].split()[1]],
        ["3.", printed[3].split()[1]],
    ]
    assert lines(capfd, "match", "shop.bundle", "stranger.png")[0].startswith("stranger.png: unknown (nearest: sku-0")


def test_match_where(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "shop.csv", "-o", "named.bundle", *TINY(shop)]) == 0
    capfd.readouterr()
    found = document(capfd, "match", "named.bundle", "query.png", "--where", "category=coffee", "--top-k", "20")
    assert {candidate["sku"] for candidate in found["candidates"]} == {f"S{n}" for n in range(0, 12, 2)}
    assert found["candidates"][0]["attributes"]["category"] == "coffee"
    both = ["--where", "category=coffee", "--where", "shelf=A4"]
    assert [c["sku"] for c in document(capfd, "match", "named.bundle", "query.png", *both)["candidates"]] == ["S4"]
    nothing = ["--where", "category=coffee", "--where", "shelf=A3"]
    assert document(capfd, "match", "named.bundle", "query.png", *nothing)["decision"] == "unknown"
    assert "unknown (the shop has no such products)" in lines(capfd, "match", "named.bundle", "query.png", *nothing)[0]


@pytest.mark.parametrize("workers", ["1", "3"])
def test_match_goes_on_past_a_bad_image(shop: Path, capfd: pytest.CaptureFixture[str], workers: str) -> None:
    images = ["query.png", "text.jpg", "gone.jpg", "other.png", "empty.jpg", "query.png"]
    assert main(["match", "shop.bundle", *images, "--json", "--workers", workers]) == 2
    out, err = capfd.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    assert err == "" and [answer["image"] for answer in answers] == images
    assert [answer.get("sku") for answer in answers] == ["sku-003", None, None, "sku-004", None, "sku-003"]
    for answer in (answers[1], answers[2], answers[4]):
        assert set(answer) == {"image", "error"} and set(answer["error"]) == {"type", "message"}
        assert answer["error"]["type"] == "ImageError" and answer["image"] in answer["error"]["message"]
    assert main(["match", "shop.bundle", *images, "--workers", workers]) == 2
    out, err = capfd.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == ["query.png", "other.png", "query.png"]
    assert [line.split()[:2] for line in err.splitlines()] == [
        ["shelfmatch:", name] for name in ("text.jpg", "gone.jpg", "empty.jpg")
    ]


def test_add_and_remove(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_tiles(shop / "more", range(50, 52), photos=2)
    added = document(capfd, "add", "shop.bundle", "more")
    assert set(added) == REPORT and (added["products"], added["references"]) == (14, 4)
    replaced = document(capfd, "add", "shop.bundle", "more", "--replace")
    assert (replaced["products"], replaced["references"], replaced["removed"]) == (14, 4, 4)
    removed = document(capfd, "remove", "shop.bundle", "sku-050", "sku-000")
    assert set(removed) == REPORT and (removed["products"], removed["removed"], removed["photos"]) == (12, 5, 0)
    assert document(capfd, "info", "shop.bundle")["generation"] == 4
    again = lines(capfd, "add", "shop.bundle", "more")
    assert again[0].startswith("changed shop.bundle: 13 products") and "2 of 4 photos added" in again[0]
    assert lines(capfd, "remove", "shop.bundle", "sku-051")[0].startswith(
        "changed shop.bundle: 12 products, 0.0 MB, 2 removed in "
    )


def test_info(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keys = {
        "bundle",
        "generation",
        "created_by",
        "products",
        "references",
        "index",
        "resizer",
        "decision",
        "adaptation",
        "encoder",
        "files",
    }
    info = document(capfd, "info", "shop.bundle")
    assert set(info) == keys and set(info["decision"]) == DECISION
    assert (info["bundle"], info["generation"], info["products"], info["references"]) == ("shop.bundle", 1, 12, 36)
    assert info["index"] == {"kind": "exact", "dtype": "i8", "dimension": 48}
    assert set(info["files"]) == {"encoder", "vectors", "catalog"}
    assert all(set(entry) == {"name", "size_bytes"} for entry in info["files"].values())
    listed = document(capfd, "info", "shop.bundle", "--products")
    assert set(listed) == keys | {"product_list"}
    assert listed["product_list"][3] == {"sku": "sku-003", "name": "", "photos": 3}
    printed = lines(capfd, "info", "shop.bundle", "--products")
    assert printed[0] == "shop.bundle: 12 products, 36 references, version 1"
    assert "tiny, 32x32 uint8 → 48" in printed[1] and printed[-1] == "  sku-011, photos 3"


def test_info_has_every_column(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = (shop / "shop.csv").read_text().replace("shelf", "photos")
    (shop / "shop.csv").write_text(rows)
    document(capfd, "build", "shop.csv", "-o", "columns.bundle", *TINY(shop))
    listed = document(capfd, "info", "columns.bundle", "--products")["product_list"]
    columns = {"category": "coffee", "gtin": "4002", "price": "1.2", "photos": "A2"}
    assert listed[2] == {"sku": "S2", "name": "Tea 2", **columns, "photos": 1, "attributes": columns}
    assert "attributes" not in lines(capfd, "info", "columns.bundle", "--products")[-1]


def test_verify(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert document(capfd, "verify", "shop.bundle") == {"bundle": "shop.bundle", "ok": True, "problems": []}
    assert lines(capfd, "verify", "shop.bundle") == ["shop.bundle: every byte is as built"]
    vectors = next((shop / "shop.bundle").glob("vectors-*"))
    data = bytearray(vectors.read_bytes())
    data[len(data) // 2] ^= 1
    vectors.write_bytes(data)
    found = document(capfd, "verify", "shop.bundle", code=1)
    assert set(found) == {"bundle", "ok", "problems"} and not found["ok"]
    assert len(found["problems"]) == 1 and vectors.name in found["problems"][0]
    assert main(["verify", "shop.bundle"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and vectors.name in err
    vectors.unlink()
    assert "missing" in document(capfd, "verify", "shop.bundle", code=1)["problems"][0]


def test_eval(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = document(capfd, "eval", "shop.bundle", "queries.csv")
    contract = {"queries", "recall_at_1", "recall_at_5", "mrr", "open_set", "latency_ms"}
    assert set(result) == contract | {"stages_ms", "looked_again", "unreadable", "calibration", "confusions", "by"}
    assert set(result["open_set"]) == {
        *("known", "unknown", "auroc", "false_accept_rate", "correct_accept_rate", "target_false_accept_rate"),
        *("false_accept_interval", "correct_accept_interval", "wrong_accept_rate"),
    }
    assert set(result["latency_ms"]) == {"p50", "p90", "p99"} and result["unreadable"] == []
    assert (result["queries"], result["recall_at_1"], result["recall_at_5"], result["mrr"]) == (3, 1.0, 1.0, 1.0)
    open_set = result["open_set"]
    assert (open_set["known"], open_set["unknown"], open_set["auroc"], open_set["false_accept_rate"]) == (
        2,
        1,
        1.0,
        0.0,
    )
    assert (open_set["correct_accept_rate"], open_set["target_false_accept_rate"]) == (1.0, 0.05)
    printed = lines(capfd, "eval", "shop.bundle", "queries.csv")
    assert printed[0].startswith("queries") and "3 (2 of products the shop sells, 1 of others)" in printed[0]


def test_eval_goes_on_past_a_bad_image(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "shop.bundle", "queries-with-gap.csv", "--json"]) == 2
    out, err = capfd.readouterr()
    result = json.loads(out)
    assert result["queries"] == 1 and [entry["image"] for entry in result["unreadable"]] == ["text.jpg"]
    assert err.count("\n") == 1 and "text.jpg is damaged or not a photo" in err


def test_encoders(shop: Path) -> None:
    """With a folder of encoders of our own, so that the test doesn't depend on which ones the package brings."""
    models = shop / "site" / "shelfmatch" / "models"
    models.mkdir(parents=True)
    for pattern in ("*.py", "known_encoders.json"):
        for file in Path(known.__file__).parent.glob(pattern):
            shutil.copy(file, models)
    shutil.copy("tiny.tflite", models / "small.tflite")
    record = {**inspect_encoder(models / "small.tflite").to_dict(), "license": "MIT", "provenance": "a test"}
    (models / "small.json").write_text(json.dumps(record))
    path = os.pathsep.join([str(shop / "site"), os.environ.get("PYTHONPATH", "")])
    done = run("encoders", "--json", env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    row = next(row for row in json.loads(done.stdout) if row["name"] == "small")
    assert row == {
        "name": "small",
        "kind": "embedded",
        "here": True,
        "default": False,
        "size_bytes": (models / "small.tflite").stat().st_size,
        "dimension": 48,
        "input": [32, 32],
        "resize": "squash",
        "license": "MIT",
        "about": "a test",
        "sha256": record["sha256"],
        "measured": {},
        "get": None,
    }
    done = run("encoders", env={**os.environ, "PYTHONPATH": path})
    assert "small: 0.0 MB, 32x32 → 48, MIT\n  a test\n" in done.stdout
    built = run("build", "photos", "-o", "new.bundle", "--encoder", "small", env={**os.environ, "PYTHONPATH": path})
    assert (built.returncode, built.stderr) == (0, "")


def test_every_command_has_help(capfd: pytest.CaptureFixture[str]) -> None:
    commands = ("demo", "build", "match", "add", "remove", "info", "verify", "eval", "similar", "find", "encoders")
    for command in commands:
        assert exit_code_of([command, "--help"]) == 0
        out, err = capfd.readouterr()
        assert out.startswith(f"usage: shelfmatch {command}") and "--json" in out and err == ""
    overview = run("--help").stdout
    assert all(f"\n    {command} " in overview for command in commands)
    assert run("--version").stdout.startswith("shelfmatch ")


# Wrong input: one line, exit code 2

BUILD = ["build", "photos", "-o", "new.bundle", "--encoder", "tiny.tflite"]


def source(name: str) -> list[str]:
    return ["build", name, "-o", "new.bundle", "--encoder", "tiny.tflite"]


WRONG: dict[str, tuple[list[str], str]] = {
    "no command": ([], "COMMAND"),
    "a command that isn't there": (["sell"], "invalid choice: 'sell'"),
    "an option that isn't there": ([*BUILD, "--fast"], "unrecognized arguments: --fast"),
    "build without -o": (["build", "photos"], "-o/--output-bundle"),
    "source missing": (source("gone"), "gone does not exist; expected a folder of folders named by SKU, or a CSV"),
    "source empty": (source("nothing"), "nothing holds no photos; expected nothing/SKU/photo.jpg, or a CSV"),
    "source of texts": (source("texts"), "texts holds no photos"),
    "source of a photo": (source("query.png"), "query.png is one photo; expected the folder"),
    "source of unreadable photos": (
        source("unreadable"),
        "none of the 1 photos in unreadable can be used; the first: sku/a.jpg: ",
    ),
    "CSV without a header": (source("no-header.csv"), "expected it to include image,sku"),
    "CSV of other columns": (
        source("other-columns.csv"),
        "has the header 'picture,code'; expected it to include image,sku",
    ),
    "CSV of a header": (source("only-header.csv"), "only-header.csv holds no photos"),
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
    "match without an image": (["match", "shop.bundle"], "the following arguments are required: IMAGE"),
    "bundle missing": (
        ["match", "gone.bundle", "query.png"],
        "gone.bundle does not exist; expected a bundle made by shelfmatch build",
    ),
    "bundle of photos": (["match", "photos", "query.png"], "photos is not a bundle: it has no readable manifest.json"),
    "bundle a file": (["match", "query.png", "query.png"], "query.png is not a bundle"),
    "image missing": (["match", "shop.bundle", "gone.jpg"], "gone.jpg does not exist; expected the path of a photo"),
    "image a text": (["match", "shop.bundle", "text.jpg"], "text.jpg is damaged or not a photo of a known format"),
    "image empty": (["match", "shop.bundle", "empty.jpg"], "empty.jpg is empty"),
    "image a folder": (["match", "shop.bundle", "photos"], "photos can't be read: Is a directory"),
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
    "eval of a missing CSV": (["eval", "shop.bundle", "gone.csv"], "gone.csv can't be read as a CSV"),
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


def exit_code_of(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as stopped:  # argparse
        assert isinstance(stopped.code, int)
        return stopped.code


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
    assert main(["build", "photos", "-o", destination, *TINY(shop)]) == 2
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
    assert main(["build", "unreadable", "-o", "shop.bundle", *TINY(shop)]) == 2
    assert snapshot(shop / "shop.bundle") == before
    assert main(["match", "shop.bundle", "query.png"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["build", "photos", "-o", "shop.bundle"], ["add", "shop.bundle", "photos"], ["remove", "shop.bundle", "sku-000"]],
    ids=lambda arguments: arguments[0],
)
def test_one_writer_at_a_time(shop: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    extra = TINY(shop) if arguments[0] == "build" else []
    with BundleWriter("shop.bundle"):
        assert main([*arguments, *extra]) == 2
        assert (
            capfd.readouterr().err
            == "shelfmatch: shop.bundle is being changed by another process; wait for it to finish\n"
        )
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


# Streams


def test_match_says_nothing_of_its_runtime(shop: Path) -> None:
    done = run("match", "shop.bundle", *["query.png", "other.png"] * 4, "--workers", "4")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 8)
    for arguments in (BUILD, ["add", "shop.bundle", "unreadable"], ["eval", "shop.bundle", "queries.csv"]):
        assert "XNNPACK" not in run(*arguments).stderr


def test_a_reader_that_leaves_early(shop: Path) -> None:
    for options in (["--json"], []):
        process = subprocess.Popen(
            [*COMMAND, "match", "shop.bundle", *["query.png"] * 400, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stderr is not None
        assert "query.png" in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams(shop: Path, closed: str) -> None:
    for arguments, code in ((["match", "shop.bundle", "query.png"], 0), (["match", "shop.bundle", "text.jpg"], 2)):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {closed}', "bash", *COMMAND, *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code and "Traceback" not in done.stderr
        if closed == "2>&-" and code == 0:
            assert "sku-003" in done.stdout


def test_names_that_are_not_text(shop: Path) -> None:
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", "kaffee-grün.png".encode(), b"gone\xff.png")]
    for name in names[:2]:
        shutil.copy("query.png", name)
    for encoding in ("utf-8", "ascii", "latin-1"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(
            [*COMMAND, "match", "shop.bundle", *names, "--json"], capture_output=True, env=environment, timeout=60
        )
        assert done.returncode == 2 and done.stderr == b""
        answers = [json.loads(line) for line in done.stdout.decode(encoding).splitlines()]
        assert [answer["image"] for answer in answers] == names
        done = subprocess.run(
            [*COMMAND, "match", "shop.bundle", *names], capture_output=True, env=environment, timeout=60
        )
        assert done.returncode == 2 and done.stdout.count(b"\n") == 2 and done.stderr.count(b"\n") == 1
        assert run("info", "shop.bundle", env=environment, encoding=encoding).returncode == 0


def on_a_terminal(arguments: list[str]) -> str:
    """What a command writes to stderr when that is a terminal."""
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, 100))
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=inner)
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 4096)
        except OSError:  # Linux ends a terminal so
            break
        if not piece:
            break
        shown += piece
    os.close(outer)
    assert process.wait(60) == 0
    return shown.decode()


def test_progress_bars_are_for_terminals(shop: Path) -> None:
    for arguments, title in ((BUILD, "catalogue"), (["eval", "shop.bundle", "queries.csv"], "eval")):
        shown = on_a_terminal(arguments)
        assert f"{title}: 100%" in shown and "photo/s" in shown and "XNNPACK" not in shown
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert on_a_terminal(["match", "shop.bundle", "query.png"]) == ""


# Interruption


@pytest.fixture
def slow_shop(shop: Path) -> Path:
    """20 photos that are read in no time, and then 3 of 62 megapixels that take half a second each or more."""
    write_tiles(shop / "slow", range(20), photos=1)
    large = io.BytesIO()
    Image.new("L", (7900, 7900), 99).save(large, "PNG", compress_level=1)
    for number in range(3):
        (shop / "slow" / f"sku-9{number}").mkdir()
        (shop / "slow" / f"sku-9{number}" / "0.png").write_bytes(large.getvalue() + bytes([number]))
    return shop


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it was done before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_and_going_on(slow_shop: Path) -> None:
    build = [*COMMAND, "build", "slow", "-o", "slow.bundle", "--workers", "1", *TINY(slow_shop)]
    process = subprocess.Popen(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cache = slow_shop / "slow.bundle" / ".work" / "embeddings.sqlite"
    wait_for(lambda: cache.exists() and cache.stat().st_size > 0, process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "shelfmatch: interrupted; nothing is half-written, run the same command again to go on\n"
    unfinished = run("match", "slow.bundle", "query.png")
    assert (
        unfinished.returncode == 2
        and "a bundle whose build did not finish; run the same build again" in unfinished.stderr
    )
    with sqlite3.connect(cache) as connection:
        kept = {digest for (digest,) in connection.execute("SELECT photo_sha256 FROM embedded")}
        assert 0 < len(kept) < 23
        # Marked, so that it shows whether the next build takes them or computes them again.
        mark = np.zeros(48, "<f4")
        mark[0] = 1
        connection.execute("UPDATE embedded SET vectors = ?", (mark.tobytes(),))
    connection.close()
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "") and "23 of 23 photos added" in done.stdout
    with Matcher.open("slow.bundle") as matcher:
        for number in range(20):
            photo = slow_shop / "slow" / f"sku-{number:03d}" / "0.png"
            candidates = {c.sku: c.score for c in matcher.match(photo, top_k=23).candidates}
            was_kept = hashlib.sha256(photo.read_bytes()).digest() in kept
            assert (candidates[f"sku-{number:03d}"] < 0.9) == was_kept
    assert not cache.parent.exists()


def test_ctrl_c_while_a_bundle_is_replaced_leaves_the_old_one(slow_shop: Path) -> None:
    before = snapshot(slow_shop / "shop.bundle")
    process = subprocess.Popen(
        [*COMMAND, "build", "slow", "-o", "shop.bundle", *TINY(slow_shop)], stderr=subprocess.PIPE, text=True
    )
    wait_for((slow_shop / "shop.bundle" / ".work" / "embeddings.sqlite").exists, process)
    locked = run("remove", "shop.bundle", "sku-000")
    assert locked.returncode == 2 and "is being changed by another process" in locked.stderr
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1].count("\n") == 1 and process.returncode == 130
    after = snapshot(slow_shop / "shop.bundle")
    assert {path: digest for path, digest in after.items() if not path.startswith(".work")} == before
    assert run("verify", "shop.bundle").returncode == 0


@pytest.mark.parametrize("workers", ["1", "4"])
def test_ctrl_c_while_matching(shop: Path, workers: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "match", "shop.bundle", "--workers", workers, *["query.png"] * 20_000],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("query.png: sku-003")
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and err.count("\n") == 1 and err.startswith("shelfmatch: interrupted")
