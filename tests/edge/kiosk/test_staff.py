"""Staff teach, correct and remove; what was acknowledged is there after a kill, and after a new bundle."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shelfmatch.edge import add_to_bundle, remove_from_bundle
from shelfmatch.edge.cli import main
from shelfmatch.edge.errors import KioskError
from shelfmatch.edge.kiosk.staff import Gate, add_code, new_code, read_codes
from tests.conftest import write_tiles
from tests.support.kiosk import Answer, KioskProcess, form

from .conftest import Started, tile


@pytest.fixture
def own(started: Started, tile_shop: Path, tmp_path: Path) -> KioskProcess:
    """A kiosk of this test alone, on its own copy of the bundle."""
    bundle = shutil.copytree(tile_shop / "shop.bundle", tmp_path / "shop.bundle")
    return started(bundle, "--set", "answers.watch_seconds=0.1", staff=True)


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came true")


def test_a_taught_product_is_known_also_after_a_kill(own: KioskProcess) -> None:
    assert own.match(tile(40)).json["sku"] is None
    taught = own.enrol([tile(40, photo) for photo in (1, 2, 3)], name="Green tea", price="2.50", gtin="4006381333948")
    assert taught.status == 201, taught.body
    assert taught.json["product"]["sku"] == "4006381333948" and taught.json["photos_added"] == 3
    assert own.match(tile(40)).json["sku"] == "4006381333948"
    assert own.get("/v1/search?q=green").json["products"][0]["is_taught"]
    own.kill()
    own.start()
    found = own.match(tile(40)).json
    assert found["sku"] == "4006381333948" and found["candidates"][0]["attributes"]["price"] == "2.50"


def test_a_new_bundle_erases_nothing_that_staff_taught(own: KioskProcess, tmp_path: Path) -> None:
    own.enrol([tile(40, photo) for photo in (1, 2, 3)], sku="mine", name="Mine")
    own.staff("PATCH", "/v1/products/sku-001", b'{"attributes": {"price": "9.99"}}', "application/json")
    own.staff("DELETE", "/v1/products/sku-002")
    before = own.get("/readyz").json
    add_to_bundle(own.bundle, write_tiles(tmp_path / "more", range(20, 23)), workers=1)
    remove_from_bundle(own.bundle, ["sku-005"])
    until(lambda: own.get("/readyz").json["generation"] == before["generation"] + 2)
    assert own.match(tile(21)).json["sku"] == "sku-021" and own.match(tile(40)).json["sku"] == "mine"
    assert own.get("/v1/products/sku-001").json["attributes"]["price"] == "9.99"
    assert own.get("/v1/products/sku-002").status == own.get("/v1/products/sku-005").status == 404
    own.kill()
    own.start()
    assert own.match(tile(40)).json["sku"] == "mine" and own.get("/v1/products/sku-002").status == 404


def test_a_broken_bundle_is_refused_and_said_so(own: KioskProcess, tmp_path: Path) -> None:
    good = shutil.copytree(own.bundle, tmp_path / "good.bundle")
    before = own.get("/readyz").json
    manifest = own.bundle / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    until(lambda: own.get("/readyz").json["refused"] is not None)
    ready = own.get("/readyz").json
    assert ready["status"] == "degraded" and ready["refused"]["error"] == "BundleDamaged"
    assert ready["generation"] == before["generation"] and own.match(tile(3)).json["sku"] == "sku-003"
    assert own.enrol([tile(41, 1)], name="While it is broken").status == 201
    assert "is refused" in own.log.read_text()
    own.kill()
    own.start()  # from the copy that it kept
    assert own.match(tile(3)).json["sku"] == "sku-003" and own.get("/readyz").json["refused"] is not None
    shutil.rmtree(own.bundle)
    good.rename(own.bundle)
    own.process.send_signal(signal.SIGHUP)
    until(lambda: own.get("/readyz").json["refused"] is None)


def test_correct_remove_and_bring_back(own: KioskProcess) -> None:
    changed = own.staff(
        "PATCH", "/v1/products/sku-004", b'{"attributes": {"name": "Four <b>", "category": ""}}', "application/json"
    )
    assert changed.json["name"] == "Four <b>" and "category" not in changed.json["attributes"]
    assert own.staff("DELETE", "/v1/products/sku-004").status == 204
    assert own.match(tile(4)).json["sku"] != "sku-004" and own.staff("DELETE", "/v1/products/sku-004").status == 404
    assert own.enrol([tile(4, photo) for photo in (71, 72)], sku="sku-004", name="Back").status == 201
    found = own.match(tile(4)).json
    assert found["sku"] == "sku-004" and found["candidates"][0]["name"] == "Back"


def test_photos_come_and_go(own: KioskProcess) -> None:
    own.enrol([tile(40, 1)], sku="mine", name="Mine")
    again = own.enrol([tile(40, 1), tile(40, 2)], sku="mine", name="Mine")
    assert again.json["photos_added"] == 1 and again.json["photos_known"] == 1
    first, second = again.json["product"]["taught_photos"]
    assert own.staff("DELETE", f"/v1/products/mine/photos/{first}").status == 204
    last = own.staff("DELETE", f"/v1/products/mine/photos/{second}")
    assert last.status == 409 and "only photo" in last.json["detail"]


def at_once(*calls: Callable[[], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result() for one in [pool.submit(call) for call in calls]]


def test_two_who_take_a_products_last_photos_away_at_once(own: KioskProcess) -> None:
    """Each would have found another photo beside its own, and the product would have ended with none."""
    numbers = own.enrol([tile(40, 1), tile(40, 2)], sku="mine", name="Mine").json["product"]["taught_photos"]
    answers = at_once(*(partial(own.staff, "DELETE", f"/v1/products/mine/photos/{number}") for number in numbers))
    assert sorted(one.status for one in answers) == [204, 409]
    assert own.get("/v1/products/mine").json["photos"] == 1


def test_a_product_is_removed_once_by_those_who_ask_at_once(own: KioskProcess) -> None:
    answers = at_once(*[partial(own.staff, "DELETE", "/v1/products/sku-004")] * 6)
    assert sorted(one.status for one in answers) == [204, *[404] * 5]
    assert own.get("/v1/products/sku-004").status == 404


def test_what_comes_after_a_removal_does_not_bring_a_product_back(tile_shop: Path, tmp_path: Path) -> None:
    """Two of staff at once: each request had found the product before it went, and the second would undo the first."""
    from shelfmatch.edge.kiosk.problems import Problem
    from shelfmatch.edge.kiosk.shop import Shop, matcher_settings
    from shelfmatch.edge.kiosk.staff_api import _correct, _teach_more

    settings = matcher_settings(threads=1, workers=1, runtime="auto")
    shop = Shop(tile_shop / "shop.bundle", settings, tmp_path / "state")
    try:
        shop.change(partial(_correct, shop, "sku-004", {"price": "1.00"}))
        shop.change(lambda overlay: overlay.remove_product("sku-004", in_bundle=True))
        for late in (partial(_correct, shop, "sku-004", {"price": "2.00"}), partial(_teach_more, shop, "sku-004", [])):
            with pytest.raises(Problem, match="sku-004"):
                shop.change(late)
        assert shop.served.snapshot.catalog.product_id("sku-004") is None
    finally:
        shop.close()


def test_a_photo_that_the_bundle_has_is_known_and_not_kept(own: KioskProcess, tile_shop: Path) -> None:
    photos = [(tile_shop / "photos" / f"4-{photo}.png").read_bytes() for photo in range(2)]
    kind, body = form(photos, {})
    again = own.staff("POST", "/v1/products/sku-004/photos", body, kind)
    assert again.status == 201 and (again.json["photos_added"], again.json["photos_known"]) == (0, 2)
    assert not again.json["product"]["is_taught"]  # nothing of it was changed
    taught = own.enrol([*photos, tile(4, 71)], sku="sku-004", name="Four").json
    assert (taught["photos_added"], taught["photos_known"]) == (1, 2)
    assert taught["product"]["photos"] == 4 and len(taught["product"]["taught_photos"]) == 1
    with contextlib.closing(sqlite3.connect(own.folder / "state" / "taught.sqlite")) as connection:
        numbers = [row[0] for row in connection.execute("SELECT number FROM photo")]
    assert numbers == taught["product"]["taught_photos"]
    assert own.staff("DELETE", "/v1/products/sku-004").status == 204
    back = own.enrol(photos[:1], sku="sku-004", name="Back").json  # the bundle's product, which staff had hidden
    assert (back["photos_added"], back["photos_known"], back["product"]["photos"]) == (0, 1, 3)


def test_a_bar_code_that_another_product_has_is_refused(own: KioskProcess) -> None:
    """sku-003 has it in the bundle; staff may name it to that product, and to another once it is free."""
    code, change = "4006381333931", b'{"attributes": {"gtin": "04006381333931"}}'
    for fields in ({"gtin": code}, {"gtin": code, "sku": "mine"}, {"gtin": f"0{code}", "sku": "sku-004"}):
        refused = own.enrol([tile(40, 1)], name="Mine", **fields)
        assert refused.status == 409 and refused.json["type"] == "/v1/docs#conflict"
        assert "is that of 'sku-003' (Tile 3); expected" in refused.json["detail"]
    patched = own.staff("PATCH", "/v1/products/sku-004", change, "application/json")
    assert patched.status == 409 and "'sku-003'" in patched.json["detail"]
    assert own.get("/v1/products?taught=true").json["total"] == 0  # nothing of it was kept
    assert own.staff("PATCH", "/v1/products/sku-003", change, "application/json").status == 200
    assert own.enrol([tile(3, 71)], name="Three", sku="sku-003", gtin=code).status == 201
    freed = b'{"attributes": {"gtin": ""}}'
    assert own.staff("PATCH", "/v1/products/sku-003", freed, "application/json").status == 200
    assert own.staff("PATCH", "/v1/products/sku-004", change, "application/json").status == 200
    assert own.get(f"/v1/search?q={code}").json["products"][0]["sku"] == "sku-004"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "gtin": "4006381333930"}, "4006381333931 would be right"),
        ({"name": "x", "sku": "a\x01b"}, "printable"),
        ({"name": "x", "colour": "red"}, "unknown field"),
        ({"name": "x", "sku": "y" * 201}, "200"),
    ],
)
def test_what_staff_mistype_is_said(kiosk: KioskProcess, fields: dict[str, str], said: str) -> None:
    answer = kiosk.enrol([tile(50)], **fields)
    assert answer.status == 422 and said in answer.json["detail"]


def test_a_photo_that_is_none_teaches_nothing(kiosk: KioskProcess) -> None:
    total = kiosk.get("/v1/products").json["total"]
    answer = kiosk.enrol([tile(50), b"no photo"], name="Half")
    assert answer.status == 422 and answer.json["type"] == "/v1/docs#photo"
    assert kiosk.get("/v1/products").json["total"] == total


def test_names_of_paths_and_html_come_back_as_they_are(own: KioskProcess) -> None:
    for number, sku in enumerate(("../../etc/passwd", "a/b", "%2e%2e", "<script>alert(1)</script>", "q?x=1#y", "é 茶")):
        taught = own.enrol([tile(60 + number, photo) for photo in (1, 2)], sku=sku, name="<img src=x onerror=alert(1)>")
        assert taught.status == 201, taught.body
        product = taught.json["product"]
        assert product["sku"] == sku and product["name"] == "<img src=x onerror=alert(1)>"
        assert own.get(product["picture"]).status == 200
        assert own.get(product["picture"].removesuffix("/picture")).json["sku"] == sku


def test_a_damaged_overlay_is_set_aside(own: KioskProcess) -> None:
    own.enrol([tile(40, 1)], sku="mine", name="Mine")
    own.kill()
    overlay = own.folder / "state" / "taught.sqlite"
    with sqlite3.connect(overlay) as connection:  # a journal would mend the page
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    overlay.write_bytes(b"\xaa" * 4096 + overlay.read_bytes()[4096:])
    own.start()
    assert own.get("/readyz").json["is_overlay_damaged"] and own.match(tile(3)).json["sku"] == "sku-003"
    assert list((own.folder / "state").glob("taught.sqlite.damaged-*"))


def test_two_kiosks_dont_share_a_folder(own: KioskProcess, started: Started) -> None:
    with pytest.raises(AssertionError, match="used by another kiosk"):
        KioskProcess(
            own.bundle, own.folder, "--staff-codes", str(own.folder / "codes"), "--folder", str(own.folder / "state")
        )


def test_codes_are_hashed_expire_and_are_compared_whole(tmp_path: Path) -> None:
    now = [time.time()]
    code = add_code(tmp_path / "codes", "anna", None)
    short = add_code(tmp_path / "codes", "temp", 1.0)
    text = (tmp_path / "codes").read_text()
    assert code not in text and (tmp_path / "codes").stat().st_mode & 0o077 == 0
    gate = Gate(read_codes(tmp_path / "codes"), 3, lambda: now[0])
    assert gate.check(code, "a") and gate.check(code.upper(), "a") and gate.check(short, "a")
    assert not gate.check(code[:-1], "a") and not gate.check("", "a") and gate.is_known(short)
    now[0] += 86_401
    assert not gate.is_known(short) and not gate.check(short, "a") and gate.is_known(code)


def test_a_code_into_a_folder_that_is_not_there_says_what_to_make(tmp_path: Path) -> None:
    """A fresh device has no /etc/shelfmatch; it said "No such file or directory" of the file."""
    with pytest.raises(KioskError, match=r"the folder .*nowhere does not exist; make it first"):
        add_code(tmp_path / "nowhere" / "codes", "anna", None)
    assert list(tmp_path.iterdir()) == []


def test_after_too_many_wrong_codes_there_is_a_pause(started: Started, tile_shop: Path) -> None:
    kiosk = started(tile_shop / "shop.bundle", "--set", "staff.attempts=3", staff=True)
    statuses = [kiosk.staff("GET", "/v1/staff", code=f"wrong-{number}").status for number in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    refused = kiosk.staff("GET", "/v1/staff")
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 200


def test_a_clock_that_is_set_back_makes_no_pause_longer(tmp_path: Path) -> None:
    """A board without a battery that came up in the future shut staff out until that day."""
    now, ticks = [time.time() + 400 * 86_400], [0.0]
    code = add_code(tmp_path / "codes", "anna", None)
    gate = Gate(read_codes(tmp_path / "codes"), 3, lambda: now[0], lambda: ticks[0])
    for _ in range(3):
        gate.note("a")
    now[0] -= 400 * 86_400
    assert gate.pause_s("a") == 300
    ticks[0] += 301
    assert gate.pause_s("a") == 0 and gate.check(code, "a")


def test_a_photo_that_staff_take_away_isnt_shown_any_more(own: KioskProcess) -> None:
    taught = own.enrol([tile(42, 1), tile(42, 2)], sku="shown", name="Shown").json["product"]
    before = own.get("/v1/products/shown/picture")
    assert before.status == 200
    second = taught["taught_photos"][1]
    assert own.staff("DELETE", f"/v1/products/shown/photos/{second}").status == 204
    assert own.get("/v1/products/shown/picture").body == before.body
    kind, body = form([tile(42, 3)], {})
    third = own.staff("POST", "/v1/products/shown/photos", body, kind)
    assert third.status == 201 and own.get("/v1/products/shown/picture").body != before.body
    number = third.json["product"]["taught_photos"][-1]
    shown = own.get("/v1/products/shown/picture").body
    assert own.staff("DELETE", f"/v1/products/shown/photos/{number}").status == 204
    assert own.get("/v1/products/shown/picture").body != shown


def test_a_file_of_codes_in_clear_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "codes").write_text("secret\n")
    with pytest.raises(KioskError, match="line 1 is no hashed code"):
        read_codes(tmp_path / "codes")
    with pytest.raises(KioskError, match="without a bar"):
        new_code("a|b")


@pytest.mark.parametrize("days", ["1e9", "3000000", "inf", "nan", "0", "-3", "1e-9"])
def test_a_code_for_days_that_make_no_sense_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: str
) -> None:
    assert main(["kiosk", "code", str(tmp_path / "codes"), f"--days={days}"]) == 2
    told = capsys.readouterr()
    assert not told.out and told.err.count("\n") == 1 and "expected 0.01 to 3650, like 30" in told.err
    assert not (tmp_path / "codes").exists()


def test_a_code_lasts_as_many_days_as_were_asked_for(tmp_path: Path) -> None:
    for days in (0.01, 30.0, 3650.0):
        add_code(tmp_path / "codes", "anna", days)
    lasts = [(one.expires or 0.0) - time.time() for one in read_codes(tmp_path / "codes")]
    assert lasts == pytest.approx([864.0, 30 * 86_400.0, 3650 * 86_400.0], abs=60)


def test_an_overlay_survives_what_sqlite_survives(own: KioskProcess) -> None:
    own.enrol([tile(40, 1)], sku="mine", name="Mine")
    own.kill()
    with contextlib.closing(sqlite3.connect(own.folder / "state" / "taught.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT sku FROM product").fetchall() == [("mine",)]
