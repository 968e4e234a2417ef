"""The tables of `arm/machine.py`: memory on the whole emulated machine, and frames a minute of a shelf camera."""

from __future__ import annotations

from typing import Any

import reporting


def match_machine_table(found: dict[str, Any]) -> str:
    """`Matcher.match` of a large shop."""
    one = found["results"]["match"]
    what = f"{one['products']:,} products, {one['references']:,} photos, `{one['encoder']}`"
    return reporting.markdown_table(
        ("MB", "opened", "peak"), [(what, f"{one['opened_mb']:.1f}", f"{one['peak_mb']:.1f}")]
    )


def kiosk_machine_table(found: dict[str, Any]) -> str:
    """`shelfmatch serve`."""
    one, settings = found["results"]["kiosk"], found["settings"]
    idle, loaded = one["idle"], one["loaded"]
    statuses = ", ".join(map(str, one["statuses"]))
    rows = [
        ("ready after, in the emulation's time", f"{one['ready_s']:.0f} s"),
        ("resident memory idle", f"{idle['now_mb']:.1f} MB"),
        ("after the load; its peak", f"{loaded['now_mb']:.1f} MB; {loaded['peak_mb']:.1f} MB"),
        ("decision and first product as `Matcher.match` on x86-64", f"{one['as_here']} of {one['photos']} photos"),
        ("statuses", statuses),
    ]
    header = (f"{settings['products']:,} products, {settings['products'] * settings['views']:,} photos", "")
    return reporting.markdown_table(header, rows)


def shelf_machine_table(found: dict[str, Any]) -> str:
    """`shelfmatch shelf watch` and `propose`: memory; then instructions of a frame, and what that makes of a Cortex-A53."""
    frames = found["results"]["frames"]
    rows = []
    for kind, minutes in frames["frames_a_minute"].items():
        count = frames["million_instructions"]["decode"] + frames["million_instructions"][kind]
        what = {"unchanged": "nothing changed", "six changed": "6 slots changed"}[kind]
        rows.append((what, frames["encoded"][kind], f"{count:.0f}", *(f"{value:.0f}" for value in minutes.values())))
    rates = [f"frames a minute, {name}" for name in next(iter(frames["frames_a_minute"].values()))]
    header = ("a frame", "facings encoded", "million instructions", *rates)
    memory = [_shelf_memory(found["results"]["shelf"])] if "shelf" in found["results"] else []
    return "\n\n".join((*memory, reporting.markdown_table(header, rows)))


def _shelf_memory(one: dict[str, Any]) -> str:
    watch, propose = one["watch"], one["propose"]
    events = f"{one['told']} events, {'the same as' if one['as_here'] else 'not those'} on x86-64"
    rows = [
        ("`shelf watch`, 60 slots, without `--pictures`", f"{watch['peak_mb']:.1f}", events),
        ("`shelf propose`, encoder and detector of products", f"{propose['peak_mb']:.1f}", f"{propose['slots']} slots"),
    ]
    return reporting.markdown_table(("", "peak, MB", "found"), rows)
