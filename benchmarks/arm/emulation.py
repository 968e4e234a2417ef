"""A Python 3.11 for arm64 with the packages' real aarch64 wheels, under qemu's user-mode emulation, as one of three processors.

    python benchmarks/arm/emulation.py FOLDER          # set it up there (root on Debian, x86-64; half a minute)
    python benchmarks/arm/emulation.py FOLDER cortex-a72 script.py …

Debian's arm64 packages are unpacked into FOLDER/debian, the wheels of requirements.txt into FOLDER/site, and this checkout's
packages are linked in. Each processor has a root of its own, because libraries choose their kernels by /proc/cpuinfo: without
one LiteRT dies, and one that promises more than qemu's -cpu gives makes it die of an illegal instruction. `-cpu max` is left
out on purpose: LiteRT computed wrong numbers there. Processes in the emulation can't start others (that would need binfmt_misc).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements.txt"


@dataclass(frozen=True, slots=True)
class Processor:
    """What /proc/cpuinfo says of it: MIDR fields and the features that Linux shows (arch/arm64/kernel/cpuinfo.c)."""

    part: str
    variant: str
    revision: str
    features: str


_ARMV8_0 = "fp asimd evtstrm crc32 cpuid"
PROCESSORS = {
    # Raspberry Pi 3 and Zero 2 W, Pi 4, Pi 5.
    "cortex-a53": Processor("0xd03", "0x0", "4", _ARMV8_0),
    "cortex-a72": Processor("0xd08", "0x0", "3", _ARMV8_0),
    "cortex-a76": Processor(
        "0xd0b", "0x4", "1",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
}  # fmt: skip
CORES = 4

RECIPE = 1
"""Raised when what is below makes another folder of the same packages."""

_DEBIAN = ("python3", "libstdc++6", "libgomp1")
_WHEEL_TAGS = [f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)] + ["manylinux2014_aarch64"]
"""Debian 12 has glibc 2.36."""
WHEEL_PLATFORMS = [word for tag in _WHEEL_TAGS for word in ("--platform", tag)]
"""pip's options for them."""


def unavailable() -> str | None:
    """Why it can't be set up on this machine, in one line; None where it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the ARM emulation is set up on Linux on x86-64; this is {sys.platform} on {platform.machine()}"
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "the ARM emulation is made of Debian packages, and there is no apt-get here"
    if os.geteuid() != 0 and (shutil.which("qemu-aarch64") is None or shutil.which("gcc") is None):
        return "qemu-user and gcc are not installed, and only root can install them: apt-get install qemu-user gcc libc6-dev"
    return None


@dataclass(frozen=True, slots=True)
class Emulation:
    """A folder that was set up."""

    folder: Path

    def command(self, processor: str, *arguments: str, count: bool = False) -> list[str]:
        """The command line of Python with these arguments; `count`: instructions between marks are written to stderr."""
        variables = {
            "PYTHONPATH": self.folder / "site",
            # Counts repeat to the digit only with the same hashes and one thread.
            "PYTHONHASHSEED": 0,
            "OMP_NUM_THREADS": 1,
            "OPENBLAS_NUM_THREADS": 1,
            "PYTHONPYCACHEPREFIX": self.folder / "pycache",
            "SHELFMATCH_DEVICE": "",  # no settings of the machine around it
        }
        plugin = ["-plugin", str(self.folder / "icount.so")] if count else []
        settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
        python = str(self.folder / "debian/usr/bin/python3.11")
        root = str(self.folder / "roots" / processor)
        return ["qemu-aarch64", "-L", root, "-cpu", processor, *plugin, *settings, python, "-s", *arguments]

    def versions(self) -> dict[str, str]:
        """What counts depend on besides our own code."""
        qemu = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
        python = subprocess.run(self.command("cortex-a53", "-V"), capture_output=True, text=True, check=True).stdout
        pins = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if "==" in line]
        return {
            "qemu": qemu.split("version ")[1].split()[0],
            "python": python.split()[1],
            **dict(line.split("==") for line in pins),
        }


def set_up(folder: Path) -> Emulation:
    """Make the folder, or use the one that the same recipe made. Raises SystemExit with one line where it can't be made."""
    reason = unavailable()
    if reason is not None:
        raise SystemExit(f"skipped: {reason}")
    folder = folder.resolve()
    what = repr((RECIPE, PROCESSORS, _DEBIAN, _WHEEL_TAGS)).encode()
    recipe = hashlib.sha256(what + REQUIREMENTS.read_bytes() + (HERE / "icount.c").read_bytes()).hexdigest()
    with made_once(folder, recipe) as missing:
        if missing:
            install_tools({"qemu-aarch64": "qemu-user", "gcc": "gcc libc6-dev"})
            unpack_debian(folder, "arm64", _DEBIAN)
            install_wheels(folder / "site", *WHEEL_PLATFORMS, "-r", str(REQUIREMENTS))
            for name, processor in PROCESSORS.items():
                _make_root(folder, name, processor)
            run("gcc", "-O2", "-shared", "-fPIC", "-o", str(folder / "icount.so"), str(HERE / "icount.c"))
    link_checkout(folder / "site")
    return Emulation(folder)


