"""Benchmarks from end to end, on a real bundle and real processes, with boards that are made up where a test needs one to fail.

One module of over 400 lines: its result takes longer to measure than all tests of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest

from shelfmatch.edge import Bundle, Matcher, build_bundle, update_bundle
from shelfmatch.edge.bench import load_result, run_bench, run_sweep, save_result, scenarios, throttle
from shelfmatch.edge.bench.page import _what, write_page
from shelfmatch.edge.bench.plots import _STAGES
from shelfmatch.edge.bench.results import problem_of, schema
from shelfmatch.edge.bench.runner import Plan, Settings
from shelfmatch.edge.bench.scenarios import offline, single_stream, steady_rate
from shelfmatch.edge.bench.target import MOST_PHOTOS, folder_photos, open_target
from shelfmatch.edge.bench.yardstick import make_yardstick
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.errors import BenchError, CardRequired, ImageError
from shelfmatch.edge.machine.process import idle_for, memory_bytes
from shelfmatch.edge.machine.sensors import Sensors
from shelfmatch.edge.matching.results import STAGES
from shelfmatch.edge.scoring.cascade import ALWAYS
from tests.conftest import tile_photo
from tests.support.boards import raspberry_pi

pytestmark = pytest.mark.xdist_group("bench")

TINY = Plan(3, 0.0, 0.3, 0.2, 0.3, 0.05, 0.1, 0, 0.05)
BRIEF = Plan(2, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0, 0.05)
STREAM = Plan(4, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0, 0.02)


def silent(*arguments: str) -> str | None:
    return None


def write_photos(folder: Path) -> Path:
    """A folder of photos, one of them in a folder of its own, and something that is none."""
    (folder / "more").mkdir(parents=True)
    for number in range(4):
        tile_photo(number, 9).save(folder / f"{number}.png")
    tile_photo(5, 9).save(folder / "more" / "5.jpg")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture(scope="module")
def result(built_bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run with all scenarios; the tests only look at it."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(built_bundles("off"), folder / "tiles.bundle")
    return run_bench(folder / "tiles.bundle", photos=write_photos(folder / "photos"), plan=TINY, quick=True)


def test_a_result_is_what_its_schema_says(result: dict[str, Any]) -> None:
    jsonschema.validate(result, schema())
    assert problem_of(result) is None
    assert result["rounds"] == 3 and result["quick"]
    assert set(result["scenarios"]) == {"single-stream", "steady-rate", "offline"}
    assert result["photos"] == {"kind": "folder", "count": 5, "width": 48, "height": 48}
    assert result["target"]["name"] == "tiles.bundle" and result["target"]["references"] == 36


def test_its_figures_hang_together(result: dict[str, Any]) -> None:
    stream = result["scenarios"]["single-stream"]
    assert stream["samples"] == len(stream["samples_ms"]) == sum(block["photos"] for block in stream["blocks"])
    latency = stream["latency_ms"]
    assert 0 < latency["p50"]["low"] <= latency["p50"]["value"] <= latency["p90"]["value"] <= latency["p99"]["high"]
    assert latency["p50"]["value"] == pytest.approx(np.quantile(stream["samples_ms"], 0.5, method="inverted_cdf"))
    assert set(stream["stages_ms"]) == {"decode", "preprocess", "encode", "search", "decide"}
    assert 0.5 < stream["stage_sum_of_wall"] <= 1  # photos of 48 pixels: 0.2 ms, of which the record of it is a part
    steady = result["scenarios"]["steady-rate"]
    assert steady["samples"] + steady["dropped"] == steady["frames"]
    start = result["start"]
    parts = ("interpreter_ms", "import_ms", "load_ms", "first_match_ms")
    assert sum(start[part]["value"] for part in parts) == pytest.approx(start["cold_ms"]["value"], rel=0.5)
    memory = result["memory"]
    assert 20e6 < memory["started_bytes"] <= memory["peak_bytes"] <= memory["offline_peak_bytes"] * 1.05
    assert result["idle"]["seconds"] >= 0.1 and result["encode_loop"]["bare_p50_ms"] > 0


def test_the_page_is_whole(result: dict[str, Any], tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", result)
    page = (tmp_path / "page.html").read_text()
    for outside in ("<script", "http://", "https://", "<link", "src="):
        assert outside not in page
    for heading in ("Latency, single-stream", "Latency, steady-rate", "The run through time", "Memory", "The machine"):
        assert heading in page
    assert f"{result['scenarios']['single-stream']['latency_ms']['p50']['value']:.2f} ms" in page
    assert "nan" not in page.lower().replace("nanum", "")


def test_enough_samples_are_taken_however_long_it_takes(tile_bundle: Path, photos: Path) -> None:
    plan = Plan(2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 101, 0.05)
    result = run_bench(tile_bundle, photos=photos, plan=plan, scenarios=("single-stream", "offline"))
    assert result["scenarios"]["single-stream"]["samples"] >= 101
    assert result["scenarios"]["offline"]["photos"] >= 101
    assert result["encode_loop"] is None and result["idle"] is None and problem_of(result) is None


def test_an_encoder_is_measured_in_a_made_up_shop(tiny_tflite: Path, photos: Path) -> None:
    settings = Settings(threads=2, resizer="pillow")
    result = run_bench(
        tiny_tflite, photos=photos, plan=TINY, scenarios=("single-stream",), settings=settings, references=50
    )
    assert result["target"]["kind"] == "encoder" and result["target"]["references"] == 50
    assert result["settings"] | {"fps": None} == result["settings"]
    assert (result["settings"]["threads"], result["settings"]["resizer"]) == (2, "pillow")


def test_a_second_encoder_has_its_stage_and_its_name(
    tile_folder: Path, tiny_tflite: Path, tiny_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    build_bundle(tile_folder, tmp_path / "two.bundle", encoder=(tiny_tflite, tiny_onnx), resizer="pillow", adapt="off")
    manifest = Bundle.open(tmp_path / "two.bundle").manifest
    assert manifest.cascade is not None
    second = manifest.branches[1]
    always = replace(manifest, cascade=replace(manifest.cascade, sure_from=ALWAYS))
    (tmp_path / "two.bundle" / "manifest.json").write_bytes(always.to_bytes())
    result = run_bench(tmp_path / "two.bundle", photos=photos, plan=BRIEF, scenarios=("single-stream",))
    stream = result["scenarios"]["single-stream"]
    assert stream["stages_ms"]["second_encoder"]["p50"] > 0 and stream["stage_sum_of_wall"] > 0.6
    assert result["target"]["second_encoder"] == second.encoder.name
    assert result["target"]["second_encoder_sha256"] == second.encoder.sha256 and problem_of(result) is None
    assert f"and {second.encoder.name}, 36 references" in _what(result)
    assert _STAGES.keys() == set(STAGES)


def test_the_reading_of_bar_codes_has_its_stage(tile_bundle: Path, tmp_path: Path) -> None:
    """Of rejected photos, where the catalogue has article numbers: all stages together are the whole time."""
    pytest.importorskip("zxingcpp", reason="pip install 'shelfmatch[barcode]'")
    (tmp_path / "gtins.csv").write_text("sku,gtin\nsku-000,4006381333931\n")
    update_bundle(tile_bundle, tmp_path / "gtins.csv")
    (tmp_path / "photos").mkdir()
    for number in (40, 41):
        tile_photo(number, 9, 1200).save(tmp_path / "photos" / f"{number}.jpg")
    settings = Settings(locate="off", look_again=False)
    photos = tmp_path / "photos"
    result = run_bench(tile_bundle, photos=photos, plan=BRIEF, scenarios=("single-stream",), settings=settings)
    stream = result["scenarios"]["single-stream"]
    assert stream["stages_ms"]["barcode"]["p50"] > 0 and 0.98 < stream["stage_sum_of_wall"] <= 1
    assert problem_of(result) is None
    write_page(tmp_path / "page.html", result)
    assert "barcode: " in (tmp_path / "page.html").read_text()


def test_a_sweep_of_two_encoders_of_two_formats(
    tile_folder: Path, tiny_tflite: Path, tiny_onnx: Path, photos: Path, tmp_path: Path, capsys: Any
) -> None:
    build_bundle(tile_folder, tmp_path / "two.bundle", encoder=(tiny_tflite, tiny_onnx), resizer="pillow", adapt="off")
    (photos / "broken.png").write_text("no photo")
    sweep: dict[str, Any] = {
        "photos": photos,
        "device_file": tmp_path / "new" / "d.toml",
        "scenarios": ("single-stream",),
    }
    result = run_sweep(tmp_path / "two.bundle", ("threads",), plan=BRIEF, bench_plan=BRIEF, **sweep)
    assert all(point["excluded"] is None for point in result["sweep"]["points"]) and problem_of(result) is None
    assert capsys.readouterr().err.count("broken.png") == 1
    with pytest.raises(BenchError, match="whose encoders are tflite and onnx, which no runtime takes both"):
        run_sweep(tmp_path / "two.bundle", ("runtime",), **sweep)


def test_what_was_stolen_is_held_against_all_cpus(
    tile_bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not against those that this process may use, of a machine with many."""
    asked = []
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(throttle, "find", lambda *given, **named: asked.append(named["cores"]) or [])
    result = run_bench(tile_bundle, photos=photos, plan=BRIEF, scenarios=("single-stream",))
    assert asked == [64] and result["sensors"]["cpus"] == 64 and result["board"]["cores"] < 64


