"""The command line, as people and scripts meet it: documents, tables and exit codes of every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import shelfmatch.edge
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.terminal import amount, size_text
from shelfmatch.models import known
from tests.conftest import write_tiles
from tests.support.commands import document, exit_code_of, lines, run, tiny_options

REPORT = {"products", "references", "photos", "unreadable", "duplicates", "ignored", "without_photos", "removed"}
REPORT |= {
    "seconds",
    "encoder",
    "index",
    "decision",
    "adaptation",
    "pruned",
    "changed",
    "size_bytes",
    "left_out",
    "findings",
    "forecast",
    "outgrown",
}
DECISION = {"method", "intercept", "score_weight", "margin_weight", "threshold", "target_false_accept_rate"}
DECISION |= {
    "references_weight",
    "known",
    "unknown",
    "false_accept_rate",
    "correct_accept_rate",
    "reliability",
    "lone_rival",
}


def test_build(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shop / "photos" / "sku-000" / "notes.txt").write_text("ignored")
    (shop / "photos" / "sku-001" / "broken.jpg").write_text("unreadable")
    shutil.copy("photos/sku-002/0.png", "photos/sku-002/twin.png")
    built = document(capfd, "build", "photos", "-o", "new.bundle", *tiny_options(shop))
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
    printed = lines(capfd, "build", "photos", "-o", "new.bundle", *tiny_options(shop))
    assert printed[0].startswith("built new.bundle: 12 products, 40 kB, 36 of 37 photos added in ")
    assert printed[1].startswith("  unreadable: sku-001/broken.jpg") and "is damaged or not a photo" in printed[1]
    assert printed[2].startswith("  answers   from ") and "about 5% get a name all the same" in printed[2]
    assert printed[3].startswith("  expect    ") and "measured on 36 of your own photos" in printed[3]
    assert printed[4].startswith("  next      add photos: 5 a product")
    assert "shelfmatch calibrate new.bundle" in printed[5] and "shelfmatch eval new.bundle" in printed[6]
    assert not any(word in "".join(printed) for word in ("adapter", "threshold", "mean of their", "recall", "scored"))
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
    assert document(capfd, "build", "photos", "-o", "shop.bundle", *tiny_options(shop))["products"] == 11
    assert document(capfd, "info", "shop.bundle")["generation"] == 2


def test_match(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answer = document(capfd, "match", "shop.bundle", "query.png")
    assert set(answer) == {
        "image",
        "decision",
        "decided_by",
        "sku",
        "confidence",
        "threshold",
        "candidates",
        "latency_ms",
    }
    assert (answer["image"], answer["decision"], answer["sku"]) == ("query.png", "match", "sku-003")
    assert len(answer["candidates"]) == 5
    assert all(set(candidate) == {"sku", "name", "score", "confidence"} for candidate in answer["candidates"])
    assert set(answer["latency_ms"]) == {"decode", "preprocess", "encode", "search", "decide", "total"}
    assert answer["latency_ms"]["total"] > 0 and 0 < answer["confidence"] <= 1
    stranger = document(capfd, "match", "shop.bundle", "stranger.png", "--top-k", "2", code=1)
    assert (stranger["decision"], stranger["sku"], len(stranger["candidates"])) == ("unknown", None, 2)


def test_match_for_people(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "shop.csv", "-o", "named.bundle", *tiny_options(shop)]) == 0
    capfd.readouterr()
    printed = lines(capfd, "match", "named.bundle", "query.png", "--top-k", "3")
    assert printed[0].startswith("query.png: ") and "S3 Tea 3" in printed[0] and printed[0].endswith(" ms")
    assert [line.split()[:2] for line in printed[1:]] == [
        ["1.", "S3"],
        ["2.", printed[2].split()[1]],
        ["3.", printed[3].split()[1]],
    ]
    assert lines(capfd, "match", "shop.bundle", "stranger.png", code=1)[0].startswith(
        "stranger.png: unknown (nearest: sku-0"
    )


def test_exit_code_1_is_the_answer_no(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As with grep: a script asks "is one of these in my shop?" without reading what is printed."""
    for arguments, code in (
        (["match", "shop.bundle", "stranger.png"], 1),
        (["match", "shop.bundle", "stranger.png", "query.png"], 0),
        (["match", "shop.bundle", "stranger.png", "text.jpg"], 2),
        (["match", "shop.bundle", "stranger.png", "--frames"], 1),
        (["match", "shop.bundle", "query.png", "--frames"], 0),
        (["match", "shop.bundle", "stranger.png", "--explain", "out.png"], 1),
        (["find", "shop.bundle", "sku"], 0),
        (["find", "shop.bundle", "teapot"], 1),
        (["similar", "shop.bundle", "sku-003"], 0),
        (["similar", "shop.bundle", "sku-003", "--where", "sku=sku-003"], 1),
    ):
        assert main(arguments) == code, arguments
        assert main([*arguments, "--json"]) == code, arguments


