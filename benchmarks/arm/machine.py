"""A whole emulated machine with Cortex-A53 and 512 MB, like a Raspberry Pi Zero 2 W: how much memory shelfmatch really takes there.

    python benchmarks/arm/machine.py --folder DIR                            # Matcher.match of a large shop
    python benchmarks/arm/machine.py --folder DIR --what match kiosk shelf   # and `shelfmatch serve`, `shelfmatch shelf watch`
    python benchmarks/arm/machine.py --folder DIR --products 20000 --gate

Debian's arm64 kernel boots under qemu-system-aarch64 with a root file system that holds Debian's Python, the wheels of
requirements.txt (for the kiosk, those of requirements-kiosk.txt, too), this checkout, and what is measured (parts.py): a shop of
10,000 products with three photos each under the default encoder. Peaks are read from the kernel. User-mode emulation can't tell
them: qemu's own memory counts there; but it counts instructions, of which a frame of a shelf camera has so many (watching.py).
For a nightly run: root on Debian, x86-64, some minutes a part.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import emulation as emulated  # noqa: E402
import parts  # noqa: E402
import reporting  # noqa: E402
import watching  # noqa: E402

MEMORY_MB = 512
MODULES = ("virtio_mmio", "virtio_blk", "ext4")
PARTS = ("match", "kiosk", "shelf")
KIOSK_REQUIREMENTS = HERE / "requirements-kiosk.txt"
EMULATED_PYTHON = (3, 11)
"""Only the same version compiles for it; without, modules are compiled inside, which takes time and leaves memory behind."""
BEGIN, END = "=== answer begins", "=== answer ends"

INIT = """\
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 100 ]; do /bin/busybox sleep 0.1; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o ro /dev/vda /disk
/bin/busybox mount -t proc proc /disk/proc
/bin/busybox mount -t devtmpfs dev /disk/dev
/bin/busybox mount -t sysfs sys /disk/sys
/bin/busybox mount -t tmpfs tmp /disk/tmp
/bin/busybox ip link set lo up
echo "{begin}"
export PYTHONPATH=/site:/site-kiosk HOME=/tmp
/bin/busybox chroot /disk /usr/bin/python3.11 -s -B $(/bin/busybox cat /disk/runs/$what)
echo "{end}"
/bin/busybox poweroff -f
"""


def fetch_kernel(folder: Path) -> tuple[Path, Path]:
    """Debian's arm64 kernel and a static busybox: the unpacked folder, and the kernel's image in it."""
    unpacked = folder / "kernel"
    if not (unpacked / "complete").is_file():
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        apt = emulated.apt_for("arm64", folder)
        emulated.run(*apt, "update")
        shown = subprocess.run(
            ["apt-cache", *apt[2:], "show", "linux-image-arm64"], capture_output=True, text=True, check=True
        )
        kernel = re.search(r"linux-image-[\w.-]+-arm64", shown.stdout.partition("Depends:")[2])
        if kernel is None:
            raise SystemExit("apt knows no kernel for arm64 (linux-image-arm64); is this Debian?")
        emulated.run(*apt, "download", kernel[0], "busybox-static", cwd=unpacked)
        for package in unpacked.glob("*.deb"):
            emulated.run("dpkg-deb", "-x", str(package), str(unpacked))
            package.unlink()
        (unpacked / "complete").touch()
    return unpacked, next((unpacked / "boot").glob("vmlinuz-*"))


def make_initramfs(unpacked: Path, kernel: Path, target: Path) -> None:
    """busybox, the modules for the disk in their order, and the script that runs everything."""
    version = kernel.name.removeprefix("vmlinuz-")
    emulated.run("depmod", "-b", str(unpacked), version)
    wanted: list[Path] = []
    for module in MODULES:
        command = ["modprobe", "-d", str(unpacked), "-S", version, "--show-depends", module]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        wanted += [Path(line.split()[1]) for line in shown.splitlines() if line.startswith("insmod")]
    wanted = list(dict.fromkeys(wanted))
    tree = target.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "modules", "proc", "dev", "disk"):
        (tree / name).mkdir(parents=True)
    shutil.copy2(unpacked / "bin/busybox", tree / "bin/busybox")
    for module in wanted:
        shutil.copy2(module, tree / "modules" / module.name)
    script = INIT.format(modules=" ".join(m.name for m in wanted), begin=BEGIN, end=END)
    (tree / "init").write_text(script, encoding="utf-8")
    (tree / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    with target.open("wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=file, cwd=tree, check=True)


def install_kiosk(folder: Path) -> Path:
    """The wheels of the [kiosk] extra, in a folder of their own."""
    site = folder / "site-kiosk"
    with emulated.made_once(site, hashlib.sha256(KIOSK_REQUIREMENTS.read_bytes()).hexdigest()) as missing:
        if missing:
            emulated.install_wheels(site, *emulated.WHEEL_PLATFORMS, "-r", str(KIOSK_REQUIREMENTS))
    return site


def make_disk(emulation: emulated.Emulation, wanted: list[parts.Part], target: Path) -> None:
    """An ext4 image with Debian, the wheels, this checkout, compiled as pip does it, and what the parts need."""
    tree = target.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(emulation.folder / "debian", tree, symlinks=True)
    leave_out = shutil.ignore_patterns("__pycache__", "pytest*")
    sites = [emulation.folder / "site"]
    if any(part.name == "kiosk" for part in wanted):
        sites.append(install_kiosk(emulation.folder))
    for site in sites:
        shutil.copytree(site, tree / site.name, ignore=leave_out)
    if sys.version_info[:2] == EMULATED_PYTHON:
        compiled = [str(tree / "usr/lib/python3.11"), *(str(tree / site.name) for site in sites)]
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(tree)]
        subprocess.run([*command, *compiled], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (tree / "runs").mkdir()
    for part in wanted:
        for path in (HERE / "resident.py", HERE / part.program, *part.files):
            if path.is_dir():
                shutil.copytree(path, tree / path.name, dirs_exist_ok=True)
            else:
                shutil.copy2(path, tree / path.name)
        (tree / "runs" / part.name).write_text(" ".join((f"/{part.program}", *part.arguments)), encoding="utf-8")
    for name in ("proc", "dev", "sys", "tmp"):
        (tree / name).mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    emulated.run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), "-m", "0", str(target), "900M")
    shutil.rmtree(tree)


def boot(kernel: Path, initramfs: Path, disk: Path, part: parts.Part, timeout_s: int) -> dict[str, Any]:
    """What a part's program printed inside; the console's text is left beside the disk. Raises SystemExit with its last lines where
    there is no answer."""
    command = [
        "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-smp", str(part.cores), "-m", str(MEMORY_MB),
        # What the kernel doesn't know becomes a variable of the first process.
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", f"console=ttyAMA0 quiet panic=-1 what={part.name}",
        "-drive", f"file={disk},if=none,format=raw,id=disk,readonly=on", "-device", "virtio-blk-device,drive=disk",
        "-nic", "none", "-nographic", "-no-reboot",
    ]  # fmt: skip
    console = disk.with_name(f"console-{part.name}.txt")
    with console.open("wb") as file:
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            said = console.read_text(encoding="utf-8", errors="replace")[-600:]
            raise SystemExit(f"the machine did not answer within {timeout_s} s: {said}") from error
    return answer_of(console.read_text(encoding="utf-8", errors="replace"))


def answer_of(console: str) -> dict[str, Any]:
    """The last line of JSON between the marks on the console. Raises SystemExit with the console's last lines if there is none."""
    inside = console.partition(BEGIN)[2].partition(END)[0]
    found = re.findall(r"^\{\".*\}\s*$", inside, re.MULTILINE)
    if not found:
        raise SystemExit(f"the machine gave no answer: {console[-1500:]}")
    answer: dict[str, Any] = json.loads(found[-1])
    return answer


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = reporting.argument_parser(__doc__)
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the emulation is kept (default: in the folder of --work)"
    )
    parser.add_argument(
        "--what", nargs="+", choices=PARTS, default=["match"], metavar="PART",
        help=f"what is measured, one boot each: {', '.join(PARTS)} (default: match)"
    )  # fmt: skip
    parser.add_argument("--products", type=int, default=10_000, metavar="N")
    parser.add_argument("--views", type=int, default=3, metavar="N", help="photos a product (default: 3)")
    parser.add_argument(
        "--timeout", type=int, default=1800, metavar="S", help="of one boot of the emulated machine (default: 1800)"
    )
    return parser


