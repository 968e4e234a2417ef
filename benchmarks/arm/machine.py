"""A whole emulated machine with a Cortex-A53 and 512 MB, like a Raspberry Pi Zero 2 W: how much memory a large shop really takes.

    python benchmarks/arm/machine.py --folder DIR
    python benchmarks/arm/machine.py --folder DIR --products 20000 --gate

Debian's arm64 kernel boots under qemu-system-aarch64 with a root file system that holds Debian's Python, the wheels of
requirements.txt, this checkout, and a shop of 10,000 products with three photos each under the default encoder. One process opens
it and matches photos of 640x480 and of 12 megapixels, second looks included; its peak is read from the kernel. User-mode emulation
can't tell that: qemu's own memory counts there. For a nightly run: root on Debian, x86-64, some minutes.
"""

from __future__ import annotations

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
import reporting  # noqa: E402
import shops  # noqa: E402

from shelfmatch.edge import Encoder  # noqa: E402
from shelfmatch.edge.encoders.registry import DEFAULT_ENCODER  # noqa: E402
from shelfmatch.edge.synthetic import products as rendered  # noqa: E402

PEAK_BAR_MB = 100.0
MEMORY_MB, CORES = 512, 2
MODULES = ("virtio_mmio", "virtio_blk", "ext4")
SEEDS = 40
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
/bin/busybox mount -t tmpfs tmp /disk/tmp
echo "{begin}"
export PYTHONPATH=/site HOME=/tmp
/bin/busybox chroot /disk /usr/bin/python3.11 -s -B /peak.py /shop.bundle {photos}
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


def make_initramfs(unpacked: Path, kernel: Path, photos: list[str], target: Path) -> None:
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
    script = INIT.format(modules=" ".join(m.name for m in wanted), photos=" ".join(photos), begin=BEGIN, end=END)
    (tree / "init").write_text(script, encoding="utf-8")
    (tree / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    with target.open("wb") as file:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=file, cwd=tree, check=True)


def make_disk(emulation: emulated.Emulation, bundle: Path, photos: list[Path], target: Path) -> None:
    """An ext4 image with Debian, the wheels, this checkout, the shop and the photos."""
    tree = target.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(emulation.folder / "debian", tree, symlinks=True)
    shutil.copytree(emulation.folder / "site", tree / "site", ignore=shutil.ignore_patterns("__pycache__", "pytest*"))
    shutil.copytree(bundle, tree / "shop.bundle")
    for path in (HERE / "peak.py", *photos):
        shutil.copy2(path, tree / path.name)
    for name in ("proc", "dev", "tmp"):
        (tree / name).mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    emulated.run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), "-m", "0", str(target), "700M")
    shutil.rmtree(tree)


def boot(kernel: Path, initramfs: Path, disk: Path, timeout_s: int) -> dict[str, Any]:
    """What peak.py printed inside. Raises SystemExit with the console's last lines if it said nothing."""
    command = [
        "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-smp", str(CORES), "-m", str(MEMORY_MB),
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", "console=ttyAMA0 quiet panic=-1",
        "-drive", f"file={disk},if=none,format=raw,id=disk,readonly=on", "-device", "virtio-blk-device,drive=disk",
        "-nic", "none", "-nographic", "-no-reboot",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"the machine did not answer within {timeout_s} s") from error
    inside = done.stdout.partition(BEGIN)[2].partition(END)[0]
    found = re.search(r"^\{.*\}\s*$", inside, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the machine gave no answer: {(done.stdout + done.stderr)[-1500:]}")
    answer: dict[str, Any] = json.loads(found[0])
    return answer


def make_shop(work: Path, products: int, views: int) -> tuple[Path, list[Path]]:
    """The shop's bundle, and photos: four of 640x480 and one of twelve megapixels."""
    from PIL import Image

    made = rendered.make_shop(SEEDS, seed=7)
    catalogued, photos = [], []
    for number, product in enumerate(made):
        catalogued.append(work / f"seed-{number}.jpg")
        rendered.render_view(product, 0, difficulty=0.3).save(catalogued[-1], quality=90)
    for number, product in enumerate(made[:5]):
        photos.append(work / f"photo-{number}.jpg")
        picture = rendered.render_view(product, 1, difficulty=0.3)
        if number == 4:
            picture = picture.resize((4032, 3024), Image.Resampling.BICUBIC)
        picture.save(photos[-1], quality=90)
    encoder = Encoder.load(DEFAULT_ENCODER, resizer="pillow")
    bundle = work / "shop.bundle"
    # Without an adapter the vectors are as long as they can be.
    shops.write_shop(bundle, encoder, encoder.embed(*catalogued), products * views, views=views, adapt="off")
    return bundle, photos


def main() -> int:
    parser = reporting.argument_parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="where the emulation is kept")
    parser.add_argument("--products", type=int, default=10_000, metavar="N")
    parser.add_argument("--views", type=int, default=3, metavar="N", help="photos a product (default: 3)")
    parser.add_argument("--timeout", type=int, default=900, metavar="S", help="of the emulated machine (default: 900)")
    arguments = parser.parse_args()
    if (reason := emulated.unavailable()) is not None:
        print(f"skipped: {reason}")
        return 0
    emulation = emulated.set_up(arguments.folder)
    emulated.install_tools(
        {"qemu-system-aarch64": "qemu-system-arm", "cpio": "cpio", "depmod": "kmod", "mke2fs": "e2fsprogs"}
    )
    report = reporting.Report.start(
        "arm machine", products=arguments.products, views=arguments.views, memory_mb=MEMORY_MB
    )
    with reporting.work_folder(arguments.work) as work:
        unpacked, kernel = fetch_kernel(emulation.folder)
        bundle, photos = make_shop(work, arguments.products, arguments.views)
        initramfs, disk = work / "initramfs", work / "disk.ext4"
        make_initramfs(unpacked, kernel, [f"/{photo.name}" for photo in photos], initramfs)
        make_disk(emulation, bundle, photos, disk)
        start = time.monotonic()
        answer = boot(kernel, initramfs, disk, arguments.timeout)
    report.results = {**answer, "seconds": time.monotonic() - start, "kernel": kernel.name}
    what = f"{answer['products']:,} products, {answer['references']:,} photos, {answer['encoder']}"
    rows = [(what, *(f"{answer[key]:.1f}" for key in ("opened_mb", "peak_mb", "free_before_mb", "machine_mb")))]
    header = ("shop", "opened, MB", "peak, MB", "free before, MB", "machine, MB")
    reporting.print_table(f"Cortex-A53, {MEMORY_MB} MB, {kernel.name}, {report.results['seconds']:.0f} s", header, rows)
    report.bar("peak resident memory, MB", answer["peak_mb"], PEAK_BAR_MB)
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
