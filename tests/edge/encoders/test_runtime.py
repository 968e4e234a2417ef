"""Which runtime takes a file, what a broken one does to us, and sessions that threads share.

One module of over 400 lines: all load the same broken and whole networks.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shelfmatch.edge import Encoder, EncoderError, RuntimeUnavailable
from shelfmatch.edge.encoders.infer_card import inspect_encoder
from shelfmatch.edge.encoders.runtimes import RUNTIMES, Runtime, choose_runtime, open_session, probe
from shelfmatch.edge.encoders.session import SessionPool, TensorInfo
from tests.conftest import tile_photo
from tests.support import tiny_models

# Choice


def test_the_preferred_runtime_that_takes_the_file() -> None:
    assert choose_runtime("tflite").name == choose_runtime("tflite", "litert").name == "litert"
    assert choose_runtime("onnx").name == choose_runtime("onnx", "onnx").name == "onnx"


@pytest.mark.parametrize(
    ("file_format", "wanted", "error", "message"),
    [
        ("tflite", "onnx", EncoderError, "runtime 'onnx' runs .onnx files; the encoder is a .tflite file"),
        ("onnx", "litert", EncoderError, "runtime 'litert' runs .tflite files; the encoder is a .onnx file"),
        (
            "onnx",
            "tensorrt",
            RuntimeUnavailable,
            "unknown runtime 'tensorrt'; expected auto, litert, tflite-runtime, onnx",
        ),
    ],
)
def test_a_runtime_that_does_not_go_with_the_file(
    file_format: Any, wanted: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        choose_runtime(file_format, wanted)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("blocked", "file_format", "wanted", "expected"),
    [
        (["ai_edge_litert", "tflite_runtime"], "tflite", "auto", "pip install 'shelfmatch[litert]'"),
        (["ai_edge_litert"], "tflite", "litert", "pip install 'shelfmatch[litert]'"),
        (["tflite_runtime"], "tflite", "tflite-runtime", "pip install tflite-runtime 'numpy<2'"),
        (["onnxruntime"], "onnx", "auto", "pip install 'shelfmatch[onnx]'"),
    ],
)
def test_the_message_names_what_to_install(blocked: list[str], file_format: str, wanted: str, expected: str) -> None:
    done = python(
        "import sys; sys.modules.update(dict.fromkeys(sys.argv[4:]))\n"
        "from shelfmatch.edge.encoders.runtimes import choose_runtime\n"
        "try: print(choose_runtime(sys.argv[1], sys.argv[2]))\n"
        "except Exception as error: print(type(error).__name__, error)",
        file_format,
        wanted,
        "",
        *blocked,
    )
    assert done == f"RuntimeUnavailable no runtime for .{file_format} files is installed; {expected}\n"


def test_tflite_runtime_takes_over_where_litert_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").touch()
    name = python(
        "import sys; sys.modules['ai_edge_litert'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from shelfmatch.edge.encoders.runtimes import choose_runtime; print(choose_runtime('tflite').name)",
        str(tmp_path),
    )
    assert name == "tflite-runtime\n"


def test_a_runtime_that_breaks_when_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    (tmp_path / "model.onnx").write_bytes(tiny_models.average_onnx())
    message = python(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from shelfmatch.edge.encoders.runtimes import choose_runtime, open_session\n"
        "try: open_session(choose_runtime('onnx'), b'model', 1)\n"
        "except Exception as error: print(type(error).__name__, error)",
        str(tmp_path),
    )
    assert message.startswith("RuntimeUnavailable onnx can't be imported (libgomp.so.1: cannot open")
    assert "pip install 'shelfmatch[onnx]'" in message


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


# Probe


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Runtime]:
    """Makes a package that does something when imported, where this process and its children find it."""

    def make(code: str) -> Runtime:
        (tmp_path / "odd_runtime").mkdir()
        (tmp_path / "odd_runtime" / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        return Runtime("odd", "odd_runtime", "tflite", "pip install odd")

    return make


def test_probe_of_the_real_ones() -> None:
    for runtime in RUNTIMES.values():
        if runtime.is_installed():
            result = probe(runtime)
            assert result.ok and result.problem == "" and result.version[0].isdigit(), result


def test_probe_of_one_that_is_missing() -> None:
    result = probe(Runtime("odd", "odd_runtime_that_nobody_has", "tflite", "pip install odd"))
    assert (result.ok, result.problem) == (False, "not installed; pip install odd")


def test_probe_of_one_that_raises(package: Callable[[str], Runtime]) -> None:
    result = probe(package("raise OSError('libodd.so.2: wrong ELF class')"))
    assert (result.ok, result.problem) == (False, "OSError: libodd.so.2: wrong ELF class")


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", 4),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 11),
        ("import ctypes; ctypes.string_at(0)", 11),
        ("import os; os.abort()", 6),
    ],
    ids=["illegal instruction", "segmentation fault", "a real one", "abort"],
)
def test_probe_of_one_that_dies(package: Callable[[str], Runtime], code: str, number: int) -> None:
    result = probe(package(code))
    assert (result.ok, result.problem) == (False, f"dies on import with signal {number}; install another version")


def test_probe_of_one_that_hangs(package: Callable[[str], Runtime]) -> None:
    runtime = package("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(300)'])")
    start = time.monotonic()
    result = probe(runtime, timeout_s=1.0)
    assert time.monotonic() - start < 100
    assert (result.ok, result.problem) == (False, "did not import within 1 s; install another version")


def test_probe_of_one_that_talks(package: Callable[[str], Runtime]) -> None:
    result = probe(package("import os\n__version__ = '1.2.3'\nprint('hello')\nos.write(2, b'\\xff\\xfe\\n')"))
    assert (result.ok, result.version) == (True, "1.2.3")


def test_probe_of_one_that_talks_and_raises(package: Callable[[str], Runtime]) -> None:
    result = probe(package("import os\nos.write(2, b'\\xff\\xfe\\n')\nraise ImportError('numpy 1 wanted')"))
    assert (result.ok, result.problem) == (False, "ImportError: numpy 1 wanted")


# Files that can't be run


def test_threads_and_sessions_below_one(tiny_tflite: Path) -> None:
    with pytest.raises(EncoderError, match="threads is 0; expected at least 1"):
        open_session(choose_runtime("tflite"), tiny_tflite.read_bytes(), 0)
    with pytest.raises(EncoderError, match="threads is -1"):
        Encoder.load(tiny_tflite, threads=-1).prepare()
    with pytest.raises(EncoderError, match="sessions is 0; expected at least 1"):
        Encoder.load(tiny_tflite, sessions=0)


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_wrong_bytes(file_format: Any, capfd: pytest.CaptureFixture[str]) -> None:
    models = {"tflite": tiny_models.average_tflite(), "onnx": tiny_models.average_onnx()}
    right = models.pop(file_format)
    runtime = choose_runtime(file_format)
    open_session(runtime, right, 1)  # so that what a runtime announces once is behind us
    capfd.readouterr()
    cut = [right[: len(right) * part // 16] for part in range(16)] + [right[:-1]]
    for wrong in [*cut, *models.values(), b"a text\n" * 40, bytes(2000), right[::-1]]:
        with pytest.raises(EncoderError) as caught:
            open_session(runtime, wrong, 1)
        message = str(caught.value)
        assert (
            len(message.splitlines()) == 1 and f"is it a whole .{file_format} file?" in message and len(message) < 300
        )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_damaged_networks_raise_nothing_else(tmp_path: Path, file_format: str) -> None:
    """Flipped bits open, or don't, or fail when run: an EncoderError each time, and silence (in a process of its own)."""
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom shelfmatch.edge import Encoder, EncoderError\n"
        "path, answers = Path(sys.argv[1]), 0\nmodel = path.read_bytes()\n"
        "for number in range(400):\n"
        "    random, damaged = np.random.default_rng(number), bytearray(model)\n"
        "    for place in random.integers(len(model), size=2): damaged[place] ^= 1 << int(random.integers(8))\n"
        "    path.write_bytes(damaged)\n"
        "    try: Encoder.load(path).warm_up(); answers += 1\n"
        "    except EncoderError as error: assert len(str(error).splitlines()) == 1\n"
        "print(answers)"
    )
    (tmp_path / f"model.{file_format}").write_bytes(getattr(tiny_models, f"average_{file_format}")())
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / f"model.{file_format}")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 400
    assert [line for line in done.stderr.splitlines() if "XNNPACK delegate" not in line] == []


