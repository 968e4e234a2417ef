"""Which tests run when: slow ones only if they are asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.support import tiers


class Item:
    def __init__(self, name: str, slow: bool) -> None:
        self.path, self.nodeid, self.slow = Path("/x/tests/test_a.py"), f"tests/test_a.py::{name}", slow

    def get_closest_marker(self, name: str) -> Any:
        return name if self.slow and name == "slow" else None


def chosen(markexpr: str = "", *named: str) -> list[str]:
    """The names of those that run of one quick and two slow tests."""
    items: list[Any] = [Item("test_quick", False), Item("test_slow[1]", True), Item("test_other", True)]
    deselected: list[Any] = []
    config: Any = SimpleNamespace(
        option=SimpleNamespace(markexpr=markexpr),
        args=list(named),
        invocation_params=SimpleNamespace(dir=Path("/x")),
        hook=SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items)),
    )
    conftest.pytest_collection_modifyitems(config, items)
    assert len(items) + len(deselected) == 3
    return [item.nodeid.partition("::")[2] for item in items]


@pytest.mark.parametrize(
    ("markexpr", "named", "expected"),
    [
        ("", (), ["test_quick"]),
        ("", ("tests",), ["test_quick"]),
        ("", ("tests/test_a.py",), ["test_quick"]),
        ("", ("tests/test_a.py::test_slow",), ["test_quick", "test_slow[1]"]),
        ("", ("tests/test_a.py::test_slow[1]",), ["test_quick", "test_slow[1]"]),
        ("", ("tests/test_b.py::test_slow",), ["test_quick"]),
        ("slow", (), ["test_quick", "test_slow[1]", "test_other"]),  # pytest chooses by the expression itself
    ],
)
def test_slow_tests_run_if_asked_for(
    markexpr: str, named: tuple[str, ...], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "SOAK", False)
    assert chosen(markexpr, *named) == expected


def test_a_soak_is_everything_at_full_length(monkeypatch: pytest.MonkeyPatch) -> None:
    for soak, much in ((False, 3), (True, 300)):
        monkeypatch.setattr(tiers, "SOAK", soak)
        assert tiers.count(3, soak=300) == much
    assert len(chosen()) == 3