@contextlib.contextmanager
def made_once(folder: Path, recipe: str) -> Iterator[bool]:
    """Whether the folder is to be made, empty, by this recipe; what is made without an error is used the next time.

    Raises SystemExit where something else lies there.
    """
    stamp = folder / "made-by"
    missing = not stamp.is_file() or stamp.read_text() != recipe
    if missing:
        if folder.is_dir() and any(folder.iterdir()) and not stamp.is_file():
            raise SystemExit(f"{folder} holds something else; name a new folder for the emulation")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stamp.touch()
    yield missing
    if missing:
        stamp.write_text(recipe)


def run(*command: str, cwd: Path | None = None) -> None:
    """Quiet unless it fails. Raises SystemExit with what it said last."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-3:])
        raise SystemExit(f"{' '.join(command[:4])} … failed: {said}")


def install_tools(needed: Mapping[str, str]) -> None:
    """Command → Debian packages, installed where the command is missing. Raises SystemExit."""
    missing = [
        package for tool, packages in needed.items() if shutil.which(tool) is None for package in packages.split()
    ]
    if missing:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def apt_for(architecture: str, folder: Path) -> list[str]:
    """The beginning of an apt-get command with lists and packages of another architecture, apart from this machine's own."""
    state, cache = folder / "apt-state", folder / "apt-cache"
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives/partial").mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "APT::Install-Recommends": "0",
        "Acquire::Languages": "none",
    }
    return ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def unpack_debian(folder: Path, architecture: str, wanted: tuple[str, ...]) -> None:
    """Debian's packages of another architecture, with what they depend on, into FOLDER/debian. Raises SystemExit."""
    apt, root = apt_for(architecture, folder), folder / "debian"
    try:
        run(*apt, "update")
    except SystemExit as problem:
        # A mirror may be half synchronized, of one list; if it was one that matters, the next command says so.
        print(f"going on: {problem}", file=sys.stderr)
    run(*apt, "install", "-y", "--download-only", *wanted)
    for name in ("bin", "sbin", "lib"):  # Debian's merged /usr
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((folder / "apt-cache/archives").glob("*.deb")):
        unpacking = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", str(root)], stdin=unpacking.stdout, check=True)
        if unpacking.wait():
            raise SystemExit(f"{package.name} can't be unpacked")
    shutil.rmtree(folder / "apt-state")
    shutil.rmtree(folder / "apt-cache")


def install_wheels(site: Path, *what: str) -> None:
    """Wheels for CPython 3.11 of another architecture, as they are. Raises SystemExit."""
    kind = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "abi3", "--abi", "none"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
    ]
    run(*pip, "--no-deps", "--only-binary=:all:", *kind, "--target", str(site), *what)


def link_debian(folder: Path, root: Path) -> None:
    """A root for qemu: the unpacked Debian by links, so that files of its own can lie beside them."""
    root.mkdir(parents=True)
    for entry in ("usr", "bin", "sbin", "lib", "etc"):
        (root / entry).symlink_to(folder / "debian" / entry)


def _make_root(folder: Path, name: str, processor: Processor) -> None:
    root = folder / "roots" / name
    link_debian(folder, root)
    (root / "proc").mkdir()
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {processor.features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: {processor.variant}\nCPU part\t: {processor.part}\nCPU revision\t: {processor.revision}\n\n"
    )
    (root / "proc/cpuinfo").write_text("".join(f"processor\t: {number}\n{core}" for number in range(CORES)))


def link_checkout(site: Path) -> None:
    """This checkout's packages, importable from a folder of wheels."""
    package = site / "shelfmatch"
    package.mkdir(exist_ok=True)
    for name in ("edge", "export", "models"):
        (package / name).unlink(missing_ok=True)
        (package / name).symlink_to(CHECKOUT / name)


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    emulation = set_up(Path(sys.argv[1]))
    if len(sys.argv) == 2:
        print(f"{emulation.folder}: {', '.join(f'{name} {version}' for name, version in emulation.versions().items())}")
        return 0
    return subprocess.run(emulation.command(*sys.argv[2:])).returncode


if __name__ == "__main__":
    sys.exit(main())
