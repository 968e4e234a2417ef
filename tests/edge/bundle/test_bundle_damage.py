"""Damage of every kind is found and named, and a damaged bundle never answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import (
    Bundle,
    BundleDamaged,
    BundleError,
    BundleVersion,
    Matcher,
    ShelfmatchError,
    build_bundle,
)
from shelfmatch.edge.bundle.manifest import BUNDLE_VERSION, ONE_ENCODER_VERSION, FileEntry, Manifest
from shelfmatch.edge.cli.app import main
from tests.conftest import tile_photo

FLIPS = 500
ROLES = ("encoder", "vectors", "catalog")
KINDS = ("exact", "hnsw")


@pytest.fixture(scope="module")
def whole_bundles(
    tmp_path_factory: pytest.TempPathFactory, tile_folder: Path, tiny_tflite: Path
) -> Iterator[dict[str, Path]]:
    """One of each kind, whole again after every test."""
    folder = tmp_path_factory.mktemp("whole")
    bundles = {kind: folder / f"{kind}.bundle" for kind in KINDS}
    for kind, bundle in bundles.items():
        build_bundle(tile_folder, bundle, encoder=tiny_tflite, resizer="pillow", index=kind, adapt="off")
    yield bundles
    for bundle in bundles.values():
        assert Bundle.open(bundle).verify() == []


@pytest.fixture
def bundle(whole_bundles: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy to damage."""
    kind = getattr(request, "param", "exact")
    shutil.copytree(whole_bundles[kind], tmp_path / "shop.bundle")
    return tmp_path / "shop.bundle"


both_kinds = pytest.mark.parametrize("bundle", KINDS, indirect=True)


def check_refused(bundle: Path, named: str, capsys: pytest.CaptureFixture[str]) -> type[ShelfmatchError]:
    """`verify` names the file and fails, and there is no matcher to ask; the error that said so."""
    code = main(["verify", str(bundle)])
    printed = capsys.readouterr()
    with pytest.raises(ShelfmatchError) as refusal:
        Matcher.open(bundle).match(tile_photo(1, 9))
    assert named in str(refusal.value) and "\n" not in str(refusal.value)
    assert named in printed.err and printed.out == ""
    assert code == (1 if refusal.type is BundleDamaged else 2)
    return refusal.type