def test_a_network_that_can_t_be_set_up(capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime writes such errors to its log, and tries again aloud, unless told not to."""
    import onnx

    model = onnx.load_model_from_string(tiny_models.average_onnx())
    next(node for node in model.graph.node if node.op_type == "Transpose").attribute[0].ints[3] = 0
    model.graph.input[0].type.tensor_type.ClearField("shape")  # with it, the mistake is found before there is a log
    with pytest.raises(EncoderError, match="can't load the encoder"):
        open_session(choose_runtime("onnx"), model.SerializeToString(), 1)
    assert capfd.readouterr() == ("", "")


# Equal embeddings


def test_litert_and_onnx_runtime_agree(tiny_tflite: Path, tiny_onnx: Path) -> None:
    lite, ort = Encoder.load(tiny_tflite), Encoder.load(tiny_onnx)
    assert (lite.runtime.name, ort.runtime.name) == ("litert", "onnx")
    for product in range(8):
        a, b = (
            lite.embed(tile_photo(product, 0), tile_photo(product, 1)),
            ort.embed(tile_photo(product, 0), tile_photo(99, 1)),
        )
        assert a[0] @ b[0] > 0.9999  # the .tflite file rounds its averages to whole numbers
        assert a[1] @ b[1] < 0.999


def test_threads_inside_the_network_change_nothing(tiny_tflite: Path, tiny_onnx: Path) -> None:
    for path in (tiny_tflite, tiny_onnx):
        one, two = Encoder.load(path, threads=1), Encoder.load(path, threads=2)
        assert np.array_equal(one.embed(tile_photo(1, 0)), two.embed(tile_photo(1, 0)))


def test_tensor_infos(tiny_tflite: Path, tiny_onnx: Path) -> None:
    lite = open_session(choose_runtime("tflite"), tiny_tflite.read_bytes(), 1)
    assert (lite.inputs[0].name, lite.inputs[0].shape, lite.inputs[0].dtype) == ("pixels", (1, 32, 32, 3), "uint8")
    assert lite.outputs[0].quantization is not None and lite.outputs[0].quantization.scale == 1.0
    ort = open_session(choose_runtime("onnx"), tiny_onnx.read_bytes(), 1)
    assert ort.inputs == (TensorInfo("pixels", (1, 32, 32, 3), "uint8"),)
    assert ort.outputs == (TensorInfo("embedding", (1, 48), "float32"),)


def test_a_returned_output_is_a_copy(tiny_tflite: Path, tiny_onnx: Path) -> None:
    for path in (tiny_tflite, tiny_onnx):
        session = open_session(choose_runtime(inspect_encoder(path).format), path.read_bytes(), 1)
        black, white = (np.full((1, 32, 32, 3), value, np.uint8) for value in (0, 255))
        first = session.run(black, "embedding")
        session.run(white, "embedding")
        assert (first == 0).all()


# The pool


class Turnstile:
    """Stands for a session that notices when two threads are in it."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()

    def __init__(self) -> None:
        self.inside = 0
        self.runs = 0
        self.crowded = False

    def run(self, value: Any, output_name: str) -> Any:
        self.inside += 1
        self.crowded |= self.inside > 1
        time.sleep(0.0005)
        self.crowded |= self.inside > 1
        self.inside -= 1
        self.runs += 1


def in_threads(count: int, work: Callable[[], None]) -> list[BaseException]:
    problems: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    return problems


@pytest.mark.parametrize("photos", [0, 1])
def test_an_encoder_is_gone_with_its_last_user(tiny_tflite: Path, photos: int) -> None:
    """Model and interpreters wait for no garbage collection: a process that adds products all day had 200 MB of them."""
    gc.disable()
    try:
        encoder = Encoder.load(tiny_tflite)
        for number in range(photos):
            encoder.embed(tile_photo(0, number))
        pool = weakref.ref(encoder._pool)
        del encoder
        assert pool() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [1, 3, 20])
