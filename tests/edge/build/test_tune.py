"""Another threshold without building again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from shelfmatch.edge import Bundle, BundleError, CatalogError, Matcher, add_to_bundle, build_bundle, tune_bundle
from shelfmatch.edge.bundle.manifest import Manifest
from tests.conftest import tile_photo, write_tiles
from tests.support.commands import document, lines

RATES = (0.005, 0.02, 0.05, 0.1, 0.3)


@pytest.mark.parametrize("adapt", [pytest.param("off", marks=pytest.mark.slow), "on"])
def test_comes_to_what_a_build_would_have_set(tmp_path: Path, tiny_tflite: Path, adapt: str) -> None:
    """The table between its levels: the accepted share of unknown queries differs by less than one of them and a half."""
    photos = write_tiles(tmp_path / "photos", range(30))
    bundle = tmp_path / "tuned.bundle"
    build_bundle(photos, bundle, encoder=tiny_tflite, resizer="pillow", adapt=adapt, false_accept=0.07)  # type: ignore[arg-type]
    files = {p.name: p.stat().st_ino for p in bundle.iterdir() if p.name != "manifest.json"}
    for rate in RATES:
        other = tmp_path / f"{rate}.bundle"
        build_bundle(photos, other, encoder=tiny_tflite, resizer="pillow", adapt=adapt, false_accept=rate)  # type: ignore[arg-type]
        built = Bundle.open(other).manifest.decision
        report = tune_bundle(bundle, rate)
        after = Bundle.open(bundle).manifest.decision
        assert report.after == after and after.target_false_accept_rate == rate
        assert after.false_accept_rate is not None and built.false_accept_rate is not None
        assert abs(after.false_accept_rate - built.false_accept_rate) <= 1.5 / built.unknown + 0.01
        assert abs(after.threshold - built.threshold) < 0.05
        assert abs((after.correct_accept_rate or 0) - (built.correct_accept_rate or 0)) < 0.05
        assert (after.intercept, after.known, after.reliability) == (built.intercept, built.known, built.reliability)
    assert {p.name: p.stat().st_ino for p in bundle.iterdir() if p.name != "manifest.json"} == files
    assert Bundle.open(bundle).verify() == []


def test_a_matcher_follows_and_back_is_back(tile_bundle: Path) -> None:
    before = Bundle.open(tile_bundle).manifest.decision
    with Matcher.open(tile_bundle) as matcher:
        others = [tile_photo(number, 0) for number in range(100, 120)]
        # Of a photo of nothing no rate makes a match; this encoder, which was never trained, takes some tiles for that.
        query = next(one for one in others if not matcher.snapshot.is_blank(matcher.encoder.embed(one)[0]))
        tune_bundle(tile_bundle, 0.999)
        assert matcher.match(query).decision == "match"
        tune_bundle(tile_bundle, before.target_false_accept_rate)
        assert matcher.match(query).decision == "unknown"
    assert Bundle.open(tile_bundle).manifest.decision.threshold == pytest.approx(before.threshold, abs=0.02)


def test_bundles_without_the_table_say_to_build_again(tile_bundle: Path, tmp_path: Path, tiny_tflite: Path) -> None:
    strip(tile_bundle, "confidences")
    with pytest.raises(BundleError, match=r"built before that was kept.*build it again with --false-accept 0\.02"):
        tune_bundle(tile_bundle, 0.02)
    small = tmp_path / "small.bundle"
    build_bundle(write_tiles(tmp_path / "small", range(3)), small, encoder=tiny_tflite, resizer="pillow", adapt="off")
    report = tune_bundle(small, 0.02)  # a shop of three: what other shops taught has a threshold for each rate
    assert report.after.threshold > report.before.threshold
    with pytest.raises(CatalogError, match="false_accept is 2"):
        tune_bundle(small, 2)


def strip(bundle: Path, *keys: str) -> None:
    """A manifest as versions wrote it that knew nothing of these keys, sealed."""
    manifest = Bundle.open(bundle).manifest
    path = bundle / "manifest.json"
    record = json.loads(manifest.to_bytes())
    assert all(key in record for key in keys)
    for key in (*keys, "sha256"):
        del record[key]
    body = json.dumps(record, indent=2, ensure_ascii=False)[:-2].encode()
    path.write_bytes(body + b',\n  "sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n')
    Manifest.from_bytes(path.read_bytes(), "it")


def test_the_command(tile_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle = str(tile_bundle)
    told = document(capfd, "tune", bundle, "--false-accept", "0.2")
    assert told["bundle"] == bundle and told["generation"] == 2
    assert told["before"]["target_false_accept_rate"] == 0.05 and told["after"]["target_false_accept_rate"] == 0.2
    assert told["after"]["threshold"] < told["before"]["threshold"]
    assert "for 20% → 10% false accepts" in lines(capfd, "tune", bundle, "--false-accept", "0.1")[0]


# Outgrown


def test_a_bundle_knows_when_it_has_outgrown_its_fit(
    tmp_path: Path, tiny_tflite: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = str(tmp_path / "shop.bundle")
    photos = write_tiles(tmp_path / "photos", range(8))
    report = build_bundle(photos, bundle, encoder=tiny_tflite, resizer="pillow", adapt="on")
    assert report.outgrown is not None and report.outgrown.state == "no"
    add_to_bundle(bundle, write_tiles(tmp_path / "more", range(8, 12)), workers=1)
    assert document(capfd, "info", bundle)["outgrown"]["state"] == "no"  # 12 of 8: one and a half is not more
    told = lines(capfd, "add", bundle, str(write_tiles(tmp_path / "last", range(12, 13))))
    assert told[-1].startswith("  outgrown: fitted to 8 products with 24 photos, has 13 with 39 now; build it again")
    assert lines(capfd, "info", bundle)[-1] == lines(capfd, "verify", bundle)[-1] == told[-1]
    outgrown = document(capfd, "verify", bundle)["outgrown"]
    assert (outgrown["state"], outgrown["fitted_products"], outgrown["products"]) == ("yes", 8, 13)
    assert document(capfd, "info", bundle)["outgrown"] == outgrown and "build it again" in outgrown["advice"]


def test_bundles_of_before_say_unknown_and_untuned_ones_no(
    tile_bundle: Path, adapted_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_to_bundle(tile_bundle, write_tiles(tmp_path / "more", range(20, 50)), workers=1)
    assert document(capfd, "info", str(tile_bundle))["outgrown"]["state"] == "no"
    strip(adapted_bundle, "fit")
    assert document(capfd, "info", str(adapted_bundle))["outgrown"]["state"] == "unknown"
    assert document(capfd, "verify", str(adapted_bundle))["ok"]
    add_to_bundle(adapted_bundle, write_tiles(tmp_path / "less", range(20, 21)), workers=1)
    assert document(capfd, "info", str(adapted_bundle))["outgrown"]["fitted_products"] is None
