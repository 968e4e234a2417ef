"""Files that no camera wrote: mutated photos of every format, odd shapes, and bombs. Numbered, so that each can be made again.

`python -m tests.support.hostile START STOP` reads the files of that range and prints what went wrong as JSON.

One module of over 400 lines: the numbers of the files go through all kinds.
"""

from __future__ import annotations

import faulthandler
import functools
import io
import json
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shelfmatch.edge import ImageError
from shelfmatch.edge.imaging.decode import decode
from shelfmatch.edge.imaging.resize import Resizer, fit
from tests.support.cards import plain_card

SECONDS = 2.0
"""What one file may take, in CPU time: this machine may be busy with something else."""
HANG_SECONDS = 60.0

CARDS = [
    plain_card(32, 32),
    plain_card(48, 24, resize="pad"),
    plain_card(31, 45, resize="crop", crop_fraction=0.875),
]

# Building blocks


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, before: bytes = b"", pixels: bytes | None = None, after: bytes = b"") -> bytes:
    """A greyscale PNG with chunks of one's own."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    if pixels is None:
        pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * (width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + png_chunk(b"IEND", b"")


def png_with_right_checksums(data: bytes) -> bytes:
    """Mutated PNGs fail at the first checksum; with these mended they reach what lies behind."""
    place, parts = 8, [data[:8]]
    while place + 12 <= len(data):
        length = min(struct.unpack_from(">I", data, place)[0], len(data) - place - 12)
        parts.append(png_chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return b"".join(parts) + data[place:]


def jpeg_segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def tiff(entries: dict[int, tuple[int, int, bytes]], after: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory: tag → (type, count, value)."""
    values_at = 8 + 2 + 12 * len(entries) + 4
    directory, values = struct.pack("<H", len(entries)), b""
    for tag, (kind, count, value) in sorted(entries.items()):
        stored = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<L", values_at + len(values))
        values += value if len(value) > 4 else b""
        directory += struct.pack("<HHL", tag, kind, count) + stored
    return b"II*\0\x08\0\0\0" + directory + b"\0\0\0\0" + values + after


def long(value: int) -> tuple[int, int, bytes]:
    return 4, 1, struct.pack("<L", value)


def bmp_rle(width: int, height: int, runs: bytes) -> bytes:
    start = 14 + 40 + 1024
    head = struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0) + bytes(1024) + runs