def test_a_session_has_one_thread_and_the_pool_its_size(size: int) -> None:
    made: list[Turnstile] = []

    def make() -> Turnstile:
        time.sleep(0.002)
        made.append(Turnstile())
        return made[-1]

    pool = SessionPool(make, size)

    def work() -> None:
        for _ in range(25):
            with pool.borrow() as session:
                session.run(None, "")

    assert in_threads(8, work) == []
    assert sum(session.runs for session in made) == 200
    assert not any(session.crowded for session in made)
    assert 1 <= len(made) <= min(size, 8)
    assert len(made) > 1 or size == 1


def test_one_thread_opens_one_session() -> None:
    made: list[Turnstile] = []
    pool = SessionPool(lambda: made.append(Turnstile()) or made[-1], 8)  # type: ignore[func-returns-value]
    for _ in range(10):
        with pool.borrow():
            pass
    assert len(made) == 1


def test_idle_sessions_close_and_borrowed_ones_stay() -> None:
    made: list[weakref.ref[Turnstile]] = []

    def make() -> Turnstile:
        one = Turnstile()
        made.append(weakref.ref(one))
        return one

    pool = SessionPool(make, 2)
    with pool.borrow() as kept:
        with pool.borrow():
            pass
        pool.close_free()
        assert [one() is None for one in made] == [False, True]
        with pool.borrow():  # its place is free again: this would wait for ever
            assert len(made) == 3
        del kept


