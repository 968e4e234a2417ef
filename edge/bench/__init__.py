"""Benchmarks of the whole way from photo to product on this machine: run, compare, check, and find the best settings.

    from shelfmatch.edge.bench import compare_results, run_bench, save_result
    result = run_bench("shop.bundle", quick=True)

`runner` drives rounds, each in a fresh process (`worker`, `scenarios`, `yardstick`); `board` and `sensors` say what the machine
is and does meanwhile, `throttle` what of that spoils a figure; `statistics` and `comparing` tell differences from noise;
`results` and result.schema.json are the format, `page` shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparing import Comparison, check_result, compare_results
    from .page import write_page
    from .results import load_result, save_result
    from .runner import run_bench
    from .sweep import run_sweep

_LAZY = {
    "Comparison": "comparing",
    "check_result": "comparing",
    "compare_results": "comparing",
    "load_result": "results",
    "run_bench": "runner",
    "run_sweep": "sweep",
    "save_result": "results",
    "write_page": "page",
}

__all__ = [
    "Comparison",
    "check_result",
    "compare_results",
    "load_result",
    "run_bench",
    "run_sweep",
    "save_result",
    "write_page",
]


def __getattr__(name: str) -> Any:
    """Loaded when asked for (PEP 562): the worker, whose memory and start are measured, passes through here."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
