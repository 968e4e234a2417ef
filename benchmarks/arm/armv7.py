"""Whether 32-bit ARM still works: the shipped encoders on an emulated Cortex-A7 (Raspberry Pi 2 and older), against x86-64.

    python benchmarks/arm/armv7.py                # exit 1 if anything is off; root on Debian, x86-64; two minutes
    python benchmarks/arm/armv7.py --folder DIR   # keeps the emulation there for the next time

Python, numpy 1.24 and Pillow 9.4 are Debian's for armhf, the runtime is PyPI's tflite-runtime 2.14; of LiteRT, ONNX Runtime,
usearch and NumKong there are no wheels, so numpy scans the exact index. That Pillow is older than `setup.cfg` asks for: it reads
JPEG as we need it, not all the rest, so what other formats do there is not tested. Its JPEG decoder and the runtime's kernels are
others than here: embeddings agree to a cosine of 0.998 rather than 0.999.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import check  # noqa: E402
import emulation as emulated  # noqa: E402

PROCESSOR = "cortex-a7"
LEAST_COSINE, LEAST_OVERLAP = 0.998, 8
RUNTIME = "tflite-runtime==2.14.0"
TESTS = (
    "tests/edge/doctor/test_doctor.py::test_known_embeddings_belong_to_the_encoders",
    "tests/edge/index/test_vector_index.py::test_exact_misses_nothing_of_hostile_data[i8-one_huge]",
    "tests/edge/index/test_vector_index.py::test_exact_misses_nothing_of_hostile_data[f16-duplicates]",
    "tests/edge/catalog/test_catalog.py",
)
_DEBIAN = (
    "python3",
    "python3-numpy",
    "python3-pil",
    "python3-pytest",
    "python3-hypothesis",
    "python3-tqdm",
    "libstdc++6",
)


@dataclass(frozen=True, slots=True)
class Armv7:
    """A folder that was set up."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """The command line of Python with these arguments."""
        libraries = self.folder / "debian/usr/lib/arm-linux-gnueabihf"
        variables = {
            # Debian chooses one BLAS of several by links that installing would make.
            "LD_LIBRARY_PATH": f"{libraries / 'blas'}:{libraries / 'lapack'}",
            "PYTHONPATH": f"{self.folder / 'site'}:{HERE}",
            "PYTHONPYCACHEPREFIX": self.folder / "pycache",
            "OMP_NUM_THREADS": 1,
            "SHELFMATCH_DEVICE": "",
        }
        settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
        python = str(self.folder / "debian/usr/bin/python3.11")
        root = str(self.folder / "root")
        return ["qemu-arm", "-L", root, "-cpu", PROCESSOR, *settings, python, "-s", *arguments]


def set_up(folder: Path) -> Armv7:
    """Make the folder, or use what was made there. Raises SystemExit with one line where it can't be made."""
    reason = emulated.unavailable()
    if reason is not None:
        raise SystemExit(f"skipped: {reason}")
    folder = folder.resolve()
    recipe = hashlib.sha256(repr((emulated.RECIPE, "armhf", _DEBIAN, RUNTIME)).encode()).hexdigest()
    with emulated.made_once(folder, recipe) as missing:
        if missing:
            emulated.install_tools({"qemu-arm": "qemu-user"})
            emulated.unpack_debian(folder, "armhf", _DEBIAN)
            emulated.install_wheels(folder / "site", "--platform", "manylinux_2_34_armv7l", RUNTIME)
            emulated.link_debian(folder, folder / "root")
    emulated.link_checkout(folder / "site")
    return Armv7(folder)


def compare(there: Armv7, work: Path) -> list[str]:
    """Each shipped .tflite encoder on photos against a shop of 10,000 references; what differs from x86-64."""
    problems = []
    shops, photos = check.prepare(work)
    for shop in shops:
        arguments = (str(HERE / "stages.py"), str(shop.bundle), *map(str, photos))
        here, _ = check.run_stages([sys.executable, *arguments])
        answer, _ = check.run_stages(there.command(*arguments))
        found, least = check.differences(here, answer, LEAST_COSINE, LEAST_OVERLAP)
        problems += [f"{shop.encoder}: {problem}" for problem in found]
        print(f"{shop.encoder}: {answer['photos']} photos, cosine with x86-64 ≥ {least:.5f}", flush=True)
    return problems


def main() -> int:
    """The command line; see the first lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="keep the emulation there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shelfmatch-armv7-") as temporary:
        try:
            there = set_up(options.folder or Path(temporary, "emulation"))
        except SystemExit as reason:
            # Three package sources of a dying architecture: that one of them is away says nothing of this checkout.
            print(f"skipped: {str(reason).removeprefix('skipped: ')}")
            return 0
        work = Path(temporary, "work")
        work.mkdir()
        pytest = there.command("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no_children", *TESTS)
        problems = compare(there, work) + check.failed_tests(PROCESSOR, pytest)
    for problem in problems:
        print(f"WRONG  {problem}")
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
