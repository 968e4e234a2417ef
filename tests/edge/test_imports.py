"""What importing shelfmatch.edge loads, what it offers, and which way imports may point."""

from __future__ import annotations

import ast
import configparser
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from shelfmatch import edge

HEAVY = {
    "onnxruntime", "ai_edge_litert", "tflite_runtime", "usearch", "numkong", "tqdm", "cv2", "torch", "onnx", "simplejpeg",
    "flatbuffers", "pillow_heif", "litert_torch", "ai_edge_quantizer", "tensorflow",
}  # fmt: skip
ROOT = Path(edge.__path__[0])
SOURCES = sorted(ROOT.rglob("*.py"))


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after running code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def third_party(loaded: set[str]) -> set[str]:
    """Of what was loaded, what came neither with Python nor with its environment."""
    return {name for name in loaded - loaded_by("") - set(sys.stdlib_module_names) if not name.startswith("_")}


def test_importing_loads_nothing_and_the_matcher_numpy_and_pillow() -> None:
    assert third_party(loaded_by("import shelfmatch.edge")) <= {"shelfmatch"}
    loaded = loaded_by("from shelfmatch.edge import Matcher")
    assert {"numpy", "PIL"} <= loaded
    assert loaded & HEAVY == set()
    assert third_party(loaded) <= {"numpy", "PIL", "shelfmatch"}


def test_the_command_line_starts_without_any() -> None:
    """So that `shelfmatch doctor` starts where numpy or Pillow are broken."""
    for command in ("build", "doctor"):
        help_text = "import contextlib, io, shelfmatch.edge.cli.app as c\nwith contextlib.suppress(SystemExit), "
        help_text += f"contextlib.redirect_stdout(io.StringIO()):\n    c.main(['{command}', '--help'])"
        assert third_party(loaded_by(help_text)) <= {"shelfmatch"}


def test_the_garbage_collector_is_as_it_was() -> None:
    code = "import gc, sys\ngc.{}()\nfrom shelfmatch.edge import Matcher\nsys.exit(gc.isenabled() is not {})"
    for state, enabled in (("enable", True), ("disable", False)):
        subprocess.run([sys.executable, "-c", code.format(state, enabled)], check=True)


def test_the_benchmark_is_loaded_by_its_command_alone() -> None:
    """And its worker, whose start and memory are measured, loads nothing of it but itself before the first answer."""
    script = (
        "import sys, shelfmatch.edge.cli.app as c\nc._parser()\nprint([m for m in sys.modules if 'edge.bench' in m])"
    )
    script += "\nfrom shelfmatch.edge.bench import worker\nprint(sorted(m for m in sys.modules if 'edge.bench' in m))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['shelfmatch.edge.bench', 'shelfmatch.edge.bench.worker']"]


@pytest.mark.parametrize("name", edge.__all__)
def test_every_name_resolves(name: str) -> None:
    value = getattr(edge, name)
    assert name == "__version__" or (value.__name__ == name and value.__module__ == "shelfmatch.edge")
    assert name == "__version__" or value.__doc__


def test_the_public_names_are_these() -> None:
    for name in edge.__all__:  # the lazy ones become attributes nowhere; this shows that they leave nothing else behind
        getattr(edge, name)
    helpers = {"annotations", "Any", "TYPE_CHECKING"}
    defined = {
        name for name, value in vars(edge).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert defined - helpers <= set(edge.__all__)
    assert set(edge._LAZY) <= set(edge.__all__)
    assert sorted(set(edge.__all__)) == sorted(edge.__all__)
    assert {"Matcher", "build_bundle", "add_to_bundle", "remove_from_bundle", "ShelfmatchError"} <= set(edge.__all__)
    namespace: dict[str, object] = {}
    exec("from shelfmatch.edge import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(edge.__all__)


def test_public_names_print_and_pickle_as_the_public_face_has_them() -> None:
    script = (
        "import pickle, sys\nfrom shelfmatch import edge\n"
        "error = pickle.loads(pickle.dumps(edge.BundleDamaged('gone')))\n"
        "assert type(error) is edge.BundleDamaged and str(error) == 'gone'\n"
        "assert pickle.loads(pickle.dumps(edge.Candidate)) is edge.Candidate\n"
        "assert pickle.loads(pickle.dumps(edge.evaluate)) is edge.evaluate\n"
        "raise edge.BundleLocked('held')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "shelfmatch.edge.BundleLocked: held"


def test_a_misspelled_name_lists_the_right_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Macher'; it has .*Matcher"):
        _ = edge.Macher  # type: ignore[attr-defined]
    assert not hasattr(edge, "numpy_")


def package_of(path: Path, level: int) -> list[str]:
    """The parts of the package that an import of `level` dots in this file begins at; none for an absolute one."""
    if level == 0:
        return []
    parts = ["shelfmatch", "edge", *path.relative_to(ROOT).parts[:-1]]
    return parts[: len(parts) - (level - 1)]


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(dotted name, at module level) of a file's imports; relative ones resolved, those for type checkers left out."""
    found: list[tuple[str, bool]] = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.extend((alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = ".".join([*package_of(path, child.level), *([child.module] if child.module else [])])
                found.extend((f"{module}.{alias.name}", top) for alias in child.names)
            walk(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(ast.parse(path.read_text()), True)
    return found


def test_the_walk_sees_imports() -> None:
    found = dict(imports_of(ROOT / "index" / "_graph.py"))
    assert found["numpy"] and found["shelfmatch.edge.errors.BundleDamaged"] and not found["usearch.compiled.Index"]
    assert found["shelfmatch.edge.index._codes.Dtype"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    for name, top in imports_of(path):
        root = name.partition(".")[0]
        if name.startswith(("shelfmatch.export", "shelfmatch.models")):
            assert path.parent.name == "cli" and not top, f"{path.name} imports {name}; edge must not need it"
        if root == "usearch":
            assert path.name == "_graph.py" and not top, f"{path.name} imports usearch; only _graph knows it"
        if top:
            allowed = {"numpy", "PIL", "shelfmatch"} | set(sys.stdlib_module_names)
            if path.parent.name == "kiosk":  # which its command alone loads
                allowed |= {"starlette", "uvicorn", "msgspec", "prometheus_client"}
            assert root in allowed, f"{path.name} imports {name} before it is needed"


def test_the_packages_that_are_installed_are_the_folders() -> None:
    """A room that setup.cfg doesn't name works in a checkout and is missing in a wheel."""
    checkout = Path(__file__).resolve().parents[2]
    config = configparser.ConfigParser()
    config.read(checkout / "setup.cfg", encoding="utf-8")
    named = set(config["options"]["packages"].split())
    folders = {
        ".".join(("shelfmatch", *init.parent.relative_to(checkout).parts))
        for package in ("edge", "export", "models")
        for init in (checkout / package).rglob("__init__.py")
    }
    assert named == folders
    assert {path.parent for path in SOURCES} <= {ROOT / Path(*name.split(".")[2:]) for name in named if ".edge" in name}