def jpeg_of_scans(width: int, height: int, scans: int, progressive: bool) -> bytes:
    """The scans are empty: the decoder fills in zeros, over all pixels, again and again."""
    source = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG", progressive=progressive, subsampling=0))
    frame = source.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    source[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    scan = jpeg_segment(0xDA, bytes([1, 1, 0, 0, 0 if progressive else 63, 0]))
    return bytes(source[: source.index(b"\xff\xda")]) + scan * scans + b"\xff\xd9"


def inside_jpeg(header: bytes) -> bytes:
    plain = saved(picture(0), "JPEG")
    return plain[:2] + header + plain[2:]


def inside_gif(blocks: bytes) -> bytes:
    plain = saved(picture(0), "GIF")
    start = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    return plain[:start] + blocks + plain[start:]


def tiles_beyond_the_picture(width: int, height: int, tile: tuple[int, int]) -> bytes:
    packed = zlib.compress(bytes(tile[0] * tile[1]), 1)
    count = -(-width // tile[0]) * -(-height // tile[1])
    tags = {256: long(width), 257: long(height), 258: long(8), 259: long(8), 262: long(1), 277: long(1)}
    tags |= {322: long(tile[0]), 323: long(tile[1])}

    def with_offset(offset: int) -> bytes:
        offsets = (4, count, struct.pack("<L", offset) * count)
        return tiff({**tags, 324: offsets, 325: (4, count, struct.pack("<L", len(packed)) * count)})

    return with_offset(len(with_offset(0))) + packed


def strips(count: int) -> bytes:
    offsets = (4, count, struct.pack("<L", 8) * count)
    tags = {256: long(8), 257: long(8), 258: long(8), 259: long(1), 262: long(1), 278: long(1)}
    return tiff({**tags, 273: offsets, 279: offsets})


def zlib_bomb(size: int) -> bytes:
    return b"x\0\0" + zlib.compress(bytes(size))


# Each is refused, for most took seconds to minutes or gigabytes; the few that are harmless say so.
BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG header of 60000x60000": lambda: png(60000, 60000, pixels=b""),
    "PNG header of 2147483647x2147483647": lambda: png(2**31 - 1, 2**31 - 1, pixels=b""),
    "JPEG header of 65535x65535": lambda: jpeg_of_scans(65535, 65535, 1, False),
    "BMP header of 2147483647x2147483647": lambda: bmp_rle(2**31 - 1, 2**31 - 1, b""),
    "GIF header of 65535x65535": lambda: (
        b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;"
    ),
    "PPM header of 100000x100000": lambda: b"P6 100000 100000 255\n" + bytes(1000),
    "TIFF header of 100000x100000": lambda: tiff(
        {256: long(100000), 257: long(100000), 258: long(8), 262: long(1), 273: long(8)}
    ),
    "progressive JPEG of 1000 scans": lambda: jpeg_of_scans(8000, 7000, 1000, True),
    "sequential JPEG of 20000 scans": lambda: jpeg_of_scans(1000, 1000, 20_000, False),
    "JPEG of 49 scans is answered": lambda: jpeg_of_scans(2000, 2000, 49, True),
    "JPEG of 1,000,000 comments": lambda: inside_jpeg(jpeg_segment(0xFE, b"") * 1_000_000),
    "JPEG of 400,000 Exif segments": lambda: inside_jpeg(jpeg_segment(0xE1, b"Exif\0\0x") * 400_000),
    "JPEG of 20 MB before its header": lambda: inside_jpeg(b"\xff" * 20_000_000),
    "JPEG of Photoshop resources": lambda: inside_jpeg(
        jpeg_segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5400) * 300
    ),
    "PNG of 1,000 colour profiles": lambda: png(8, 8, before=png_chunk(b"iCCP", zlib_bomb(1_000_000)) * 1000),
    "PNG of 1,000 packed texts": lambda: png(8, 8, before=png_chunk(b"zTXt", zlib_bomb(1_000_000)) * 1000),
    "PNG of 500,000 chunks": lambda: png(8, 8, before=png_chunk(b"abCd", b"") * 500_000),
    "PNG of 500,000 chunks after its pixels": lambda: png(8, 8, after=png_chunk(b"abCd", b"") * 500_000),
    "PNG of 500,000 empty pixel chunks": lambda: png(8, 8, pixels=png_chunk(b"IDAT", b"") * 500_000),
    "PNG of 2 GB packed": lambda: png(30000, 60000, pixels=png_chunk(b"IDAT", zlib_bomb(10_000_000)[3:])),
    "GIF of a comment in 100,000 pieces is answered": lambda: inside_gif(b"!\xfe" + b"\1a" * 100_000 + b"\0"),
    "PPM of 400,000 comments": lambda: b"P3\n64 64\n255\n" + b"#\n" * 400_000,
    "PPM with a comment of 20 MB": lambda: b"P6\n#" + b"x" * 20_000_000 + b"\n8 8\n255\n" + bytes(192),
    "PPM of 4 million numbers": lambda: b"P3\n1200 1200\n255\n" + b"1 " * (1200 * 1200 * 3),
    "PPM of an odd range": lambda: b"P6\n1200 1200\n100\n" + b"1" * (1200 * 1200 * 3),
    "BMP of short lines": lambda: bmp_rle(8000, 8000, b"\1\5\0\0" * 8000),
    "BMP of runs beyond the line": lambda: bmp_rle(10, 10, b"\x0b\5" * 5_000_000),
    "TIFF tile of 16000x16000 in a picture of 1x1": lambda: tiles_beyond_the_picture(1, 1, (16000, 16000)),
    "TIFF of 300 tiles of 16x1000000": lambda: tiles_beyond_the_picture(4800, 1, (16, 1_000_000)),
    "TIFF of 2,000,000 strips": lambda: strips(2_000_000),
    "TIFF of 25,000 tags is answered": lambda: tiff(
        dict.fromkeys(range(5000, 30_000), (2, 8, b"abcdefgh"))
        | {256: long(8), 257: long(8), 258: long(8), 262: long(1), 273: long(8), 278: long(8), 279: long(64)}
    ),
}


# Photos to mutate


