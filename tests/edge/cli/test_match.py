"""`shelfmatch match`: what an unknown answer lacks, folders, a watched folder, a camera."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.cli.app import main
from tests.conftest import tile_photo, write_tiles
from tests.support.commands import COMMAND, document, exit_code_of


def answers(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    main(["match", *arguments, "--json"])
    out, err = capfd.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def test_an_unknown_answer_says_how_sure_it_would_have_to_be(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (found,) = answers(capfd, "shop.bundle", "stranger.png")
    threshold = document(capfd, "info", "shop.bundle")["decision"]["threshold"]
    assert found["decision"] == "unknown" and found["threshold"] == pytest.approx(threshold, abs=1e-6)
    main(["match", "shop.bundle", "stranger.png"])
    assert "% sure, needs " in capfd.readouterr().out
    main(["match", "shop.bundle", "stranger.png", "--top-k", "3"])
    answer, nearest, *_ = capfd.readouterr().out.splitlines()
    assert nearest.startswith("  1. ") and f"{nearest.split()[-1]} sure, needs " in answer
    main(["match", "shop.bundle", "query.png", "stranger.png"])
    assert ["needs" in line for line in capfd.readouterr().out.splitlines()] == [False, True]
    main(["match", "shop.bundle", "stranger.png", "--frames"])
    assert ", needs " in capfd.readouterr().out
    assert answers(capfd, "shop.bundle", "stranger.png", "--frames")[0]["threshold"] == found["threshold"]


def test_folders_of_photos(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = shop / "queries" / "b"
    folder.mkdir(parents=True)
    (shop / "queries" / ".hidden").mkdir()
    for name in ("b/2.png", "b/10.PNG", "a.png", ".hidden/x.png"):
        shutil.copy("query.png", shop / "queries" / name)
    (folder / "notes.txt").write_text("no photo")
    found = answers(capfd, "shop.bundle", "other.png", "queries")
    assert [one["image"] for one in found] == ["other.png", "queries/a.png", "queries/b/10.PNG", "queries/b/2.png"]
    assert [one["sku"] for one in found] == ["sku-004", "sku-003", "sku-003", "sku-003"]
    for arguments, words in (
        (["match", "shop.bundle", "nothing"], "nothing holds no photos; expected"),
        (["match", "shop.bundle"], "no image arrived; expected photos, folders"),
        (["match", "shop.bundle", "queries", "--explain", "x.png"], "queries, a folder; expected one image"),
        (["eval", "shop.bundle", "nothing"], "nothing holds no photos; expected"),
    ):
        assert exit_code_of(arguments) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.count("\n") == 1 and words in err


def test_frames_say_what_became_of_them(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = []
    for number in range(6):
        tile_photo(3, 200 + number).save(shop / f"frame-{number}.png")
        photos.append(f"frame-{number}.png")
    main(["match", "shop.bundle", photos[0], "text.jpg", *photos[1:], "--frames"])
    out, err = capfd.readouterr()
    assert err.count("\n") == 1 and "text.jpg" in err
    used = answers_frames(out)
    assert "1 unreadable" in out and f"{7 - 1 - used} not needed" in out and " of 7 frames (" in out


def answers_frames(line: str) -> int:
    return int(line.partition(", from ")[2].split()[0])


def test_eval_of_a_folder(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for sku, name in (("sku-003", "query"), ("deep/sku-004/front", "other"), ("unknown", "stranger")):
        (shop / "labelled" / sku).mkdir(parents=True)
        shutil.copy(f"{name}.png", shop / "labelled" / sku)
    result = document(capfd, "eval", "shop.bundle", "labelled")
    assert (result["queries"], result["recall_at_1"], result["open_set"]["unknown"]) == (3, 1.0, 1)
    (shop / "labelled" / "teas").mkdir()
    shutil.copy("query.png", shop / "labelled" / "teas")
    assert exit_code_of(["eval", "shop.bundle", "labelled"]) == 2
    assert "named 'teas', which the bundle doesn't have as a SKU; rename it" in capfd.readouterr().err
    shutil.copy("query.png", shop / "labelled")
    shutil.rmtree(shop / "labelled" / "teas")
    assert exit_code_of(["eval", "shop.bundle", "labelled"]) == 2
    assert "query.png lies beside the folders; expected labelled/SKU/photo.jpg" in capfd.readouterr().err


@contextmanager
def watching(shop: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "match", "shop.bundle", "--watch", "arrivals", "--json", *options]
    with subprocess.Popen(command, cwd=shop, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_watched_folder(shop: Path, stop: signal.Signals) -> None:
    (shop / "arrivals").mkdir()
    shutil.copy("other.png", shop / "arrivals" / "old.png")
    whole = (shop / "query.png").read_bytes()
    with watching(shop, "query.png") as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["image"] == "query.png", "photos that are named come first"
        (shop / "arrivals" / "half.png").write_bytes(whole[: len(whole) // 2])
        time.sleep(1.8)  # longer than the two polls that take a file to be whole
        with (shop / "arrivals" / "half.png").open("ab") as file:
            file.write(whole[len(whole) // 2 :])
        first = json.loads(process.stdout.readline())
        assert (first["image"], first.get("sku")) == ("arrivals/half.png", "sku-003"), "half a photo was answered"
        shutil.copy("other.png", shop / "arrivals" / "old.png.part")
        os.replace(shop / "arrivals" / "old.png.part", shop / "arrivals" / "old.png")  # noqa: PTH105
        assert json.loads(process.stdout.readline())["sku"] == "sku-004", "a photo that was replaced is a new one"
        process.send_signal(stop)
        assert process.wait(20) == 0
        assert process.stdout.read() == "" and process.stderr.read() == ""


def write_video(path: Path, products: list[int], frames: int, turns: int = 0) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV writes the video; pip install shelfmatch[fast]")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (96, 96))
    for product in products:
        for number in range(frames):
            pixels = np.rot90(np.asarray(tile_photo(product, 300 + number, side=96)), turns)
            writer.write(np.ascontiguousarray(pixels[:, :, ::-1]))
    writer.release()


def test_a_camera_answers_each_product_once(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_video(shop / "till.avi", [3, 4], 14)
    main(["match", "shop.bundle", "--camera", "till.avi", "--json"])
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["sku"] for one in found] == ["sku-003", "sku-004"] and found[0]["sure"]
    main(["match", "shop.bundle", "--camera", "till.avi"])
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].startswith("sku-003, ") and "at frame " in printed[0] and len(printed) == 2
    for arguments, words in (
        (["99"], "camera 99 can't be opened; expected one that is plugged in"),
        (
            ["gone.avi"],
            "'gone.avi' arrived as a camera; expected its number, like 0 for /dev/video0, csi, a video file",
        ),
        (["text.jpg"], "text.jpg"),
        (["till.avi", "query.png"], "--camera arrived with images; expected it alone"),
        (["csi"], "a CSI camera needs picamera2"),
    ):
        assert exit_code_of(["match", "shop.bundle", "--camera", *arguments]) == 2
        out, err = capfd.readouterr()
        assert out == "" and words in err and err.splitlines()[-1].startswith("shelfmatch: ")


def test_a_video_without_a_match_is_no(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As with --frames; it was 0, whatever the video showed."""
    write_video(shop / "till.avi", [3], 14)
    write_video(shop / "strange.avi", [77], 14)
    assert exit_code_of(["match", "shop.bundle", "--camera", "till.avi", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["sku"] == "sku-003"
    assert exit_code_of(["match", "shop.bundle", "--camera", "strange.avi", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["sku"] is None


def test_a_turn_is_of_a_camera(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["match", "shop.bundle", "query.png", "--turn", "180"]) == 2
    assert "--turn 180 arrived without --camera" in capfd.readouterr().err
    write_video(shop / "hangs.avi", [3], 14, turns=2)
    for turn, sku in (("0", None), ("180", "sku-003")):
        assert exit_code_of(["match", "shop.bundle", "--camera", "hangs.avi", "--turn", turn, "--json"]) == (
            sku is None
        )
        assert json.loads(capfd.readouterr().out.splitlines()[-1])["sku"] == sku


def test_a_camera_without_opencv_says_how_to_get_it(shop: Path) -> None:
    without = (
        "import sys; sys.modules['cv2'] = sys.modules['av'] = None; from shelfmatch.edge.cli.app import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", without, "match", "shop.bundle", "--camera", "0"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "need OpenCV or PyAV, neither is installed; pip install 'shelfmatch[fast]'" in done.stderr


def test_labels_of_one_photo_a_product(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They were 50 % for all, whatever the nearest products agreed on, and beside a sure SKU as well."""
    write_tiles(shop / "one", range(40), photos=1)
    rows = [f"one/sku-{n:03d}/0.png,sku-{n:03d},{'tea' if n % 4 else 'soup'}" for n in range(40)]
    (shop / "one.csv").write_text("\n".join(["image,sku,category", *rows]))
    assert main(["build", "one.csv", "-o", "one.bundle", "--encoder", "tiny.tflite", "--adapt", "off"]) == 0
    capfd.readouterr()
    Image.new("RGB", (64, 64), (120, 60, 30)).save("plain.png")
    images = ["query.png", "other.png", "stranger.png", "plain.png"]
    found = answers(capfd, "one.bundle", *images, "--labels", "category")
    assert [one["sku"] for one in found[:2]] == ["sku-003", "sku-004"]
    assert [one["labels"]["category"]["value"] for one in found[:2]] == ["tea", "soup"], "the answer's own category"
    for one in found[:2]:
        assert one["labels"]["category"]["confidence"] >= one["confidence"] - 1e-6
    unsure = found[2]["labels"]["category"]
    assert found[2]["sku"] is None and unsure["value"] == "tea" and 0.55 < unsure["confidence"] < 0.9
