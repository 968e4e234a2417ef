"""The header of a vectors file: 64 bytes, then the ids, then the codes (exact) or usearch's own format (hnsw)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleDamaged, BundleVersion
from ._codes import Dtype, row_bytes
from .kinds import KINDS, Kind

DTYPES: tuple[Dtype, ...] = ("i8", "f16", "f32")
"""The file keeps the position in these, and in KINDS."""

_HEADER = struct.Struct("<8sIIQBB2xfI28x")
_MAGIC = b"SHELFVEC"
_FILE_VERSION = 1
HEADER_BYTES = _HEADER.size
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `rows`: vectors, of a graph also those that were removed; `angle`: the largest, in radians,
    between a vector and what the scan reads of it; `checksum`: CRC-32 of what follows in a graph's file, 0 where none was noted."""

    dimension: int
    rows: int
    dtype: Dtype
    kind: Kind
    angle: float
    checksum: int = 0

    def to_bytes(self) -> bytes:
        """The first 64 bytes of the file."""
        return _HEADER.pack(
            _MAGIC,
            _FILE_VERSION,
            self.dimension,
            self.rows,
            DTYPES.index(self.dtype),
            KINDS.index(self.kind),
            self.angle,
            self.checksum,
        )

    @classmethod
    def read(cls, path: Path, data: bytes | bytearray) -> Header:
        """From the first 64 bytes of the file at `path`, whose size must be what they say. Raises BundleDamaged, BundleVersion."""
        magic, version, dimension, rows, dtype, kind, angle, checksum = _HEADER.unpack(data)
        if magic != _MAGIC or dtype >= len(DTYPES) or kind >= len(KINDS) or not 1 <= dimension <= 65536:
            raise BundleDamaged(f"{path} is damaged: it is not a vectors file; copy or build the bundle again")
        if version != _FILE_VERSION:
            raise BundleVersion(f"{path} has vectors format {version}; this shelfmatch reads format {_FILE_VERSION}")
        header = cls(dimension, rows, DTYPES[dtype], KINDS[kind], float(angle), checksum)
        expected = HEADER_BYTES + rows * (4 + row_bytes(dimension, header.dtype))
        size = path.stat().st_size
        if (header.kind == "exact" and size != expected) or size < HEADER_BYTES + 4 * rows:
            raise BundleDamaged(f"{path} is damaged: {size} bytes, expected {expected}; copy or build the bundle again")
        return header

    def check(self, path: Path) -> None:
        """Raise BundleDamaged if what follows the header isn't what was saved. usearch follows the links of a graph wherever they
        point: of a damaged one the interpreter ends."""
        found = 0
        with path.open("rb") as file:
            file.seek(HEADER_BYTES)
            while piece := file.read(_PIECE):
                found = zlib.crc32(piece, found)
        if self.checksum and found != self.checksum:
            raise BundleDamaged(
                f"{path} is damaged: its checksum is {found:08x}, expected {self.checksum:08x}; copy or build the bundle again"
            )