def picture(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def exif(orientation: int) -> bytes:
    record = Image.Exif()
    record[0x0112], record[0x010F], record[0x9286] = orientation, "maker", b"ASCII\0\0\0comment"
    return record.tobytes()


MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"),
    "PPM": ("1", "L", "RGB", "I", "F"),
    "AVIF": ("RGB", "RGBA"),
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "JPEG": [{"progressive": True}, {"quality": 30, "subsampling": 0}, {"exif": exif(6)}, {"icc_profile": bytes(3000)}],
    "PNG": [{"exif": exif(3)}, {"transparency": 0}, {"compress_level": 0}, {"dpi": (72, 72)}],
    "WEBP": [{"lossless": True}, {"exif": exif(8)}, {"save_all": True, "append_images": [picture(5), picture(6)]}],
    "GIF": [{"transparency": 3, "comment": b"c" * 300}, {"save_all": True, "append_images": [picture(5), picture(6)]}],
    "TIFF": [{"compression": kind} for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma")]
    + [{"exif": exif(5)}, {"save_all": True, "append_images": [picture(5)]}],
    "AVIF": [{"speed": 10, "exif": exif(7)}, {"speed": 10, "save_all": True, "append_images": [picture(5)]}],
}
FOR_ONE_MODE = [("TIFF", "1", {"compression": "group3"}), ("TIFF", "1", {"compression": "group4"})]
FOR_ONE_MODE += [("TIFF", "RGB", {"compression": "jpeg"}), ("TIFF", "L", {"compression": "jpeg"})]
SHAPES = [(1, 1), (30000, 1), (1, 30000), (2, 3), (199, 1), (640, 480)]


@functools.cache
def photos() -> list[tuple[str, bytes]]:
    """(format, file) of every format that Pillow writes and we read, in its modes, options and odd shapes."""
    made = []
    for kind, modes in MODES.items():
        fast = {"speed": 10} if kind == "AVIF" else {}
        for mode in modes:
            for options in [fast, *OPTIONS.get(kind, [])]:
                try:
                    made.append((kind, saved(picture(len(made)).convert(mode), kind, **options)))
                except (OSError, ValueError, KeyError, RuntimeError, TypeError):
                    continue  # not every mode goes with every option
        for shape in SHAPES:
            try:
                made.append((kind, saved(picture(1, shape), kind, **fast)))
            except (OSError, ValueError, RuntimeError):
                continue  # WebP and AVIF end before 30,000
    made += [(kind, saved(picture(2).convert(mode), kind, **options)) for kind, mode, options in FOR_ONE_MODE]
    return made


# Mutations

HEADS = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0+", b"P3\n", b"P7\n", b"%!PS", b"\0"]
HEADS += [b"RIFF\xff\0\0\0WEBPVP8L", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftypheic", b"\0\0\0\x0cjP  ", b"#!/bin/sh\n"]
NUMBERS = [0, 1, 2, 3, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1]


def mutated(number: int) -> bytes:
    """The file of a number."""
    random = np.random.default_rng([number, 2])
    kind, source = photos()[int(random.integers(len(photos())))]
    data = bytearray(source)
    for _ in range(int(random.choice([1, 1, 1, 2, 3]))):
        data = MUTATIONS[int(random.integers(len(MUTATIONS)))](data, random)
    if kind == "PNG" and random.random() < 0.7:
        return png_with_right_checksums(bytes(data))
    return bytes(data)


def _place(data: bytearray, random: np.random.Generator) -> int:
    """Anywhere, but half of the time where headers are."""
    end = len(data) if random.random() < 0.5 else min(len(data), 200)
    return int(random.integers(end)) if end else 0


def _cut(data: bytearray, random: np.random.Generator) -> bytearray:
    return data[: _place(data, random)]


def _flip_bits(data: bytearray, random: np.random.Generator) -> bytearray:
    for _ in range(int(random.integers(1, 20)) if data else 0):
        data[_place(data, random)] ^= 1 << int(random.integers(8))
    return data


def _write_number(data: bytearray, random: np.random.Generator) -> bytearray:
    form = str(random.choice(["<H", ">H", "<L", ">L", "B"]))
    value = NUMBERS[int(random.integers(len(NUMBERS)))] % 256 ** struct.calcsize(form)
    place = _place(data, random)
    data[place : place + struct.calcsize(form)] = struct.pack(form, value)
    return data


def _overwrite(data: bytearray, random: np.random.Generator) -> bytearray:
    place, length = _place(data, random), int(random.integers(1, 64))
    data[place : place + length] = random.bytes(length) if random.random() < 0.5 else bytes(length)
    return data


def _drop(data: bytearray, random: np.random.Generator) -> bytearray:
    place = _place(data, random)
    del data[place : place + int(random.integers(1, 64))]
    return data


def _repeat(data: bytearray, random: np.random.Generator) -> bytearray:
    place, length = _place(data, random), int(random.integers(1, 200))
    data[place:place] = data[place : place + length] * int(random.integers(1, 20))
    return data


def _insert(data: bytearray, random: np.random.Generator) -> bytearray:
    place = _place(data, random)
    data[place:place] = random.bytes(int(random.integers(1, 100)))
    return data


def _splice(data: bytearray, random: np.random.Generator) -> bytearray:
    other = photos()[int(random.integers(len(photos())))][1]
    return data[: _place(data, random)] + other[int(random.integers(len(other))) :]


def _random_after_header(data: bytearray, random: np.random.Generator) -> bytearray:
    return data[: int(random.integers(2, 60))] + random.bytes(int(random.integers(0, 4000)))


def _damage_exif(data: bytearray, random: np.random.Generator) -> bytearray:
    """Orientation, offsets and counts of the metadata; a JPEG without any gets some."""
    place = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    if place < 0 and data[:2] == b"\xff\xd8":
        record = (
            b"Exif\0\0"
            + random.choice([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"])
            + random.bytes(int(random.integers(60)))
        )
        data[2:2] = jpeg_segment(0xE1, record)
    elif place >= 0:
        for _ in range(int(random.integers(1, 8))):
            end = min(len(data), place + 80)
            data[int(random.integers(place, end))] = int(random.choice([0, 1, 6, 255, 18]))
    return data


def _prefix(data: bytearray, random: np.random.Generator) -> bytearray:
    return bytearray(HEADS[int(random.integers(len(HEADS)))]) + data[int(random.integers(0, 12)) :]


def _random(data: bytearray, random: np.random.Generator) -> bytearray:
    return bytearray(random.bytes(int(random.integers(0, 300))))


MUTATIONS = [_cut, _flip_bits, _flip_bits, _write_number, _write_number, _overwrite, _drop, _repeat, _insert, _splice]
MUTATIONS += [_random_after_header, _damage_exif, _damage_exif, _prefix, _random]


# Reading them

RESIZERS: list[Resizer] = ["pillow"] if find_spec("cv2") is None else ["pillow", "opencv"]


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def read(data: bytes, number: int, folder: Path) -> tuple[str, bool]:
    """(problem, whether it was answered) of a file; no problem is an answer of the right shape or a proper ImageError."""
    card, resizer = CARDS[number % len(CARDS)], RESIZERS[number // 2 % len(RESIZERS)]
    source: Path | bytes = data
    if number % 10 == 0:
        source = folder / f"{number}{('.jpg', '.png', '.txt', '')[number // 10 % 4]}"
        source.write_bytes(data)
    start, answered = time.process_time(), False
    try:
        result = fit(decode(source, card if number % 2 else None), card, resizer)
    except ImageError as error:
        message = str(error)
        proper = message and len(message.splitlines()) == 1 and len(message) < 600
        problem = "" if proper else f"message {message!r}"
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    else:
        answered = result.shape == (card.height, card.width, 3) and result.dtype == np.uint8
        problem = "" if answered else f"answer {result.shape} {result.dtype}"
    seconds = time.process_time() - start
    return problem or (f"took {seconds:.1f} s" if seconds > SECONDS else ""), answered


def main(start: int, stop: int) -> None:
    """Read the files of a range; one below 0 stands for the bombs and the untouched photos. Prints each name before it."""
    files: list[tuple[str, Callable[[], bytes]]] = [
        (str(number), functools.partial(mutated, number)) for number in range(start, stop)
    ]
    if start < 0:
        files = [*BOMBS.items(), *((f"untouched {kind}", functools.partial(bytes, data)) for kind, data in photos())]
    problems: list[str] = []
    answers, slowest = 0, (0.0, "")
    with warnings.catch_warnings(record=True) as warned, tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("always")
        for number, (name, make) in enumerate(files, start):
            data = make()
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
            before = time.process_time()
            problem, answered = read(data, number, Path(folder))
            slowest = max(slowest, (time.process_time() - before, name))
            faulthandler.cancel_dump_traceback_later()
            answers += answered
            if name in BOMBS and answered != name.endswith("answered"):
                problem += " was decoded" if answered else " was refused"
            if problem or warned:
                problems.append(f"{name}: {problem} {[str(warning.message) for warning in warned]}")
                warned.clear()
    print(json.dumps({"files": len(files), "answers": answers, "problems": problems, "slowest": slowest}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