def test_a_value_that_no_product_has_names_those_there_are(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "shop.csv", "-o", "named.bundle", *tiny_options(shop)]) == 0
    for command in (["match", "named.bundle", "query.png"], ["similar", "named.bundle", "S3"]):
        capfd.readouterr()
        assert main([*command, "--where", "category=cofee"]) == 2
        assert capfd.readouterr().err == "shelfmatch: no product has category 'cofee'; there are coffee, tea\n"
        assert main([*command, "--where", "category=tea", "--where", "sku=S99"]) == 2
        assert "no product has sku 'S99'; shelfmatch info --products lists them" in capfd.readouterr().err


def test_match_where(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "shop.csv", "-o", "named.bundle", *tiny_options(shop)]) == 0
    capfd.readouterr()
    found = document(capfd, "match", "named.bundle", "query.png", "--where", "category=coffee", "--top-k", "20", code=1)
    assert {candidate["sku"] for candidate in found["candidates"]} == {f"S{n}" for n in range(0, 12, 2)}
    assert found["candidates"][0]["attributes"]["category"] == "coffee"
    both = ["--where", "category=coffee", "--where", "shelf=A4"]
    of_both = document(capfd, "match", "named.bundle", "query.png", *both, code=1)
    assert [candidate["sku"] for candidate in of_both["candidates"]] == ["S4"]
    nothing = ["--where", "category=coffee", "--where", "shelf=A3"]
    assert document(capfd, "match", "named.bundle", "query.png", *nothing, code=1)["decision"] == "unknown"
    assert (
        "unknown (the shop has no such products)"
        in lines(capfd, "match", "named.bundle", "query.png", *nothing, code=1)[0]
    )


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
        "changed shop.bundle: 12 products, 40 kB, 2 removed in "
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
        "forecast",
        "adaptation",
        "calibrated",
        "encoder",
        "files",
        "outgrown",
        "keeps_embeddings",
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
    assert printed[0].startswith("shop.bundle: 12 products, 36 photos, ") and printed[0].endswith("kB, generation 1")
    assert printed[1].startswith("  answers ") and printed[-1] == "  sku-011, photos 3"
    assert not any(word in "".join(printed) for word in ("adapter", "threshold", "reference"))
    verbose = "\n".join(lines(capfd, "info", "shop.bundle", "--verbose"))
    assert "tiny, 32x32 uint8 → 48" in verbose and "adapter  none (switched off)" in verbose
    assert "threshold " in verbose and "by 36 queries with photos that were held out" in verbose


