"""The printer of training packages: designs follow from their seeds, views stay pictures, and the whole product is in them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.models.printer import camera, design, package, scene, views  # noqa: E402
from shelfmatch.models.printer.press import PAGE, Press, print_pages  # noqa: E402
from shelfmatch.models.printer.stock import Stock  # noqa: E402


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A store of one face, Pillow's own, and a few words."""
    folder: Path = tmp_path_factory.mktemp("stock")
    (folder / "fonts").mkdir()
    face = ImageFont.load_default(20)
    assert isinstance(face, ImageFont.FreeTypeFont)
    (folder / "fonts" / "own.ttf").write_bytes(face.font_bytes)
    sources = [{"file": "own.ttf", "family": "Own", "scripts": ["latin"], "licences": []}]
    (folder / "sources.json").write_text(json.dumps(sources))
    (folder / "words.json").write_text(json.dumps({"english": ["Honey", "River", "Cloud"], "ar": []}))
    picture = Image.effect_noise((40, 40), 60).convert("RGB")
    return Stock(folder, [picture])


def prints_of(made: list[package.Printed]) -> views.Prints:
    def stacked(pictures: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()

    return views.Prints(
        stacked([one.front for one in made]),
        stacked([one.other for one in made]),
        torch.tensor([one.size for one in made]),
        torch.tensor([one.other_size for one in made]),
        torch.tensor([one.kind for one in made]),
    )


def test_a_family_follows_from_its_seed(stock: Stock) -> None:
    first, again, other = (design.family(seed, stock) for seed in (7, 7, 8))
    assert first == again and first[0] != other[0]
    one, same = package.printed(first[0], stock), package.printed(again[0], stock)
    assert np.array_equal(one.front, same.front) and np.array_equal(one.other, same.other)


def test_variants_differ_and_belong_together(stock: Stock) -> None:
    told = 0
    for seed in range(30):
        variants = design.family(seed, stock)
        assert 2 <= len(variants) <= design.MOST_VARIANTS
        assert len({(one.brand, one.shape, one.aspect, one.palette) for one in variants}) == 1
        a, b = (package.printed(one, stock).front for one in variants[:2])
        share = (a != b).any(axis=2).mean()
        told += 0 < share < 0.6
    assert told >= 18


def test_every_shape_is_printed(stock: Stock) -> None:
    seen = set()
    for seed in range(120):
        one = design.family(seed, stock)[0]
        if one.shape in seen:
            continue
        made = package.printed(one, stock)
        assert made.front.shape == (package.CANVAS, package.CANVAS, 4) and 0.02 < (made.front[..., 3] > 128).mean() <= 1
        # The longer side fills the canvas, whatever the shape.
        assert max(made.size) > 0.95 and min(made.size) > 0.05
        seen.add(one.shape)
    assert seen == {name for name, _ in design.SHAPES}


def test_pages_go_on(stock: Stock) -> None:
    pages = print_pages(stock, 5, 3)
    families = [next(pages).family for _ in range(12)]
    assert families[0] == 5 and set(families) <= {5 + 3 * n for n in range(12)}


def test_homographies_are_inverted() -> None:
    torch.manual_seed(1)
    matrices, points = torch.eye(3) + torch.randn(6, 3, 3) * 0.1, torch.rand(6, 5, 2) - 0.5
    back = views.through(views.inverses(matrices), views.through(matrices, points))
    assert torch.allclose(back, points, atol=1e-4)


def test_pixels_find_their_places_on_a_face() -> None:
    torch.manual_seed(5)
    homography = torch.eye(3) + torch.randn(4, 3, 3) * 0.1
    shot = views.Shot(torch.eye(3).expand(4, 3, 3), torch.ones(4), torch.rand(4, 2) - 0.5, torch.rand(4, 2) * 0.3 + 0.2)
    frame = views.frame_of(shot, 12)
    points = torch.stack(
        [frame.x[:, None, :].expand(-1, 12, -1), frame.y[:, :, None].expand(-1, -1, 12)], dim=3
    ).reshape(4, -1, 2)
    expected = views.through(views.inverses(homography), points)
    assert torch.allclose(views.on_face(homography, frame).reshape(4, -1, 2), expected, atol=1e-5)
    # What the crop covers: as many columns and rows as its sides have shares of the longer one.
    covered = frame.inside.mean(dim=(1, 2, 3))
    assert torch.allclose(covered, shot.half.prod(dim=1) / shot.half.amax(dim=1) ** 2, atol=0.1)


def test_coarse_numbers_are_drawn_large_as_torch_does() -> None:
    coarse = torch.rand(2, 3, 6, 6)
    expected = torch.nn.functional.interpolate(coarse, (40, 40), mode="bicubic", align_corners=False)
    spread = scene._spread(6, 40, torch.device("cpu"))
    assert torch.allclose(spread @ coarse @ spread.T, expected, atol=1e-5)


def test_a_full_pool_waits_until_it_is_drawn_from(stock: Stock) -> None:
    press = Press(lambda: stock, 1, PAGE * 2, 1, fresh=1.0)
    press.open(torch.device("cpu"))
    try:
        press.wait(PAGE * 3)  # one page more than it holds, and then no other
        for pages in (3, 4):
            until = time.monotonic() + 60
            while press.ready.empty() and time.monotonic() < until:  # the next page is printed,
                time.sleep(0.05)
            time.sleep(0.5)  # and nobody takes it
            assert press.printed == PAGE * pages and not press.ready.empty()
            press.draw(PAGE // 2, 2)
            press.wait(PAGE * (pages + 1))
    finally:
        press.close()


def test_photographs_hold_the_whole_product(stock: Stock) -> None:
    torch.manual_seed(2)
    made = [package.printed(design.family(seed, stock)[0], stock) for seed in range(6)]
    prints, grounds = prints_of(made), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    shot = views.aim(prints, torch.zeros(6))
    front, _, _ = views.faces(prints, shot.rotation, shot.distance)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).expand(6, -1, -1)
    away = (views.through(front, corners) - shot.centre[:, None]).abs() / shot.half[:, None]
    assert away.max() < 1.08
    found = views.photograph(prints, torch.full((6,), 0.7), 64, grounds, prints)
    assert (
        found.shape == (6, 3, 64, 64) and torch.equal(found, found.round()) and found.min() >= 0 and found.max() <= 255
    )


def test_many_photographs_are_composed_in_groups(stock: Stock) -> None:
    torch.manual_seed(6)
    made = [package.printed(one, stock) for seed in range(20) for one in design.family(seed, stock)[:1]]
    prints, grounds = prints_of(made), torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert len(prints) > views.GROUP
    for oversampling in (1, 2):
        found = views.photograph(prints, torch.linspace(0, 1, len(prints)), 64, grounds, prints, oversampling)
        assert found.shape == (len(prints), 3, 64, 64) and found.std(dim=(1, 2, 3)).min() > 1
    # Each picture shows its own print, and none another's: one colour each, of a dark and of a light half.
    level = torch.arange(len(prints)) % 2 * 200 + 20
    prints.front[:, :3] = prints.other[:, :3] = level[:, None, None, None].byte()
    prints.kind[:] = package.FLAT
    found = views.photograph(prints, torch.zeros(len(prints)), 64, grounds, prints)
    middle = found[:, :, 28:36, 28:36].mean(dim=(1, 2, 3))
    assert middle[level > 100].min() > middle[level < 100].max()


def test_padding_is_the_encoders_grey(stock: Stock) -> None:
    torch.manual_seed(3)
    tall = [one for seed in range(60) for one in design.family(seed, stock)[:1] if one.aspect < 0.45][:3]
    prints = prints_of([package.printed(one, stock) for one in tall])
    grounds = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    found = views.photograph(prints, torch.zeros(len(prints)), 64, grounds, prints)
    sides = torch.cat([found[:, :, :, 0], found[:, :, :, -1]])
    assert (sides == 128).float().mean() > 0.7


def test_jpeg_at_full_quality_changes_little() -> None:
    torch.manual_seed(4)
    smooth = scene.patches(3, 3, 64, 4, torch.zeros(3))
    assert (camera.compressed(smooth, torch.full((3,), 99.0)) - smooth).abs().max() < 0.02
    assert (camera.compressed(smooth, torch.full((3,), 5.0)) - smooth).abs().max() > 0.02