def main() -> int:
    arguments = argument_parser().parse_args()
    if (reason := emulated.unavailable()) is not None:
        print(f"skipped: {reason}")
        return 0
    report = reporting.Report.start(
        "arm machine", products=arguments.products, views=arguments.views, memory_mb=MEMORY_MB
    )
    with reporting.work_folder(arguments.work) as work:
        emulation = emulated.set_up(arguments.folder or work / "emulation")
        emulated.install_tools(
            {"qemu-system-aarch64": "qemu-system-arm", "cpio": "cpio", "depmod": "kmod", "mke2fs": "e2fsprogs"}
        )
        report.settings["versions"] = emulation.versions()
        unpacked, kernel = fetch_kernel(emulation.folder)
        initramfs, disk = work / "initramfs", work / "disk.ext4"
        make_initramfs(unpacked, kernel, initramfs)
        wanted = [
            parts.prepare(name, work, arguments.products, arguments.views) for name in dict.fromkeys(arguments.what)
        ]
        make_disk(emulation, wanted, disk)
        for part in wanted:
            start = time.monotonic()
            answer = boot(kernel, initramfs, disk, part, arguments.timeout)
            answer |= {"seconds": time.monotonic() - start, "cores": part.cores}
            print(
                f"\nCortex-A53, {part.cores} cores, {MEMORY_MB} MB, {kernel.name}, {answer['seconds']:.0f} s",
                flush=True,
            )
            parts.read(part, answer, report)
            report.results[part.name] = answer
        if "shelf" in arguments.what:
            watching.read(watching.frame_costs(emulation, work), report)
    report.settings["kernel"] = kernel.name
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
