"""Local matching's head: its file, its arithmetic, and the encoder that gives it a map of the same run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderError
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.local import LocalHead, find_local, golden_pair, local_file
from shelfmatch.edge.encoders.registry import embedded_folders
from tests.support import tiny_models
from tests.support.local_heads import card_for, random_head, write_encoder

PIXELS = np.random.default_rng(1).integers(0, 256, (tiny_models.SIDE, tiny_models.SIDE, 3)).astype(np.uint8)


def by_loops(head: LocalHead, query: object, reference: object, cosine: float) -> float:
    """The head's definition, a cell at a time in float64."""
    a = {name: array.astype(float) for name, array in head._arrays.items()}
    grid, cells = head.card.grid, head.card.cells
    sharpness, weight, scale = a["factors"]
    (q, q_len), (r, r_len) = query, reference  # type: ignore[misc]
    q_len, r_len = q_len * scale, r_len * scale
    line = np.linspace(-1, 1, grid)
    place = np.array([(line[n % grid], line[n // grid], 1.0) for n in range(cells)])
    alike = r.astype(float) @ q.T.astype(float)
    less = sharpness * (alike - alike.max(axis=1, keepdims=True))
    chance = np.exp(less) if head.card.places == "exp" else np.maximum(1 + less / 4, 0) ** 4
    chance /= chance.sum(axis=1, keepdims=True)
    best, peak, spread = alike.max(axis=1), chance.max(axis=1), (chance**2).sum(axis=1)
    agrees, seen, expected = chance @ alike.max(axis=0), chance @ q_len, chance @ place[:, :2]
    sure = np.maximum(peak * np.clip(r_len, 0, 3), 1e-3)
    normal = 1e-2 * np.eye(3) + sum(w * np.outer(p, p) for w, p in zip(sure, place, strict=True))
    affine = np.linalg.inv(normal) @ sum(w * np.outer(p, e) for w, p, e in zip(sure, place, expected, strict=True))
    residual = np.minimum(((place @ affine - expected) ** 2).sum(axis=1), 4)
    maps = np.stack([best, spread, residual, r_len, agrees, best * r_len, seen, peak, q_len], axis=1).reshape(
        grid, grid, -1
    )
    for number in range(3):
        side = 3 if number < 2 else head.card.last_kernel
        kernel = a[f"convolution{number}.weight"].reshape(side, side, maps.shape[2], -1)
        after = np.zeros((grid, grid, kernel.shape[3]))
        for y in range(grid):
            for x in range(grid):
                for dy in range(side):
                    for dx in range(side):
                        row, column = y + dy - side // 2, x + dx - side // 2
                        if 0 <= row < grid and 0 <= column < grid:
                            after[y, x] += maps[row, column] @ kernel[dy, dx]
        maps = np.maximum(after + a[f"convolution{number}.bias"], 0)
    flat = maps.reshape(cells, -1)
    attention = np.exp(flat @ a["attend.weight"] + a["attend.bias"])
    attention /= attention.sum()
    total = max(r_len.sum(), 1e-3)
    whole = [cosine, (best * r_len).sum() / total, residual.mean(), (residual * r_len).sum() / total]
    pooled = np.concatenate([attention @ flat, flat.mean(axis=0), whole])
    hidden = np.maximum(pooled @ a["last0.weight"] + a["last0.bias"], 0)
    return float(hidden @ a["last1.weight"] + a["last1.bias"][0] + weight * cosine)


@pytest.mark.parametrize("settings", [{}, {"places": "quartic"}, {"places": "quartic", "last_kernel": 1}])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_logits_are_those_of_the_definition(seed: int, settings: dict[str, object]) -> None:
    head = random_head(b"", seed, **settings)
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(8, 16, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    lengths = random.uniform(0.1, 9, (8, 16)).astype(np.float32)
    cosines = random.uniform(0, 1, 7).astype(np.float32)
    found = head.logits((vectors[0], lengths[0]), (vectors[1:], lengths[1:]), cosines)
    wanted = [by_loops(head, (vectors[0], lengths[0]), (vectors[n + 1], lengths[n + 1]), cosines[n]) for n in range(7)]
    assert found == pytest.approx(wanted, abs=1e-3)
    assert np.ptp(wanted) > 0.01
    assert len(head.logits((vectors[0], lengths[0]), (vectors[:0], lengths[:0]), cosines[:0])) == 0


def test_cells_are_the_projected_map_in_both_layouts() -> None:
    head = random_head(b"")
    stored = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3)).astype(np.uint8)
    vectors, lengths = head.cells(stored)
    project = head._arrays["project.weight"]
    real = (stored.reshape(16, 3).astype(float) - 128) / 128
    wanted = real @ project + head._arrays["project.bias"]
    assert vectors * lengths[:, np.newaxis] == pytest.approx(wanted, abs=1e-5)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(16), abs=1e-3)
    other = LocalHead(dataclasses.replace(head.card, layout="NCHW"), head._arrays)
    assert np.array_equal(other.cells(np.ascontiguousarray(stored.transpose(0, 3, 1, 2)))[0], vectors)


def test_the_file_comes_back_as_it_was_and_damage_is_named() -> None:
    head = random_head(b"model")
    data = head.to_bytes()
    again = LocalHead.from_bytes(data, "a.local")
    assert again.card == head.card and again.to_bytes() == data and again.golden_logit() == head.golden_logit()
    for bad in (data[:-4], data + b"\0", b"", b"x" + data, data[:40], data.replace(b'"grid": 4', b'"grid": 0')):
        with pytest.raises(EncoderError, match=r"a\.local") as caught:
            LocalHead.from_bytes(bad, "a.local")
        assert len(str(caught.value).splitlines()) == 1


def test_a_head_beside_another_encoder_is_refused(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    assert find_local(path, card_for(path.read_bytes()).encoder_sha256) is not None
    with pytest.raises(EncoderError, match="belongs to the encoder"):
        find_local(path, "0" * 64)
    assert find_local(tmp_path / "other.tflite", "0" * 64) is None


def test_the_map_comes_with_the_embedding_of_the_same_run(tmp_path: Path) -> None:
    path = write_encoder(tmp_path)
    plain = Encoder.load(path)
    with_head = Encoder(plain.card, plain.model, local=find_local(path, plain.card.sha256))
    vector, tap = with_head.embed_with_tap(PIXELS)
    assert tap is not None and np.array_equal(vector, plain.embed_pixels(PIXELS))
    pooled = PIXELS.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3))
    assert np.abs(tap.reshape(4, 4, 3).astype(float) - pooled).max() <= 0.5 + 1e-6
    assert plain.embed_with_tap(PIXELS)[1] is None and plain.embed_timed(PIXELS).tap is None
    assert with_head.embed_timed(PIXELS).tap is not None


def test_an_onnx_file_gives_both_in_one_run(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    parsed = onnx.load_from_string(tiny_models.average_onnx())
    parsed.graph.output.append(helper.make_tensor_value_info("cells", TensorProto.FLOAT, [1, 4, 4, 3]))
    (tmp_path / "a.onnx").write_bytes(parsed.SerializeToString())
    card = inspect_encoder(tmp_path / "a.onnx", "embedding")
    model = (tmp_path / "a.onnx").read_bytes()
    vector, tap = Encoder(card, model, local=random_head(model)).embed_with_tap(PIXELS)
    assert tap is not None and tap.shape == (1, 4, 4, 3)
    assert vector == pytest.approx(tap.ravel() / np.linalg.norm(tap), abs=1e-5)


def test_an_encoder_without_the_map_is_refused(tmp_path: Path, tiny_tflite: Path) -> None:
    plain = Encoder.load(tiny_tflite)
    with pytest.raises(EncoderError, match="expects an output 'cells' of 4x4x3"):
        Encoder(plain.card, plain.model, local=random_head(plain.model)).embed_pixels(PIXELS)


def test_the_package_s_own_heads_calculate_as_where_they_were_made() -> None:
    heads = [path for folder in embedded_folders() for path in folder.glob("*.local")]
    if not heads:
        pytest.skip("no encoder of the package has local matching yet")
    for path in heads:
        head = LocalHead.from_bytes(path.read_bytes(), str(path))
        assert local_file(path.with_suffix("")) == path
        assert head.golden_logit() == pytest.approx(head.card.golden_logit, abs=2e-3)
        encoder = Encoder.load(path.with_suffix(""))
        assert encoder.card.sha256 == head.card.encoder_sha256


def test_golden_cells_are_unit_vectors() -> None:
    (vectors, lengths), _ = golden_pair(card_for(b""))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(16), abs=1e-5) and lengths.min() > 0
