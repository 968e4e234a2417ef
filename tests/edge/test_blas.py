"""Matrix products use one thread while a shop is fitted, and as many as before afterwards."""

from __future__ import annotations

import pytest

from shelfmatch.edge.machine import blas


def threads() -> int:
    found = blas._library()
    if found is None:
        pytest.skip("numpy here doesn't bring OpenBLAS; its wheels do")
    return int(found[0]())


def test_one_thread_within_and_as_many_as_before_afterwards() -> None:
    found = blas._library()
    assert threads() >= 1 and found is not None
    before = threads()
    found[1](2)
    try:
        with blas.one_blas_thread():
            assert threads() == 1
            with blas.one_blas_thread():
                assert threads() == 1
            assert threads() == 1
        assert threads() == 2
        with pytest.raises(ZeroDivisionError), blas.one_blas_thread():
            raise ZeroDivisionError
        assert threads() == 2
    finally:
        found[1](before)


def test_of_two_fits_at_a_time_the_last_one_goes_back() -> None:
    threads()
    found = blas._library()
    assert found is not None
    before = threads()
    found[1](2)
    try:
        first, second = blas.one_blas_thread(), blas.one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == 1
        second.__exit__(None, None, None)
        assert threads() == 2
    finally:
        found[1](before)


def test_a_fit_runs_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from shelfmatch.edge.build import draft
    from shelfmatch.edge.build.enroll import Enrolled

    threads()
    seen: list[int] = []

    def fit(*_: object, **__: object) -> None:
        seen.append(threads())

    monkeypatch.setattr(draft, "fit", fit)
    monkeypatch.setattr(draft, "facts_of", lambda *_: None)
    vectors = np.eye(4, dtype=np.float32)
    with pytest.raises(AttributeError):  # there is no fit to go on with
        draft.compose(Enrolled.of_vectors(np.arange(4, dtype=np.uint32) << 12, vectors))
    assert seen == [1]


def test_nothing_happens_without_openblas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_library", lambda: None)
    with blas.one_blas_thread():
        pass
