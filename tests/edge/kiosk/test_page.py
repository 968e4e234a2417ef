"""The page in Debian's Chromium, with a camera that shows films of rendered products: what a shopper and what staff see."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shelfmatch.edge.kiosk.service_api import PAGE
from shelfmatch.edge.synthetic.products import make_shop, render_view
from tests.support.kiosk import KioskProcess, jpeg

from .conftest import Started, film, streamed

CHROMIUM = shutil.which("chromium")
SIZES = {"portrait": (1080, 1920), "wide": (1280, 800), "pi": (800, 480)}
needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="pip install playwright"),
    pytest.mark.xdist_group("kiosk-page"),
]


@pytest.fixture(scope="module")
def shop(rendered_shop: Path) -> Path:
    return rendered_shop


@pytest.fixture(scope="module")
def staffed(shop: Path, started: Started) -> KioskProcess:
    return started(shop / "shop.bundle", "--pictures", str(shop), "--set", "page.currency=EUR", staff=True)


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


def launched(playwright: Any, film: Path) -> Any:
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
              f"--use-file-for-fake-video-capture={film}"],
    )  # fmt: skip


class Screen:
    """A page, with what its console complained about."""

    def __init__(self, browser: Any, kiosk: KioskProcess, size: str = "wide", **more: Any) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(viewport={"width": width, "height": height}, **{"locale": "en-US", **more})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"http://127.0.0.1:{kiosk.port}/")

    def state(self, *names: str, seconds: float = 30) -> None:
        self.page.wait_for_selector(", ".join(f"[data-state={name}]" for name in names), timeout=seconds * 1000)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def close(self) -> None:
        assert not self.complaints
        assert all(url.startswith(("http://127.0.0.1:", "blob:", "data:")) for url in self.requests)
        self.context.close()


def test_every_language_has_the_same_words() -> None:
    files = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in PAGE.glob("*.json")}
    assert set(files) == {"en", "de", "zh"}
    for name, words in files.items():
        assert set(words) == set(files["en"]), name
        assert all(isinstance(text, str) and text for text in words.values())
    assert sum(files["de"][key] == text for key, text in files["en"].items()) < 6


def test_every_word_that_the_page_asks_for_is_there() -> None:
    import re

    words = json.loads((PAGE / "en.json").read_text(encoding="utf-8"))
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    asked = set(re.findall(r'data-t(?:-label|-placeholder)?="(\w+)"', html)) | set(
        re.findall(r'\bt\("([\w ]+)"', scripts)
    )
    assert len(asked) > 35 and asked <= set(words)


def test_the_page_has_neither_inline_code_nor_markup_of_strings() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text, path.name
        assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text, path.name
        if path.suffix == ".html":
            assert " style=" not in text and "<style" not in text and " onclick=" not in text, path.name


class TestInChromium:
    """Needs a browser."""

    pytestmark = needs_browser

    def test_what_staff_leave_behind(self, playwright: Any, tile_shop: Path, started: Started) -> None:
        """Closing the sheet signed nobody out: the next shopper could remove products, for as long as the page was open."""
        settings = ("page.currency=EUR", "page.camera=off", "page.idle_seconds=5")
        kiosk = started(tile_shop / "shop.bundle", *(word for one in settings for word in ("--set", one)), staff=True)
        browser = launched(playwright, tile_shop / "none.mjpeg")
        screen = Screen(browser, kiosk)
        page = screen.page
        page.click("#open-staff")
        page.fill("#staff-code", kiosk.code)
        page.click("#staff-body button.main")
        page.wait_for_selector("#staff-body .menu")
        page.click("#staff [data-close]")
        page.click("#open-staff")  # a moment later staff are still in
        page.wait_for_selector("#staff-body .menu")
        page.click("#staff [data-close]")
        for _ in range(6):  # shoppers touch the page meanwhile
            page.wait_for_timeout(2_000)
            page.click("#title")
        page.click("#open-staff")
        page.wait_for_selector("#staff-code")
        # Prices: what may be thousands is no small sum.
        written = ["1,299", "1.299", "12.5", "12,50", "3", "3.00", "about 5"]
        prices = page.evaluate("async (all) => all.map((await import('/page/view.js')).price)", written)
        assert prices == ["1,299", "1.299", "€12.50", "€12.50", "€3.00", "€3.00", "about 5"]
        # More than one page of products that were taught.
        count = page.evaluate(
            """async () => {
              window.fetch = async (path) => {
                const offset = Number(new URLSearchParams(path.split("?")[1]).get("offset"));
                return new Response(JSON.stringify({ total: 450, products: Array(Math.min(200, 450 - offset)).fill({}) }));
              };
              return (await (await import("/page/api.js")).staff("x").taught()).products.length;
            }"""
        )
        assert count == 450
        screen.close()
        browser.close()

    def test_taking_the_photos_again_keeps_what_was_typed(
        self, playwright: Any, tile_shop: Path, started: Started, tmp_path: Path
    ) -> None:
        kiosk = started(tile_shop / "shop.bundle", staff=True)
        browser = launched(playwright, film(None, tmp_path / "empty.mjpeg"))
        screen = Screen(browser, kiosk)
        page = screen.page
        seen = "document.querySelector('#video').videoWidth > 0"  # not wait_for_function: the page forbids eval
        assert any(page.evaluate(seen) or page.wait_for_timeout(200) for _ in range(100))
        page.click("#open-staff")
        page.fill("#staff-code", kiosk.code)
        page.click("#staff-body button.main")
        page.click("#staff-body .menu li:first-child button")
        page.fill("#teach-name", "Peppermint tea")
        page.click(".teach .actions .main")
        page.wait_for_selector(".shot img")
        page.click(".teach .actions button:not(.main)")
        assert page.input_value("#teach-name") == "Peppermint tea" and not page.query_selector(".shot img")
        page.click(".teach .actions .main")
        page.wait_for_selector(".shot img")
        screen.close()
        browser.close()

    @pytest.mark.parametrize("size", SIZES)
    def test_a_product_before_the_camera_is_named(
        self, playwright: Any, shop: Path, staffed: KioskProcess, size: str
    ) -> None:
        known = json.loads((shop / "known.json").read_text())
        browser = launched(playwright, shop / "known.mjpeg")
        screen = Screen(browser, staffed, size)
        screen.state("match")
        assert screen.text("#found .name") == known["name"] and "€" in screen.text("#found .price")
        screen.page.wait_for_timeout(1_000)
        assert screen.page.evaluate("document.querySelector('#found img')?.naturalWidth > 100")
        assert known["name"] in screen.text("#live")
        for selector in ("#camera", "#found", "#open-search"):  # on the screen, whole
            box = screen.page.query_selector(selector).bounding_box()
            width, height = SIZES[size]
            assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] >= 0 and box["y"] < height, selector
        assert screen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        screen.close()
        browser.close()

    def test_unknown_then_taught_then_known_also_after_a_kill(
        self, playwright: Any, shop: Path, started: Started
    ) -> None:
        kiosk = started(shop / "shop.bundle", staff=True)
        browser = launched(playwright, shop / "unknown.mjpeg")
        screen = Screen(browser, kiosk)
        screen.state("unknown")
        assert screen.text("#unknown h2") == "I don’t know this product" and screen.text("#unknown .advice")
        page = screen.page
        page.click("#open-staff")
        page.keyboard.type(kiosk.code)
        page.keyboard.press("Enter")
        page.wait_for_selector(".menu")
        page.keyboard.press("Enter")  # teach: the first entry has the focus
        page.wait_for_selector(".finder video")
        for number in range(3):
            page.keyboard.press("Enter")
            page.wait_for_selector(f".shot:nth-child({number + 1}) img")
            page.wait_for_timeout(450)
        page.keyboard.type("Plum Jam 340 g")
        page.fill("#teach-price", "3.20")
        page.keyboard.press("Enter")
        page.wait_for_selector("#found")
        assert screen.text("#found .name") == "Plum Jam 340 g"
        page.click("#found .button")  # next product: the same film again, now known
        screen.page.wait_for_selector("#found .name", timeout=30_000)
        assert screen.text("#found .name") == "Plum Jam 340 g" and screen.text("#found .sure") != "Learnt just now"
        kiosk.kill()
        screen.context.close()
        kiosk.start()
        again = Screen(browser, kiosk)
        again.state("match")
        assert again.text("#found .name") == "Plum Jam 340 g"
        again.close()
        browser.close()

    def test_by_keyboard_alone(self, playwright: Any, shop: Path, staffed: KioskProcess) -> None:
        known = json.loads((shop / "known.json").read_text())
        browser = launched(playwright, shop / "unknown.mjpeg")
        screen = Screen(browser, staffed)
        screen.state("unknown")
        page = screen.page
        page.keyboard.press("/")
        page.keyboard.type(known["name"].split()[0][:4].lower())
        page.wait_for_selector("#search-found button")
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.wait_for_selector("#found")
        assert known["name"].split()[0] in screen.text("#found .name")
        page.keyboard.press("Escape")
        page.wait_for_selector("#found", state="detached")
        seen = set()
        for _ in range(12):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.id"))
        assert {"open-search", "language", "open-staff"} <= seen
        screen.close()
        browser.close()

    def test_three_languages_and_a_missing_word(self, playwright: Any, shop: Path, staffed: KioskProcess) -> None:
        browser = launched(playwright, shop / "unknown.mjpeg")
        for locale, said in (
            ("de-DE", "Dieses Produkt kenne ich nicht"),
            ("zh-CN", "我不认识这件商品"),
            ("fr-FR", "I don’t know"),
        ):
            screen = Screen(browser, staffed, locale=locale)
            screen.state("unknown")
            assert said in screen.text("#unknown h2")
            screen.close()
        context = browser.new_context(locale="de-DE")
        words = json.loads((PAGE / "de.json").read_text(encoding="utf-8"))
        del words["unknown"]
        context.route(
            "**/page/de.json", lambda route: route.fulfill(body=json.dumps(words), content_type="application/json")
        )
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{staffed.port}/")
        page.wait_for_selector("#unknown", timeout=30_000)
        assert page.inner_text("#unknown h2") == "I don’t know this product"
        page.select_option("#language", "zh")
        page.get_by_role("heading", name="我不认识这件商品").wait_for()
        context.close()
        browser.close()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_serious(self, playwright: Any, shop: Path, staffed: KioskProcess, scheme: str) -> None:
        found = importlib.util.find_spec("axe_playwright_python")
        if found is None or not found.submodule_search_locations:
            pytest.skip("no axe-core: pip install axe-playwright-python")
        (script,) = Path(next(iter(found.submodule_search_locations))).rglob("axe.min.js")
        browser = launched(playwright, shop / "unknown.mjpeg")
        screen = Screen(browser, staffed, "pi", color_scheme=scheme)
        screen.state("unknown")
        page = screen.page

        def check(what: str) -> None:
            page.wait_for_timeout(600)  # colours of a panel that is arriving aren't its own
            page.evaluate(script.read_text(encoding="utf-8"))
            result = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})")
            serious = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
            assert not serious, (what, [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious])

        check("unknown")
        page.keyboard.press("/")
        page.keyboard.type("o")
        page.wait_for_selector("#search-found button")
        check("search")
        page.keyboard.press("Escape")
        page.click("#open-staff")
        check("code")
        page.keyboard.type(staffed.code)
        page.keyboard.press("Enter")
        page.wait_for_selector(".menu")
        check("menu")
        page.click(".menu button")
        page.wait_for_selector(".finder video")
        check("teach")
        page.keyboard.press("Escape")
        page.goto(f"http://127.0.0.1:{staffed.port}/v1/docs")
        page.wait_for_selector("#problems dt")
        check("docs")
        screen.close()
        browser.close()

    def test_the_empty_scene_becomes_idle_and_asks_for_nothing(
        self, playwright: Any, shop: Path, staffed: KioskProcess
    ) -> None:
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, staffed)
        screen.state("idle", seconds=60)
        screen.page.wait_for_timeout(24_000)
        screen.state("idle")
        before = len([url for url in screen.requests if "/v1/match" in url])
        screen.page.wait_for_timeout(3_000)
        assert len([url for url in screen.requests if "/v1/match" in url]) == before
        screen.close()
        browser.close()

    def test_without_a_camera_there_is_still_the_search(self, playwright: Any, shop: Path, started: Started) -> None:
        kiosk = started(shop / "shop.bundle", "--set", "page.camera=off")
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, kiosk)
        screen.state("problem")
        assert "camera" in screen.text("#answer h2")
        screen.page.keyboard.press("/")
        screen.page.keyboard.type("o")
        screen.page.wait_for_selector("#search-found button")
        screen.close()
        browser.close()

    def test_the_devices_own_camera_is_streamed(self, playwright: Any, shop: Path, started: Started) -> None:
        pytest.importorskip("cv2", reason="pip install opencv-python-headless")
        known = json.loads((shop / "known.json").read_text())
        import cv2

        product = make_shop(10, seed=6)[0]
        video = shop / "known.avi"
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 480))
        for view in range(200, 206):
            frame = np.asarray(render_view(product, view, (640, 480), 0.2).convert("RGB"))[:, :, ::-1]
            for _ in range(10):
                writer.write(np.ascontiguousarray(frame))
        writer.release()
        kiosk = started(shop / "shop.bundle", "--camera", str(video), "--set", "page.camera=device")
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, kiosk)
        screen.state("match")
        assert screen.text("#found .name") == known["name"]
        assert screen.page.evaluate("document.getElementById('stream').naturalWidth") > 300
        screen.context.close()
        browser.close()
        assert kiosk.stop() == 0

    def test_the_devices_own_camera_is_there_again_after_a_restart(
        self, playwright: Any, shop: Path, started: Started
    ) -> None:
        """The picture stayed broken and a refused page never asked again, until somebody loaded it anew."""
        pytest.importorskip("cv2", reason="pip install opencv-python-headless")
        known = json.loads((shop / "known.json").read_text())
        kiosk = started(shop / "shop.bundle", "--camera", str(shop / "known.mjpeg"), "--set", "page.camera=device")
        browser = launched(playwright, shop / "empty.mjpeg")
        with contextlib.ExitStack() as others:
            for _ in range(8):
                others.enter_context(streamed(kiosk, "/v1/stream"))
            screen = Screen(browser, kiosk)
            screen.state("offline")
        screen.page.wait_for_selector("#found", timeout=30_000)
        kiosk.kill()
        screen.state("offline")
        kiosk.start()
        screen.page.wait_for_selector("#found", timeout=30_000)
        assert screen.text("#found .name") == known["name"]
        seen = "document.getElementById('stream').naturalWidth > 300"
        assert any(screen.page.evaluate(seen) or screen.page.wait_for_timeout(200) for _ in range(50))
        screen.context.close()
        browser.close()

    def test_a_camera_that_is_unplugged_is_taken_again(
        self, playwright: Any, shop: Path, staffed: KioskProcess
    ) -> None:
        """Its last picture stayed, and was answered until somebody loaded the page anew."""
        known = json.loads((shop / "known.json").read_text())
        browser = launched(playwright, shop / "known.mjpeg")
        screen = Screen(browser, staffed)
        screen.state("match")
        screen.page.evaluate("document.getElementById('video').srcObject.getTracks().forEach((one) => one.stop())")
        screen.page.get_by_role("heading", name="The camera can’t be used").wait_for()
        assert screen.text("#status-text") == "No camera"
        screen.page.wait_for_selector("#found", timeout=30_000)
        assert screen.text("#found .name") == known["name"]
        screen.close()
        browser.close()

    def test_the_same_product_is_shown_again_after_an_interruption(
        self, playwright: Any, shop: Path, started: Started
    ) -> None:
        """The screen went on with "No connection", under it "Found", for as long as the product was held there."""
        kiosk = started(shop / "shop.bundle")
        browser = launched(playwright, shop / "known.mjpeg")
        screen = Screen(browser, kiosk)
        screen.state("match")
        kiosk.kill()
        screen.state("offline")
        kiosk.start()
        screen.page.wait_for_selector("#found", timeout=30_000)
        screen.context.close()
        browser.close()

    def test_a_bar_code_in_view_goes_on_settling_the_answer(
        self, playwright: Any, shop: Path, started: Started, tmp_path: Path
    ) -> None:
        """Every third frame was searched for one: name and price changed to those of the lookalike and back every few seconds."""
        zxing = pytest.importorskip("zxingcpp", reason="pip install 'shelfmatch[barcode]'")
        seen, coded = make_shop(10, seed=6)[:2]
        code = Image.fromarray(
            zxing.write_barcode_to_image(zxing.create_barcode(coded.gtin, zxing.BarcodeFormat.EAN13), scale=2)
        ).convert("RGB")
        frames = []
        for view in (200, 201):
            picture = render_view(seen, view, (640, 480), 0.2).convert("RGB")
            picture.paste(code, (20, 340))
            frames.append(jpeg(picture) * 40)
        (tmp_path / "coded.mjpeg").write_bytes(b"".join(frames))
        browser = launched(playwright, tmp_path / "coded.mjpeg")
        screen = Screen(browser, started(shop / "shop.bundle"))
        screen.page.get_by_role("heading", name=coded.name).wait_for()
        for _ in range(24):
            screen.page.wait_for_timeout(500)
            assert screen.text("#found .name") == coded.name
        screen.close()
        browser.close()

    def test_a_page_without_a_camera_asks_nobody_to_hold_a_product_up(
        self, playwright: Any, shop: Path, started: Started
    ) -> None:
        """It did so after the first product that somebody had found by its name."""
        kiosk = started(shop / "shop.bundle", "--set", "page.camera=off")
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, kiosk)
        screen.state("problem")
        page = screen.page
        page.keyboard.press("/")
        page.keyboard.type("o")
        page.click("#search-found button")
        page.click("#found .button")  # next product
        screen.state("problem")
        assert screen.text("#answer h2") == "The camera can’t be used"
        screen.close()
        browser.close()

    def test_a_screen_reader_hears_what_is_in_the_place_of_an_answer(
        self, playwright: Any, shop: Path, started: Started
    ) -> None:
        """Of a camera that can't be used and a lost connection nothing was said, nor of the same product a second time."""
        kiosk = started(shop / "shop.bundle", "--set", "page.camera=off")
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, kiosk)
        screen.state("problem")
        said = "The camera can’t be used. Search by name instead, or call our staff."
        assert screen.page.text_content("#live") == said
        screen.close()
        screen = Screen(browser, started(shop / "shop.bundle"))
        page = screen.page
        screen.state("idle")
        page.keyboard.press("/")
        page.keyboard.type("o")
        page.click("#search-found button")
        assert screen.text("#found .name") in str(page.text_content("#live"))
        page.click("#found .button")
        screen.state("idle")
        assert page.text_content("#live") == ""
        screen.close()
        browser.close()

    @pytest.mark.parametrize("size", SIZES)
    def test_a_long_name_of_a_shop_takes_no_room_from_the_rest(
        self, playwright: Any, shop: Path, started: Started, size: str
    ) -> None:
        """All of it was shown, and the buttons for the language and for staff, and half of the answer, lay beyond the screen."""
        title = "Müller & Söhne Feinkost und Getränkehandel am Marktplatz"
        kiosk = started(shop / "shop.bundle", "--set", f"page.title={title}", staff=True)
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, kiosk, size, locale="de-DE")
        screen.page.wait_for_selector("#open-staff")
        width, height = SIZES[size]
        for selector in ("#title", "#open-search", "#language", "#open-staff", "#answer", "#camera"):
            box = screen.page.query_selector(selector).bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, selector
        screen.close()
        browser.close()

    def test_a_list_that_comes_late_takes_no_place(self, playwright: Any, shop: Path, staffed: KioskProcess) -> None:
        """Staff who had gone back to the menu, or out, saw the products instead, or got an error."""
        browser = launched(playwright, shop / "empty.mjpeg")
        screen = Screen(browser, staffed)
        page = screen.page
        page.click("#open-staff")
        page.fill("#staff-code", staffed.code)
        page.keyboard.press("Enter")
        page.wait_for_selector("#staff-body .menu")
        held = []
        page.route("**/v1/products?taught=true*", lambda route: held.append(route))
        page.click(".menu li:nth-child(2) button")
        assert any(held or page.wait_for_timeout(50) for _ in range(100))
        page.click("#staff-back")
        page.wait_for_selector("#staff-body .menu")
        held[0].continue_()
        page.wait_for_timeout(1_000)
        assert page.query_selector("#staff-body .menu")
        screen.close()
        browser.close()

    def test_the_keyboard_on_the_screen_is_named_in_the_pages_language(
        self, playwright: Any, shop: Path, staffed: KioskProcess
    ) -> None:
        """A screen reader read "Backspace", "Space" and "Close" to whoever had chosen Chinese."""
        browser = launched(playwright, shop / "empty.mjpeg")
        for locale, names in (
            ("de-DE", ["Zeichen löschen", "Leerzeichen", "Schließen"]),
            ("zh-CN", ["删除", "空格", "关闭"]),
        ):
            screen = Screen(browser, staffed, locale=locale)
            page = screen.page
            page.click("#open-search")
            page.click(".keys-on")
            last = page.eval_on_selector_all("#keys div:last-child button", "(all) => all.map((one) => one.ariaLabel)")
            assert last == names
            screen.close()
        browser.close()
