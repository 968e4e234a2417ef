"""device.toml: where it is looked for, who reads it, what an explicit argument does, and that --sweep writes what is then used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import Matcher, build_bundle, device
from shelfmatch.edge.bench import run_sweep
from shelfmatch.edge.bench.command import _settings_in, _tell_of_earlier
from shelfmatch.edge.bench.page import write_page
from shelfmatch.edge.bench.results import problem_of
from shelfmatch.edge.bench.runner import Plan
from shelfmatch.edge.bench.sweep import Point, choose
from shelfmatch.edge.bench.target import Target
from shelfmatch.edge.bundle.bundle import Bundle
from shelfmatch.edge.cli.app import main
from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER
from shelfmatch.edge.errors import BenchError, DeviceError
from tests.conftest import tile_photo
from tests.support import tiny_models


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's device.toml, not there yet."""
    monkeypatch.delenv("SHELFMATCH_DEVICE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "shelfmatch" / "device.toml"
    path.parent.mkdir(parents=True)
    return path


def threads_of(matcher: Matcher) -> Any:
    return matcher._settings["threads"]


def test_without_a_file_nothing_changes(settings: Path, tile_bundle: Path) -> None:
    assert device.load() is None and device.encoder_for_builds() == DEFAULT_ENCODER
    with Matcher.open(tile_bundle) as matcher:
        assert threads_of(matcher) == 1


def test_where_it_is_looked_for(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text("version = 1\n[match]\nthreads = 2\n")
    assert device.find() == settings
    named = tmp_path / "mine.toml"
    named.write_text("version = 1\n[match]\nthreads = 3\n")
    monkeypatch.setenv("SHELFMATCH_DEVICE", str(named))
    assert device.find() == named and device.load() == device.Device(threads=3)
    monkeypatch.setenv("SHELFMATCH_DEVICE", "")
    assert device.find() is None and device.load() is None
    monkeypatch.setenv("SHELFMATCH_DEVICE", str(tmp_path / "gone.toml"))
    with pytest.raises(DeviceError, match="SHELFMATCH_DEVICE names it and it isn't there"):
        device.load()
    monkeypatch.delenv("SHELFMATCH_DEVICE")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert device.user_path() == tmp_path / ".config" / "shelfmatch" / "device.toml"


def test_the_matcher_uses_it_and_arguments_win(settings: Path, tile_bundle: Path) -> None:
    settings.write_text('version = 1\n[match]\nthreads = 2\n[match.runtime]\ntflite = "litert"\nonnx = "onnx"\n')
    with Matcher.open(tile_bundle) as matcher:
        assert threads_of(matcher) == 2 and matcher.encoder.runtime.name == "litert"
        assert matcher.match(tile_photo(3, 50)).sku == "sku-003"
    with Matcher.open(tile_bundle, threads=1) as matcher:
        assert threads_of(matcher) == 1


def test_building_uses_it_and_arguments_win(
    settings: Path, tile_folder: Path, tiny_tflite: Path, tmp_path: Path
) -> None:
    settings.write_text(f'version = 1\n[build]\nindex = "hnsw"\nencoder = "{tiny_tflite}"\n')
    built = tmp_path / "a.bundle"
    build_bundle(tile_folder, built, adapt="off", workers=1)
    manifest = Bundle.open(built).manifest
    assert manifest.index.kind == "hnsw" and manifest.encoder.name == "tiny"
    assert main(["build", str(tile_folder), "-o", str(built), "--adapt", "off", "--index", "exact"]) == 0
    assert Bundle.open(built).manifest.index.kind == "exact"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = ", "it can't be read"),
        ("\xff\xfe", "version is None|it can't be read"),
        ("", "version is None; expected version = 1"),
        ("version = 2", "version is 2"),
        ("version = 1\nspeed = 3", "it has speed; expected version, match, build, measured"),
        ("version = 1\nmatch = 3", r"match is 3; expected a table \[match\]"),
        ("version = 1\n[match]\nthread = 3", "it has match.thread; expected match.threads, match.runtime"),
        ("version = 1\n[match]\nthreads = 0", "match.threads is 0; expected a whole number"),
        ("version = 1\n[match]\nthreads = true", "match.threads is True"),
        ("version = 1\n[match]\nthreads = '2'", "match.threads is '2'"),
        (
            "version = 1\n[match.runtime]\ntflite = 'fast'",
            "match.runtime.tflite is 'fast'; expected litert, tflite-runtime",
        ),
        ("version = 1\n[match.runtime]\ntflite = 'onnx'", "match.runtime.tflite is 'onnx'"),
        ("version = 1\n[match.runtime]\ntflite = 'tflite-runtime'", "which is not installed; expected pip install"),
        ("version = 1\n[match.runtime]\nkeras = 'litert'", "it has match.runtime.keras"),
        ("version = 1\n[build]\nindex = 'flat'", "build.index is 'flat'; expected exact or hnsw"),
        ("version = 1\n[build]\nencoder = 3", "build.encoder is 3"),
    ],
)
def test_a_broken_file_is_one_clear_line(
    settings: Path, tile_bundle: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.write_text(text, "latin-1")
    with pytest.raises(DeviceError, match=message) as caught:
        Matcher.open(tile_bundle)
    assert str(settings) in str(caught.value) and "\n" not in str(caught.value)
    assert main(["match", str(tile_bundle), "photo.png"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bench --sweep" in said


def test_an_encoder_that_is_gone(settings: Path, tile_folder: Path, tmp_path: Path) -> None:
    settings.write_text('version = 1\n[build]\nencoder = "/nowhere/x.tflite"\n')
    with pytest.raises(DeviceError, match=r"'/nowhere/x\.tflite', which isn't there"):
        build_bundle(tile_folder, tmp_path / "a.bundle")


def test_what_is_written_is_read(settings: Path) -> None:
    tuned = device.Device(3, (("tflite", "litert"), ("onnx", "onnx")), "hnsw", 'odd "name" \\ é.tflite')
    device.write(settings, tuned, {"target": 'a "shop"', "p90_ms": 2.5})
    assert device.load() == tuned
    device.write(settings, device.Device(), {})
    assert device.load() == device.Device()


SHORT = Plan(4, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0, 0.05)
LAST = Plan(2, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0, 0.05)


@pytest.mark.slow
def test_a_sweep_finds_settings_that_are_then_used(settings: Path, tmp_path: Path) -> None:
    encoders, photos = tmp_path / "encoders", tmp_path / "photos"
    encoders.mkdir()
    photos.mkdir()
    (encoders / "tiny.tflite").write_bytes(tiny_models.average_tflite())
    (encoders / "tiny.onnx").write_bytes(tiny_models.average_onnx())
    (encoders / "other.tflite").write_bytes(tiny_models.identity_tflite(height=8, width=8))
    (encoders / "text.onnx").write_text("no network")
    for number in range(3):
        tile_photo(number, 9).save(photos / f"{number}.png")
    result = run_sweep(
        encoders / "tiny.tflite",
        ("runtime", "threads", "precision", "index"),
        photos=photos,
        references=40,
        plan=SHORT,
        bench_plan=LAST,
        scenarios=("single-stream",),
    )
    assert problem_of(result) is None
    sweep = result["sweep"]
    tried = {
        (p["settings"]["encoder"], p["settings"]["runtime"], p["settings"]["threads"], p["settings"]["index"])
        for p in sweep["points"]
    }
    cores = {1, min(2, max(p["settings"]["threads"] for p in sweep["points"]))}
    assert tried >= {("tiny", "litert", t, i) for t in cores for i in ("exact", "hnsw")}
    assert tried >= {("tiny.onnx", "onnx", t, i) for t in cores for i in ("exact", "hnsw")}
    assert {name for name, *_ in tried} == {"tiny", "tiny.onnx"}  # another size, and no network
    assert all(len(point["rounds"]) == 4 and point["cosine"] > 0.99 for point in sweep["points"])
    (chosen,) = [point for point in sweep["points"] if point["chosen"]]
    assert chosen["settings"] == sweep["chosen"]
    tuned = device.load()
    assert (
        tuned is not None
        and tuned.threads == chosen["settings"]["threads"]
        and tuned.index == chosen["settings"]["index"]
    )
    assert tuned.encoder is not None and Path(tuned.encoder).is_file()
    assert dict(tuned.runtimes) == {Path(tuned.encoder).suffix[1:]: chosen["settings"]["runtime"]}
    assert result["settings"]["threads"] == tuned.threads and result["target"]["name"] == "tiny"
    write_page(tmp_path / "sweep.html", result)
    assert "Settings tried" in (tmp_path / "sweep.html").read_text()


def test_a_bundle_is_swept_too(settings: Path, tile_bundle: Path, tile_folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tile_bundle.iterdir() if path.is_file()}
    result = run_sweep(
        tile_bundle,
        ("index",),
        photos=tile_folder,
        plan=SHORT,
        bench_plan=LAST,
        scenarios=("single-stream",),
        device_file=tmp_path / "elsewhere.toml",
    )
    assert [point["settings"]["index"] for point in result["sweep"]["points"]] == ["exact", "hnsw"]
    assert result["target"]["name"] == "tiles.bundle" and device.load() is None
    assert (tmp_path / "elsewhere.toml").is_file()
    assert {path.name: path.read_bytes() for path in tile_bundle.iterdir() if path.is_file()} == before


def test_a_second_sweep_keeps_what_the_first_one_found(
    settings: Path, tile_bundle: Path, tile_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """threads were gone after --sweep runtime, without a word."""

    def swept(axis: str) -> str:
        sweep: dict[str, Any] = {"plan": SHORT, "bench_plan": LAST, "scenarios": ("single-stream",)}
        run_sweep(tile_bundle, (axis,), photos=tile_folder, **sweep)
        return settings.read_text()

    machine = next(line for line in swept("threads").splitlines() if line.startswith("machine = "))
    first = device.load()
    assert first is not None and first.threads is not None and not first.runtimes
    swept("runtime")
    assert device.load() == device.Device(first.threads, (("tflite", "litert"),))
    both = settings.read_text()
    for old, new in ((machine, 'machine = "another"'), ("tiles.bundle", "other.bundle")):
        assert old in both
        settings.write_text(both.replace(old, new))
        swept("runtime")
        assert device.load() == device.Device(None, (("tflite", "litert"),))


def test_what_a_sweep_does_not_keep_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "d.toml"
    assert _settings_in(str(file)) == device.Device()
    file.write_text("version = 1\n[match]\nthreads = 2\n")
    assert _settings_in(str(file)) == device.Device(2)
    file.write_text("threads = 2\n")
    assert _settings_in(str(file)) == device.Device(), "it is written anew"
    before = device.Device(2, (("tflite", "litert"), ("onnx", "onnx")), "hnsw")
    _tell_of_earlier(before, device.Device(4, (("tflite", "litert"),)))
    told = capsys.readouterr().err
    assert "not kept: match.runtime.onnx = onnx, build.index = hnsw;" in told and "threads = " not in told
    _tell_of_earlier(before, device.over(device.Device(4), before))
    assert capsys.readouterr().err == ""


def test_no_setting_under_the_limit_is_told(settings: Path, tile_bundle: Path, tile_folder: Path) -> None:
    with pytest.raises(BenchError, match="over the limit of 1; raise --memory-limit"):
        run_sweep(tile_bundle, ("threads",), photos=tile_folder, plan=SHORT, memory_limit_bytes=1_000_000)
    assert device.load() is None


def point(threads: int, index: str, p90: float, megabytes: float, spread: float = 0.001) -> Point:
    made = Point("e", "litert", threads, index, Target("e", "encoder", Path("x")), "e")
    made.rounds = [
        {
            "p50_ms": p90, "p90_ms": p90, "p50_yards": p90,
            "p90_yards": p90 * (1 + spread * number), "peak_bytes": int(megabytes * 1e6),
        }
        for number in range(6)
    ]  # fmt: skip
    return made


def test_the_best_tail_under_the_limit_is_chosen() -> None:
    slow, fast, fat = point(1, "exact", 9.0, 50), point(2, "exact", 5.0, 60), point(4, "exact", 3.0, 200)
    assert choose([slow, fast, fat], 100_000_000) is fast
    assert fat.excluded == "200 MB, over the limit of 100" and fast.chosen and not slow.chosen
    assert choose([point(1, "exact", 9.0, 50), fat := point(4, "exact", 3.0, 200)], 10**9) is fat


def test_within_noise_the_lighter_is_chosen() -> None:
    light, heavy = point(1, "exact", 5.05, 50, 0.02), point(2, "exact", 5.0, 50, 0.02)
    assert choose([heavy, light], 10**9) is light
    graph, scan = point(1, "hnsw", 4.99, 50, 0.02), point(1, "exact", 5.0, 50, 0.02)
    assert choose([graph, scan], 10**9) is scan
    noisy, best = point(1, "exact", 6.5, 50, 0.5), point(2, "exact", 5.0, 50, 0.5)
    assert choose([noisy, best], 10**9) is best  # not told apart, but a third more is too much to give away
    lucky, scan = point(1, "hnsw", 5.0, 50, 0.2), point(1, "exact", 6.0, 50, 0.2)
    assert choose([lucky, scan], 10**9) is scan
    faster, scan = point(1, "hnsw", 5.0, 50), point(1, "exact", 6.0, 50)
    assert choose([faster, scan], 10**9) is faster
