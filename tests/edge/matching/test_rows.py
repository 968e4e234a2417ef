"""Rows of a shelf: stacks, boards, shelves that aren't level, and boxes that are nowhere."""

from __future__ import annotations

import numpy as np

from shelfmatch.edge.detection.detection import Box
from shelfmatch.edge.matching.rows import rows_of

HIGH, WIDE = 50.0, 40.0


def stack(x: float, bottom: float, layers: int, high: float = HIGH, apart: float = 0.0) -> list[Box]:
    """So many things on one another, the lowest first; `apart`: pixels between them."""
    return [
        (x, bottom - (layer + 1) * high - layer * apart, x + WIDE, bottom - layer * (high + apart))
        for layer in range(layers)
    ]


def test_rows_follow_a_shelf_that_is_not_level() -> None:
    sloping = [(x * 50.0, 10 + x * 9.0, x * 50.0 + 40, 60 + x * 9.0) for x in range(12)]
    below = [(x0, y0 + 80, x1, y1 + 80) for x0, y0, x1, y1 in sloping]
    assert rows_of([*sloping, *below]) == [list(range(12)), list(range(12, 24))]
    assert rows_of([]) == []


def test_the_layers_of_a_stack_are_one_row() -> None:
    """They were a row each: a shelf of four boards had nine."""
    upper = [box for x in range(6) for box in stack(x * 45.0, 200, 3)]
    lower = [box for x in range(6) for box in stack(x * 45.0, 400, 2)]
    assert rows_of([*upper, *lower]) == [list(range(18)), list(range(18, 30))]


def test_high_stacks_are_one_row() -> None:
    """Pairs that are two layers and more apart outweighed those that touch: four layers were two rows, seven were three."""
    for layers in range(1, 13):
        upper = [box for x in range(3) for box in stack(x * 45.0, 800, layers)]
        lower = [box for x in range(3) for box in stack(x * 45.0, 820 + layers * HIGH, layers)]
        count = 3 * layers
        assert rows_of([*upper, *lower]) == [list(range(count)), list(range(count, 2 * count))], layers


def test_two_boards_are_two_rows_though_goods_reach_up_to_the_rail() -> None:
    """A rail of a tenth of the goods' height is all that is between."""
    boards = [box for bottom in (100.0, 155.0, 210.0) for x in range(6) for box in stack(x * 45.0, bottom, 1)]
    assert [len(row) for row in rows_of(boards)] == [6, 6, 6]


def test_a_tall_thing_between_stacks_joins_its_board_alone() -> None:
    """It overlaps both layers in height, and the row went on in the upper one."""
    board = [
        *stack(0, 300, 1, high=100), *stack(45, 300, 2), *stack(90, 300, 1, high=100), *stack(135, 300, 2), *stack(180, 300, 2)
    ]  # fmt: skip
    under = [box for x in range(5) for box in stack(x * 45.0, 420, 2)]
    assert rows_of([*board, *under]) == [list(range(8)), list(range(8, 18))]


def test_places_of_a_row_go_from_left_to_right_whatever_their_order() -> None:
    boxes = [box for x in (90.0, 0.0, 45.0) for box in stack(x, 100, 1)]
    assert rows_of(boxes) == [[1, 2, 0]]


def test_boxes_that_are_off_by_a_little_are_stacked_still() -> None:
    """As a detector's are; and what touches the rail above by chance at one place joins no boards."""
    rng = np.random.default_rng(3)
    upper = [box for x in range(8) for box in stack(x * 45.0, 200, 2)]
    lower = [box for x in range(8) for box in stack(x * 45.0, 310, 2)]
    lower[3] = (lower[3][0], 201.0, lower[3][2], lower[3][3])
    moved = np.array([*upper, *lower]) + rng.normal(0, 1.0, (32, 4))
    assert rows_of([tuple(box) for box in moved.tolist()]) == [
        sorted(range(16), key=lambda place: moved[place, 0]),
        sorted(range(16, 32), key=lambda place: moved[place, 0]),
    ]


def test_a_thousand_boxes_and_those_without_a_size_are_each_in_one_row() -> None:
    corners = np.random.default_rng(0).uniform(0, 4000, (1000, 2))
    sizes = np.random.default_rng(1).uniform(0, 200, (1000, 2)) * (np.arange(1000) % 10 > 0)[:, None]
    rows = rows_of([tuple(box) for box in np.concatenate([corners, corners + sizes], axis=1).tolist()])
    assert sorted(place for row in rows for place in row) == list(range(1000))


def test_a_box_around_several_boards_joins_none_of_them() -> None:
    """A mistaken box over half of the shelf overlapped goods of all boards, which counted as standing on one another."""
    boards = [
        box for bottom in (100.0, 200.0, 300.0, 400.0) for x in range(6) for box in stack(x * 45.0 + 5, bottom, 1)
    ]
    for around in ((0.0, 40.0, 280.0, 410.0), (120.0, 40.0, 200.0, 410.0)):
        rows = rows_of([*boards, around])
        assert [sorted(place for place in row if place < 24) for row in rows if min(row) < 24] == [
            list(range(first, first + 6)) for first in (0, 6, 12, 18)
        ]