def flipped(data: bytes, random: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    damaged[int(random.integers(len(damaged)))] ^= int(random.integers(1, 256))
    return bytes(damaged)


@both_kinds
def test_a_flipped_byte_anywhere_is_found(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Bundle.open(bundle)
    files = [bundle / "manifest.json", *(opened.file(role) for role in ROLES)]
    random = np.random.default_rng(1)
    refusals = []
    for number in range(FLIPS // len(KINDS)):
        path = files[number % len(files)]
        good = path.read_bytes()
        path.write_bytes(flipped(good, random))
        refusals.append(check_refused(bundle, path.name, capsys))
        path.write_bytes(good)
    # One digit of the manifest is its format, which another digit makes one of the future.
    assert len(refusals) == FLIPS // len(KINDS) and refusals.count(BundleDamaged) >= len(refusals) - 2
    with Matcher.open(bundle) as matcher:
        assert matcher.match(tile_photo(1, 9)).sku == "sku-001"


def test_every_byte_of_the_manifest_counts(bundle: Path) -> None:
    path = bundle / "manifest.json"
    good = path.read_bytes()
    random = np.random.default_rng(2)
    for place in range(len(good)):
        for mask in (1, int(random.integers(1, 256))):  # 1: another letter or digit, so that JSON stays JSON
            damaged = bytearray(good)
            damaged[place] ^= mask
            with pytest.raises((BundleDamaged, BundleVersion), match=r"manifest\.json"):
                Manifest.from_bytes(bytes(damaged), str(path))
    for length in range(len(good)):
        with pytest.raises(BundleDamaged):
            Manifest.from_bytes(good[:length], str(path))
    with pytest.raises(BundleDamaged):
        Manifest.from_bytes(good + b"\n", str(path))


@pytest.mark.parametrize("bundle", ["exact", pytest.param("hnsw", marks=pytest.mark.slow)], indirect=True)
def test_the_command_line_refuses_in_one_line(bundle: Path, tmp_path: Path) -> None:
    tile_photo(1, 9).save(tmp_path / "query.png")
    opened = Bundle.open(bundle)
    random = np.random.default_rng(3)
    for path in (bundle / "manifest.json", *(opened.file(role) for role in ROLES)):
        good = path.read_bytes()
        path.write_bytes(flipped(good, random))
        for command, code in (
            (["match", str(bundle), str(tmp_path / "query.png"), "--json"], 2),
            (["verify", str(bundle)], 1),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "shelfmatch.edge.cli", *command], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == code, done.stderr
            assert done.stdout == "" and path.name in done.stderr and done.stderr.count("\n") == 1
        path.write_bytes(good)


@both_kinds
@pytest.mark.parametrize("role", ["manifest", *ROLES])
def test_a_file_of_another_length_is_found(bundle: Path, role: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle / "manifest.json" if role == "manifest" else Bundle.open(bundle).file(role)
    good = path.read_bytes()
    for length in (0, 1, 64, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        assert check_refused(bundle, path.name, capsys) is BundleDamaged
    path.write_bytes(good + b"\0")
    assert check_refused(bundle, path.name, capsys) is BundleDamaged
    path.unlink()
    assert check_refused(bundle, path.name, capsys) is (BundleError if role == "manifest" else BundleDamaged)
    path.mkdir()
    assert check_refused(bundle, path.name, capsys) is (BundleError if role == "manifest" else BundleDamaged)


@both_kinds
def test_random_bytes_of_the_right_length_are_found(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Above all the graph: what reads it would follow any number that stands there."""
    random = np.random.default_rng(4)
    for role in ROLES:
        path = Bundle.open(bundle).file(role)
        good = path.read_bytes()
        for keep in (0, 64, len(good) // 2):  # from the start, after the header, in the middle
            path.write_bytes(good[:keep] + random.bytes(len(good) - keep))
            assert check_refused(bundle, path.name, capsys) is BundleDamaged
        path.write_bytes(good)


def test_files_of_another_bundle_are_found(
    bundle: Path, tile_folder: Path, tiny_tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The same network with another tensor name, and the same photos under other SKUs: every file has the same size.
    (tmp_path / "other.tflite").write_bytes(tiny_tflite.read_bytes().replace(b"pixels", b"pixelz"))
    for folder in tile_folder.iterdir():
        shutil.copytree(folder, tmp_path / "photos" / folder.name.replace("sku", "art"))
    tile_photo(99, 0).save(tmp_path / "photos" / "art-000" / "0.png")
    other = tmp_path / "other.bundle"
    build_bundle(tmp_path / "photos", other, encoder=tmp_path / "other.tflite", resizer="pillow", adapt="off")
    ours, theirs = Bundle.open(bundle), Bundle.open(other)
    for role in ROLES:
        path = ours.file(role)
        good = path.read_bytes()
        assert theirs.entry(role).size_bytes == len(good) and theirs.entry(role).sha256 != ours.entry(role).sha256
        path.write_bytes(theirs.file(role).read_bytes())
        assert check_refused(bundle, path.name, capsys) is BundleDamaged
        path.write_bytes(good)
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json").write_bytes((other / "manifest.json").read_bytes())
    assert check_refused(bundle, theirs.file("encoder").name, capsys) is BundleDamaged
    for role in ("vectors", "catalog"):  # all of theirs but the encoder
        shutil.copy(theirs.file(role), bundle)
    assert check_refused(bundle, theirs.file("encoder").name, capsys) is BundleDamaged
    (bundle / "manifest.json").write_bytes(manifest)
    assert Bundle.open(bundle).verify() == []


def sealed(record: dict[str, Any]) -> bytes:
    """A manifest that ends in its own hash, as a writer of any version would make it."""
    body = json.dumps({key: value for key, value in record.items() if key != "sha256"}, indent=2)[:-2].encode()
    return body + b',\n  "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def test_an_older_format_asks_to_build_again(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_bytes(sealed({**json.loads(path.read_bytes()), "format_version": ONE_ENCODER_VERSION - 1}))
    with pytest.raises(BundleVersion, match=f"format {ONE_ENCODER_VERSION - 1}; .* build the bundle again"):
        Bundle.open(bundle)


@pytest.mark.parametrize("version", [BUNDLE_VERSION + 1, BUNDLE_VERSION + 10, 10**30])
def test_a_future_format_asks_for_a_newer_version(
    bundle: Path, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bundle / "manifest.json"
    record = json.loads(path.read_bytes())
    assert sealed(record) == path.read_bytes()
    newer = {**record, "format_version": version, "files": "elsewhere"}
    unsealed = json.dumps(newer).encode()
    resealed = json.dumps({**newer, "seal": {"blake3": "…"}}).encode()
    for data in (sealed(newer), unsealed, resealed):
        path.write_bytes(data)
        assert check_refused(bundle, f"format {version}", capsys) is BundleVersion
        with pytest.raises(BundleVersion, match="install a newer one"):
            Bundle.open(bundle)


def test_a_sealed_manifest_of_something_else_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = bundle / "manifest.json"
    record = json.loads(path.read_bytes())
    vectors = {**record["files"]["vectors"]}
    strange: list[dict[str, Any]] = [
        {**record, "format": "a web page"},
        {**record, "files": {}},
        {**record, "files": ["vectors"]},
        {**record, "files": {**record["files"], "vectors": "here"}},
        {**record, "files": {**record["files"], "vectors": {**vectors, "size_bytes": "many"}}},
        {**record, "files": {**record["files"], "vectors": {**vectors, "sha256": 5}}},
        {**record, "encoder": None},
        {**record, "encoder": {**record["encoder"], "width": 0}},
        {**record, "adaptation": {**record["adaptation"], "views": "none"}},
        {**record, "index": {**record["index"], "kind": 3}},
        {**record, "index": {**record["index"], "references": 35}},
        {**record, "index": []},
        {**record, "decision": {"method": "a guess"}},
        {**record, "decision": [1, 2]},
        {**record, "decision": {**record["decision"], "threshold": "high"}},
        {key: value for key, value in record.items() if key != "products"},
        {key: value for key, value in record.items() if key != "resizer"},
        {**record, "resizer": "magick"},
    ]
    for one in strange:
        path.write_bytes(sealed(one))
        with pytest.raises(BundleError, match=r"the manifest's|manifest\.json|shop\.bundle") as refusal:
            Matcher.open(bundle)
        assert "\n" not in str(refusal.value), one
    for text in ("[]", "null", "17", '"text"', "{}", ""):
        path.write_text(text)
        with pytest.raises(BundleError, match=r"manifest\.json"):
            Matcher.open(bundle)


@pytest.mark.parametrize("place", ["../{name}", "{folder}/{name}", "sub/{name}", "..", ".", "", "./{name}", "{name}/"])
def test_a_manifest_that_names_files_elsewhere_is_refused(
    bundle: Path, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Bundle.open(bundle)
    (bundle / "sub").mkdir()
    for role in ROLES:
        source = opened.file(role)
        for folder in (tmp_path, bundle / "sub"):
            shutil.copy(source, folder)
        name = place.format(name=source.name, folder=tmp_path)
        size = (bundle / name).stat().st_size if (bundle / name).exists() else 0
        entry = FileEntry(name, size, opened.entry(role).sha256)  # everything else about it is right
        manifest = dataclasses.replace(opened.manifest, files={**opened.manifest.files, role: entry})
        (bundle / "manifest.json").write_bytes(manifest.to_bytes())
        check_refused(bundle, str(bundle), capsys)


def test_an_encoder_that_did_not_make_the_vectors_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes and manifest agree, the card doesn't."""
    opened = Bundle.open(bundle)
    data = opened.file("encoder").read_bytes().replace(b"pixels", b"pixelz")
    opened.file("encoder").write_bytes(data)
    entry = dataclasses.replace(opened.entry("encoder"), sha256=hashlib.sha256(data).hexdigest())
    manifest = dataclasses.replace(opened.manifest, files={**opened.manifest.files, "encoder": entry})
    (bundle / "manifest.json").write_bytes(manifest.to_bytes())
    assert check_refused(bundle, "not the one that made the vectors", capsys) is BundleError


@both_kinds
def test_ungolden_files_do_not_matter(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "notes.txt").write_text("…")
    (bundle / "vectors-000000000000.vec").write_bytes(b"of a commit that was killed")
    (bundle / "folder").mkdir()
    assert main(["verify", str(bundle)]) == 0
    assert "as built" in capsys.readouterr().out
    with Matcher.open(bundle) as matcher:
        assert matcher.match(tile_photo(1, 9)).sku == "sku-001"


@both_kinds
def test_an_open_matcher_goes_on_from_what_it_checked(bundle: Path) -> None:
    """Files deleted or damaged under a running device: it answers from what it opened, and never from the damage."""
    with Matcher.open(bundle) as matcher:
        expected = matcher.match(tile_photo(1, 9))
        manifest = bundle / "manifest.json"
        good = manifest.read_bytes()
        manifest.unlink()
        assert matcher.match(tile_photo(1, 9)).candidates == expected.candidates
        manifest.write_bytes(good.replace(b'"generation": 1', b'"generation": 7'))
        assert matcher.match(tile_photo(1, 9)).generation == 1
        for role in ROLES:
            (bundle / matcher.bundle.file(role).name).unlink()
        manifest.write_bytes(good)  # a new stamp: the bundle looks changed, but nothing of it can be read
        assert matcher.match(tile_photo(1, 9)).candidates == expected.candidates
        with pytest.raises(BundleDamaged):
            matcher.reload()


@pytest.mark.skipif(sys.platform != "linux", reason="counts on how descriptors are numbered")
def test_a_version_that_cannot_be_read_just_now_stops_no_device(bundle: Path) -> None:
    """Too many open files, no permission, a lost network drive: it goes on with the version it has."""
    import resource

    with Matcher.open(bundle) as matcher:
        assert matcher.match(tile_photo(1, 9)).sku == "sku-001"
        (bundle / "manifest.json").touch()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(bundle, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))  # one file at a time; vectors take two
        try:
            assert matcher.match(tile_photo(1, 9)).sku == "sku-001"
            with pytest.raises(BundleDamaged, match=r"vectors-.*can't be read: Too many open files"):
                matcher.reload()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert matcher.reload()


@pytest.mark.parametrize("closed", ["", "shop.bundle", "shop.bundle/manifest.json"])
def test_who_may_not_read_a_bundle_is_told_so(tile_bundle: Path, tmp_path: Path, closed: str) -> None:
    """It was a PermissionError, or "not a bundle"."""
    folder = tmp_path / "shops"
    shutil.copytree(tile_bundle, folder / "shop.bundle")
    for above in (folder, *folder.parents[:3]):
        above.chmod(0o755)
    (folder / closed).chmod(0)
    try:
        # Root may read it all.
        code = """
import os, sys
from shelfmatch.edge import Bundle, BundleError
if os.geteuid() == 0: os.seteuid(65534)
try: Bundle.open(sys.argv[1])
except BundleError as error: print(error)
"""
        done = subprocess.run([sys.executable, "-c", code, str(folder / "shop.bundle")], capture_output=True, text=True)
    finally:
        (folder / closed).chmod(0o755)
    assert "can't be read: Permission denied; read it as a user who may" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("products",), "x"),
        (("generation",), None),
        (("generation",), -1),
        (("decision", "intercept"), 10**400),
        (("decision", "threshold"), float("nan")),
        (("decision", "method"), "guessed"),
        (("decision", "correct_accept_rate"), 1.5),
        (("decision", "reliability"), [[10**400, 0, 1]]),
    ],
    ids=lambda one: str(one)[:20],
)
def test_a_sealed_manifest_of_impossible_numbers_is_refused(
    bundle: Path, capsys: pytest.CaptureFixture[str], where: tuple[str, ...], value: object
) -> None:
    record = json.loads((bundle / "manifest.json").read_bytes())
    del record["sha256"]
    inner = record
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    (bundle / "manifest.json").write_bytes(sealed(record))
    assert main(["info", str(bundle), "--verbose"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "build the bundle again" in err and len(err) < 600
