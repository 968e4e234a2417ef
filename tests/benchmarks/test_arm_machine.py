"""benchmarks/arm/machine.py without the machine: its command line, the reading of its console, and what is made of an answer."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ARM = Path(__file__).resolve().parents[2] / "benchmarks" / "arm"


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ARM.parent))
    monkeypatch.syspath_prepend(str(ARM))
    names = ("machine", "parts", "watching", "served", "resident", "reporting", "machine_table")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def kiosk_answer(*answers: dict[str, Any], idle: float = 80.0, peak: float = 110.0) -> dict[str, Any]:
    memory = {"now_mb": idle, "peak_mb": idle}
    return {"ready_s": 9.5, "idle": memory, "loaded": {"now_mb": idle, "peak_mb": peak}, "answers": list(answers)}


def part(arm: SimpleNamespace, name: str, expected: Any) -> Any:
    return arm.parts.Part(name, "program.py", [], [], 4, expected)


def report(arm: SimpleNamespace) -> Any:
    return arm.reporting.Report("arm machine", {"products": 10_000, "views": 3}, {})


def test_what_is_measured_is_matching_alone_unless_it_is_said(arm: SimpleNamespace) -> None:
    parser = arm.machine.argument_parser()
    assert parser.parse_args([]).what == ["match"]
    assert parser.parse_args(["--what", "match", "kiosk", "shelf"]).what == ["match", "kiosk", "shelf"]


def test_a_part_that_there_is_not_is_refused(arm: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        arm.machine.argument_parser().parse_args(["--what", "phone"])
    assert refused.value.code == 2 and "invalid choice: 'phone'" in capsys.readouterr().err


def test_the_answer_is_the_line_of_json_between_the_marks(arm: SimpleNamespace) -> None:
    begin, end = arm.machine.BEGIN, arm.machine.END
    progress = "ready after 9 s: {}\r\n{'photo': 'known-0.jpg'}"
    console = f'booting\r\n{{"before": 1}}\r\n{begin}\r\n{progress}\r\n{{"peak_mb": 73.5}}\r\n{end}\r\nreboot'
    assert arm.machine.answer_of(console) == {"peak_mb": 73.5}


def test_a_machine_without_an_answer_says_its_last_words(arm: SimpleNamespace) -> None:
    with pytest.raises(SystemExit, match=r"(?s)gave no answer: .*Out of memory: Killed process 61"):
        arm.machine.answer_of(
            f"{arm.machine.BEGIN}\nOut of memory: Killed process 61 (python3.11)\n{arm.machine.END}\n"
        )


def test_an_answer_is_right_where_it_is_this_machines(arm: SimpleNamespace) -> None:
    right = {"photo": "known-0.jpg", "status": 200, "decision": "match", "sku": "a"}
    wrong = {"photo": "known-0.jpg", "status": 200, "decision": "unknown", "sku": "a"}
    answer, found = kiosk_answer(right, {"path": "/", "status": 200}, wrong, peak=121.0), report(arm)
    arm.parts.read(part(arm, "kiosk", {"known-0.jpg": ["match", "a"]}), answer, found)
    assert (answer["photos"], answer["as_here"], answer["statuses"]) == (2, 1, [200])
    assert answer["wrong"] == [["known-0.jpg", "unknown", "a"]]
    assert [(bar.measured, bar.limit, bar.met) for bar in found.bars] == [(80.0, 120.0, True), (121.0, 120.0, False)]


def test_events_are_compared_with_this_machines(arm: SimpleNamespace) -> None:
    events = [
        {"slot": None, "after": {"state": "dark"}},
        {"slot": "r1c2", "after": {"state": "misplaced", "by": "b"}},
    ]
    assert arm.parts.said(events) == [["camera", "dark", ""], ["r1c2", "misplaced", "b"]]
    for expected, same in (
        ([["camera", "dark", ""], ["r1c2", "misplaced", "b"]], True),
        ([["r1c2", "empty", ""]], False),
    ):
        answer = {"watch": {"peak_mb": 141.0, "seconds": 9.0}, "propose": {"peak_mb": 100.0, "seconds": 9.0, "slots": 59},
                  "events": events}  # fmt: skip
        found = report(arm)
        arm.parts.read(part(arm, "shelf", expected), answer, found)
        assert (answer["told"], answer["as_here"]) == (2, same)
        assert [bar.met for bar in found.bars] == [False, True]


def test_frames_a_minute_are_a_rate_over_instructions(arm: SimpleNamespace) -> None:
    """Decoding counts in every frame; calm frames are averaged, the warm-up isn't counted."""
    marks = [(1, 20), (4, 900), (1, 20), (2, 30), (1, 20), (2, 50), (1, 20), (3, 480)]
    counted = "noise\n" + "".join(f"ICOUNT 0 7\nICOUNT {mark} {count * 1_000_000}\n" for mark, count in marks)
    costs = arm.watching.costs_of("looked 0 9 98\n", counted)
    assert costs["million_instructions"] == {"decode": 20.0, "unchanged": 40.0, "six changed": 480.0}
    assert costs["encoded"] == {"unchanged": 0, "six changed": 9} and costs["facings"] == 98
    assert costs["frames_a_minute"]["unchanged"] == pytest.approx({"one instruction a cycle": 1000, "half of one": 500})
    assert costs["frames_a_minute"]["six changed"]["one instruction a cycle"] == pytest.approx(120)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_resident_memory_is_read_of_a_real_process(arm: SimpleNamespace) -> None:
    found = arm.resident.resident_mb("self")
    assert 1 < found["private_mb"] < found["now_mb"] <= found["peak_mb"] < 4096
    block = bytearray(b"x") * (64 << 20)
    assert arm.resident.resident_mb("self")["now_mb"] > found["now_mb"] + 50
    del block


def test_a_service_that_does_not_begin_says_why(
    arm: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    served: ModuleType = arm.served
    monkeypatch.setattr(served, "LOG", tmp_path / "log")
    served.LOG.write_text("shop.bundle isn't a bundle")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"]) as process:
        process.wait()
        with pytest.raises(SystemExit, match=r"isn't ready, exit code 2: shop.bundle isn't a bundle"):
            served.wait_until_ready(process)


def test_the_pins_of_the_kiosk_are_exact_and_its_extra_is_whole() -> None:
    import configparser
    import re

    pins = dict(line.split("==") for line in (ARM / "requirements-kiosk.txt").read_text().splitlines() if "==" in line)
    setup = configparser.ConfigParser()
    setup.read(ARM.parents[1] / "setup.cfg")
    extras = setup["options.extras_require"]
    wanted = re.findall(r"^([a-z][\w-]*)\s*[>=]", f"{extras['kiosk']}\n{extras['barcode']}", re.MULTILINE)
    assert len(wanted) >= 7 and set(wanted) <= set(pins)


def test_the_tables_are_made_of_an_answer_as_it_is_kept(arm: SimpleNamespace) -> None:
    right = {"photo": "known-0.jpg", "status": 200, "decision": "match", "sku": "a"}
    answer, found = kiosk_answer(right), report(arm)
    arm.parts.read(part(arm, "kiosk", {"known-0.jpg": ["match", "a"]}), answer, found)
    kept = json.loads(json.dumps({"settings": found.settings, "results": {"kiosk": answer}}))
    table = arm.machine_table.kiosk_machine_table(kept)
    assert "| resident memory idle | 80.0 MB |" in table and "110.0 MB" in table and "1 of 1 photos" in table