def test_info_has_every_column(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = (shop / "shop.csv").read_text().replace("shelf", "photos")
    (shop / "shop.csv").write_text(rows)
    document(capfd, "build", "shop.csv", "-o", "columns.bundle", *tiny_options(shop))
    listed = document(capfd, "info", "columns.bundle", "--products")["product_list"]
    columns = {"category": "coffee", "gtin": "4002", "price": "1.2", "photos": "A2"}
    assert listed[2] == {"sku": "S2", "name": "Tea 2", **columns, "photos": 1, "attributes": columns}
    assert "attributes" not in lines(capfd, "info", "columns.bundle", "--products")[-1]


def test_verify(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    verified = document(capfd, "verify", "shop.bundle")
    assert verified.pop("outgrown")["state"] == "no"
    assert verified == {"bundle": "shop.bundle", "ok": True, "problems": []}
    assert lines(capfd, "verify", "shop.bundle") == ["shop.bundle: every byte is as built"]
    vectors = next((shop / "shop.bundle").glob("vectors-*"))
    data = bytearray(vectors.read_bytes())
    data[len(data) // 2] ^= 1
    vectors.write_bytes(data)
    found = document(capfd, "verify", "shop.bundle", code=1)
    assert set(found) == {"bundle", "ok", "problems", "outgrown"} and not found["ok"]
    assert len(found["problems"]) == 1 and vectors.name in found["problems"][0]
    assert main(["verify", "shop.bundle"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and vectors.name in err
    vectors.unlink()
    assert "missing" in document(capfd, "verify", "shop.bundle", code=1)["problems"][0]


def test_eval(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = document(capfd, "eval", "shop.bundle", "queries.csv")
    MORE = {"findings", "risk_coverage", "barcodes"}
    contract = {"queries", "recall_at_1", "recall_at_5", "mrr", "open_set", "latency_ms"}
    assert set(result) - {"located"} == contract | {
        "stages_ms",
        "looked_again",
        "unreadable",
        "calibration",
        "confusions",
        "by",
        *MORE,
    }
    assert set(result["open_set"]) == {
        *("known", "unknown", "auroc", "false_accept_rate", "correct_accept_rate", "target_false_accept_rate"),
        *("false_accept_interval", "correct_accept_interval", "wrong_accept_rate", "efficiency"),
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
    assert printed[0].startswith("queries") and "3 (2 in the catalogue, 1 unknown)" in printed[0]


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
    assert "small: 768 bytes, 32x32 → 48, MIT\n  a test\n" in done.stdout
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


def test_a_damaged_photo_is_named_as_its_file(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It was called <3125629 bytes>."""
    photo = shop / "photos" / "sku-001" / "cut.png"
    photo.write_bytes((shop / "query.png").read_bytes()[:900])
    built = document(capfd, "build", "photos", "-o", "new.bundle", *tiny_options(shop))
    assert [entry["image"] for entry in built["unreadable"]] == ["sku-001/cut.png"]
    assert "bytes>" not in json.dumps(built) and "sku-001/cut.png" in built["unreadable"][0]["message"]


def test_one_of_a_thing_is_no_plural() -> None:
    assert [amount(count, "photo") for count in (0, 1, 2, 1200)] == ["0 photos", "1 photo", "2 photos", "1,200 photos"]


def test_sizes_for_people() -> None:
    shown = [size_text(size) for size in (768, 40_100, 940_000, 980_000, 2_512_000, 1_240_000_000)]
    assert shown == ["768 bytes", "40 kB", "940 kB", "1.0 MB", "2.5 MB", "1.2 GB"]


def test_from_inside_a_zip_it_says_what_is_needed(tmp_path: Path) -> None:
    package = Path(shelfmatch.edge.__file__).parent
    with zipfile.ZipFile(tmp_path / "shelf.zip", "w") as archive:
        archive.mkdir("shelfmatch")
        for path in package.rglob("*.py"):
            archive.write(path, Path("shelfmatch", "edge", path.relative_to(package)))
    start = "import sys; from shelfmatch.edge.cli.app import main; sys.exit(main(['encoders']))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", start],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "shelf.zip")},
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "shelf.zip, its encoders must be files" in done.stderr and "pip install it, or unpack it" in done.stderr