def test_an_encoder_that_rested_embeds_as_before(tiny_tflite: Path) -> None:
    encoder = Encoder.load(tiny_tflite)
    before = encoder.embed(tile_photo(0, 1))
    encoder.rest()
    assert np.array_equal(encoder.embed(tile_photo(0, 1)), before)


def test_a_session_comes_back_after_an_error() -> None:
    pool = SessionPool(Turnstile, 1)
    with pytest.raises(KeyError), pool.borrow():
        raise KeyError
    assert in_threads(1, lambda: pool.borrow().__enter__() and None) == []


def test_a_failing_open_gives_its_place_back() -> None:
    attempts = 0

    def open_at_the_fourth() -> Turnstile:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            time.sleep(0.05)  # the others wait for this place by now
            raise EncoderError("not yet")
        return Turnstile()

    pool = SessionPool(open_at_the_fourth, 1)

    def work() -> None:
        with pool.borrow() as session:
            session.run(None, "")

    problems = in_threads(8, work)
    assert [str(problem) for problem in problems] == ["not yet"] * 3
    assert attempts == 4


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_eight_threads_share_an_encoder(kind: str, tiny_tflite: Path, tiny_onnx: Path) -> None:
    encoder = Encoder.load({"tflite": tiny_tflite, "onnx": tiny_onnx}[kind], sessions=3)
    photos = [np.asarray(tile_photo(product, 0)) for product in range(8)]
    expected = encoder.embed(*photos)

    def work() -> None:
        for number in range(80):
            assert np.array_equal(encoder.embed(photos[number % 8])[0], expected[number % 8])

    assert in_threads(8, work) == []