def test_photos_that_cannot_be_read_are_told_and_left_out(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for hidden in (photos / "._1.png", photos / ".trash" / "1.png"):
        hidden.parent.mkdir(exist_ok=True)
        hidden.write_text("no photo")
    assert folder_photos(photos).count == 5 and capsys.readouterr().err == ""
    (photos / "0.png").write_text("no photo")
    assert folder_photos(photos).count == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "left out: " in said and "0.png is damaged" in said
    for photo in photos.rglob("*.??g"):
        photo.write_text("no photo")
    with pytest.raises(BenchError, match=r"none of the 5 photos in .* can be read"):
        folder_photos(photos)
    assert capsys.readouterr().err == "", "the error names one of them"


def test_others_take_the_places_of_photos_that_cannot_be_read(tmp_path: Path) -> None:
    for number in range(MOST_PHOTOS + 2):
        tile_photo(number, 0, side=4).save(tmp_path / f"{number:03d}.png")
    (tmp_path / "000.png").write_text("no photo")
    found = folder_photos(tmp_path)
    assert found.count == len(set(found.paths)) == MOST_PHOTOS and str(tmp_path / "000.png") not in found.paths


def test_a_name_that_is_not_utf8_is_kept_as_escapes(tile_bundle: Path, photos: Path, tmp_path: Path) -> None:
    bundle = tile_bundle.rename(tmp_path / "bad\udcff.bundle")
    result = run_bench(bundle, photos=photos, plan=BRIEF, scenarios=("single-stream",))
    assert result["target"]["name"] == "bad\\udcff.bundle"
    save_result(tmp_path / "r.json", result)
    write_page(tmp_path / "r.html", result)
    assert load_result(tmp_path / "r.json")["target"]["name"] in (tmp_path / "r.html").read_text()
    encoder = tmp_path / "bad\udcff.tflite"
    with pytest.raises(BenchError, match=r"no name in UTF-8, which device\.toml could not hold"):
        run_sweep(encoder, ("precision",), device_file=tmp_path / "d.toml")


def test_a_made_up_shop_keeps_to_the_memory_there_is(
    tiny_tflite: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shelfmatch.edge.bench.target.describe_board", lambda: {"available_bytes": 1_000_000})
    with pytest.raises(BenchError, match=r"5,000 references of 48 numbers need 0\.0 GB"):
        run_bench(tiny_tflite, photos=photos, plan=BRIEF, references=5000)


@pytest.mark.parametrize("camera", ["99999999999999", "9" * 5000])
def test_a_camera_that_no_machine_has(camera: str, tile_bundle: Path) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(BenchError, match="expected a number from 0 to 99"):
        run_bench(tile_bundle, camera=camera, plan=BRIEF)


def test_a_camera_gives_frames(tile_bundle: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    video = tmp_path / "camera.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(6):
        writer.write(np.asarray(tile_photo(number, 0, side=64))[:48, :, ::-1])
    writer.release()
    result = run_bench(tile_bundle, camera=str(video), plan=TINY, scenarios=("single-stream",))
    assert result["photos"] == {"kind": "camera", "count": 6, "width": 64, "height": 48}
    with pytest.raises(BenchError, match=r"none\.avi' arrived as a camera; expected its number"):
        run_bench(tile_bundle, camera=str(tmp_path / "none.avi"), plan=TINY)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"photos": "nowhere"}, BenchError, "is no folder"),
        ({"photos": "empty"}, BenchError, "holds no photos"),
        ({"photos": "broken"}, BenchError, "can be read; .*broken.jpg is damaged"),
        ({"photos": "photos", "camera": "0"}, BenchError, "expected one of them"),
        ({"scenarios": ("multi",)}, BenchError, "'multi' arrived; expected single-stream"),
        ({"scenarios": ()}, BenchError, "expected single-stream"),
        ({"fps": 0.0}, BenchError, "0 frames a second"),
        ({"target": "empty"}, BenchError, "a folder but no bundle"),
        ({"target": "no-such"}, BenchError, "unknown encoder 'no-such'; expected .*; or a bundle"),
    ],
)
def test_wrong_input_is_told(
    tile_bundle: Path, photos: Path, tmp_path: Path, arguments: dict[str, Any], error: type, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.jpg").write_text("no photo")
    given: dict[str, Any] = {"target": tile_bundle, "photos": "photos", "plan": TINY, **arguments}
    with contextlib.chdir(tmp_path), pytest.raises(error, match=message):
        run_bench(given.pop("target"), **given)


def test_a_network_that_needs_a_card_says_so(tmp_path: Path, photos: Path) -> None:
    from tests.support import tiny_models

    (tmp_path / "float.onnx").write_bytes(tiny_models.average_onnx(dtype="float32"))
    with pytest.raises(CardRequired):
        run_bench(tmp_path / "float.onnx", photos=photos, plan=TINY)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "died with signal 4; shelfmatch doctor"),
        ("raise SystemExit('out of memory')", "failed: out of memory"),
        ("print('half a line')", "gave no result"),
        ('print(\'{"error": "the disk is full"}\')', "^the disk is full$"),
    ],
)
def test_a_round_that_fails_is_one_line(tile_bundle: Path, photos: Path, code: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        run_bench(tile_bundle, photos=photos, plan=TINY, worker=(sys.executable, "-c", code))


# Throttling, injected while a real run is on.


@contextlib.contextmanager
def after_rounds(count: int, action: Callable[[], None], folder: Path) -> Iterator[tuple[str, ...]]:
    """A worker's command for `run_bench`; `action` happens when so many of its rounds have begun, however long that takes."""
    begun, over = folder / "rounds", threading.Event()
    begun.touch()
    code = f"import time; begun = time.perf_counter(); open({str(begun)!r}, 'a').write('.')\n"
    code += "from shelfmatch.edge.bench.worker import main; main(begun)"

    def watch() -> None:
        while not over.wait(0.005):
            if begun.stat().st_size >= count:
                action()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sys.executable, "-P", "-c", code
    finally:
        over.set()
        thread.join()


def test_heat_during_the_run_is_in_the_headline(tile_bundle: Path, photos: Path, tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path / "pi")
    with after_rounds(2, lambda: board.temperature(84), tmp_path) as worker:
        result = run_bench(
            tile_bundle,
            photos=photos,
            plan=STREAM,
            scenarios=("single-stream",),
            root=board.root,
            sensors=Sensors(board.root, silent),
            worker=worker,
        )
    assert "THROTTLED" in result["headline"] and "84 °C, where it slows down from 80 °C on" in result["headline"]
    assert result["board"]["model"].startswith("Raspberry Pi 4")
    write_page(tmp_path / "hot.html", result)
    page = (tmp_path / "hot.html").read_text()
    assert "THROTTLED" in page and "temperature (°C)" in page and "slows down from here on" in page


def test_a_frequency_that_falls_is_in_the_headline(tile_bundle: Path, photos: Path, tmp_path: Path) -> None:
    board = raspberry_pi(tmp_path / "pi")
    with after_rounds(3, lambda: board.frequency(1000), tmp_path) as worker:
        result = run_bench(
            tile_bundle,
            photos=photos,
            plan=Plan(5, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0, 0.02),
            scenarios=("single-stream",),
            root=board.root,
            sensors=Sensors(board.root, silent),
            worker=worker,
        )
    assert "THROTTLED: the CPU fell from 1,800 to 1,000 MHz" in result["headline"]


def test_the_firmwares_flags_are_in_the_headline(tile_bundle: Path, photos: Path, tmp_path: Path) -> None:
    said = ["throttled=0x0"]
    sensors = Sensors(tmp_path, lambda *arguments: said[0] if arguments == ("get_throttled",) else None)

    def browned_out() -> None:
        said[0] = "throttled=0x50005"

    with after_rounds(2, browned_out, tmp_path) as worker:
        result = run_bench(
            tile_bundle,
            photos=photos,
            plan=STREAM,
            scenarios=("single-stream",),
            sensors=sensors,
            root=tmp_path,
            worker=worker,
        )
    assert "THROTTLED: the firmware reports: under-voltage, throttled" in result["headline"]


def test_a_process_that_is_held_back_is_in_the_headline(tile_bundle: Path, photos: Path) -> None:
    """Stopped for half of the time, as a quota or a neighbour does it."""
    code = "import os, signal, subprocess, sys, time; begun = time.perf_counter()\n"
    code += "held = subprocess.Popen([sys.executable, '-c', '''\n"
    code += "import os, signal, sys, time\n"
    code += "while os.getppid() == int(sys.argv[1]):\n"
    code += (
        "    os.kill(int(sys.argv[1]), signal.SIGSTOP); time.sleep(0.03); os.kill(int(sys.argv[1]), signal.SIGCONT)\n"
    )
    code += "    time.sleep(0.01)\n''', str(os.getpid())], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    code += "from shelfmatch.edge.bench.worker import main; main(begun)\n"
    code += "held.kill(); os.kill(os.getpid(), signal.SIGCONT); held.wait()\n"
    plan = Plan(2, 0.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0, 0.05)
    result = run_bench(
        tile_bundle, photos=photos, plan=plan, scenarios=("single-stream",), worker=(sys.executable, "-P", "-c", code)
    )
    assert "DISTURBED: it had a core for" in result["headline"]
    assert all(row["quiet_share"] < 1 for row in result["scenarios"]["single-stream"]["rounds"])


# The scenarios, on a matcher of this process.


class Clock:
    """The scenarios' clock, which only moves when something is said to take time: no other process can disturb it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for name in ("_clock", "_cpu"):
            monkeypatch.setattr(scenarios, name, lambda: self.now)
        monkeypatch.setattr(scenarios, "time", SimpleNamespace(sleep=self.pass_by))

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def yardstick(self) -> tuple[float, float]:
        self.pass_by(0.02)
        return 20.0, 20.0

    def matcher(self, matcher: Matcher, seconds: float) -> Any:
        """A real matcher whose answers take so long."""

        def match(photo: Any) -> Any:
            self.pass_by(seconds)
            return matcher.match(photo)

        return SimpleNamespace(match=match)


def test_a_camera_too_fast_drops_frames(tile_bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, clock = sorted(photos.glob("*.png")), Clock(monkeypatch)
    with Matcher.open(tile_bundle, look_again=False) as matcher:
        slow = steady_rate(clock.matcher(matcher, 0.035), paths, 0.5, 1, clock.yardstick, fps=100)
        easy = steady_rate(clock.matcher(matcher, 0.035), paths, 0.5, 1, clock.yardstick, fps=4)
    # Four frames come while one is looked at; of those that waited the newest is taken.
    assert slow["late"] == len(slow["samples_ms"]) and 11 <= len(slow["samples_ms"]) <= 15
    assert slow["dropped"] + len(slow["samples_ms"]) == slow["frames"] >= 50
    assert min(slow["samples_ms"]) >= 35 and max(slow["samples_ms"]) < 45 + 1e-6
    assert (easy["dropped"], easy["late"]) == (0, 0) and easy["frames"] == len(easy["samples_ms"]) == 2
    assert easy["samples_ms"] == pytest.approx([35, 35])


def test_blocks_leave_the_yardstick_out(tile_bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, clock = sorted(photos.glob("*.png")), Clock(monkeypatch)
    with Matcher.open(tile_bundle, look_again=False) as matcher:
        record = single_stream(clock.matcher(matcher, 0.01), paths, 2.0, 1, clock.yardstick)
    inside = sum(record["samples_ms"]) / 1e3
    assert clock.now > inside + 0.02 and len(record["blocks"]) > 1
    assert sum(block["seconds"] for block in record["blocks"]) == pytest.approx(inside)
    assert all(block["yardstick_ms"] == 20.0 for block in record["blocks"])


def test_offline_stops_at_a_photo_that_cant_be_read(tile_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no photo")
    with Matcher.open(tile_bundle) as matcher, pytest.raises(ImageError):
        offline(matcher, [tmp_path / "broken.jpg"], 0.1, 1, make_yardstick(), workers=2)


def test_memory_and_idleness_of_this_process() -> None:
    before = memory_bytes()
    ballast = np.ones(8_000_000)  # 64 MB
    after = memory_bytes()
    if before["resident"] is not None and after["resident"] is not None:
        assert 50e6 < after["resident"] - before["resident"] < 80e6
    assert after["peak"] is not None and after["peak"] >= ballast.nbytes
    idle = idle_for(0.05)
    assert idle["seconds"] is not None and idle["seconds"] >= 0.05
    stop = threading.Event()
    restless = threading.Thread(target=lambda: [stop.wait(0.002) for _ in range(10_000) if not stop.is_set()])
    restless.start()
    try:
        busy = idle_for(0.3)
    finally:
        stop.set()
        restless.join()
    assert busy["wakeups_per_s"] is None or busy["wakeups_per_s"] > 20


def test_an_interrupt_takes_the_round_with_it(tile_bundle: Path, photos: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(600)"

    def interrupt_when_it_runs() -> None:
        while not (note.exists() and note.read_text().endswith("\n")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    interrupt = threading.Thread(target=interrupt_when_it_runs, daemon=True)
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        run_bench(tile_bundle, photos=photos, plan=TINY, worker=(sys.executable, "-c", code))
    interrupt.join()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_an_encoder_may_have_any_name(tmp_path: Path, tiny_tflite: Path) -> None:
    """Its made-up shop lay where the name led: of ../x beside the folder."""
    card = {**inspect_encoder(tiny_tflite).to_dict(), "name": "../../somebody/tiny"}
    (tmp_path / "tiny.json").write_text(json.dumps(card))
    shutil.copy(tiny_tflite, tmp_path / "tiny.tflite")
    folder = tmp_path / "work" / "inner"
    folder.mkdir(parents=True)
    photos = folder_photos(write_photos(tmp_path / "photos"))
    target = open_target(tmp_path / "tiny.json", photos, folder, 10)
    assert target.bundle.parent == folder and target.name == "../../somebody/tiny"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["photos", "tiny.json", "tiny.tflite", "work"]
