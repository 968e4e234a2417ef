"""The local head: what its parts compute, and that it can learn to tell the same picture from another."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shelfmatch[train]'")
from shelfmatch.models import local  # noqa: E402
from shelfmatch.models.networks import NETWORKS  # noqa: E402


def test_cells_are_described_row_by_row() -> None:
    torch.manual_seed(1)
    cells = torch.randn(2, local.CELL_NUMBERS, local.GRID, local.GRID)
    found = local.described(cells)
    assert found.shape == (2, local.CELLS, local.CELL_NUMBERS + 1)
    back = (found[..., :-1] * found[..., -1:]).transpose(1, 2).view_as(cells)
    assert torch.allclose(back, cells, atol=1e-4) and torch.allclose(
        found[..., :-1].norm(dim=2), torch.ones(2, local.CELLS), atol=1e-4
    )


def test_small_systems_are_solved() -> None:
    torch.manual_seed(2)
    root = torch.randn(5, 3, 3)
    normal, right = root @ root.transpose(1, 2) + 0.1 * torch.eye(3), torch.randn(5, 3, 2)
    assert torch.allclose(normal @ local._solved(normal, right), right, atol=1e-3)


def test_candidates_are_the_right_one_and_near_others() -> None:
    torch.manual_seed(3)
    similar, same = torch.rand(7, 60), torch.eye(60)[:7] > 0
    chosen = local.candidates(similar, same)
    assert torch.equal(chosen[:, 0], torch.arange(7)) and all(len(set(row.tolist())) == 6 for row in chosen)
    assert not same.gather(1, chosen)[:, 1:].any()


@pytest.mark.slow
def test_it_learns_which_of_six() -> None:
    torch.manual_seed(4)
    head = local.LocalHead()
    pictures = torch.randn(40, local.CELL_NUMBERS, local.GRID, local.GRID)
    references = local.described(pictures)
    queries = local.described(torch.roll(pictures, 1, dims=3) + 0.5 * torch.randn_like(pictures))
    similar, same = torch.zeros(40, 40), torch.eye(40) > 0  # the cosine says nothing
    optimizer = torch.optim.AdamW(head.parameters(), 3e-3)
    first = right = 0.0
    for step in range(50):
        loss, found = local.local_loss(head, queries, references, local.candidates(similar, same), similar)
        first, right = (loss.item() if step == 0 else first), found.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first and right > 0.9


def test_the_head_is_small() -> None:
    # 100x100 cosines of 32 numbers, three 3x3 convolutions over 10x10 places, the expected places and what they carry.
    products = local.CELLS**2 * (local.CELL_NUMBERS + 4)
    products += local.CELLS * 9 * (9 * local.CHANNELS + 2 * local.CHANNELS**2)
    assert products < 1.05e6
    assert sum(p.numel() for p in local.LocalHead().parameters()) < 8000


def test_the_encoder_gives_its_tap() -> None:
    torch.manual_seed(5)
    net = NETWORKS["shelfmatch-cnn"]().eval()
    x = torch.randn(1, 3, net.SIDE, net.SIDE)
    with torch.no_grad():
        embedding, tap = net.mapped(x)
        assert torch.equal(embedding, net(x))
    assert tap.shape == (1, local.TAP_CHANNELS, local.GRID, local.GRID)
