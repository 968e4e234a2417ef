"""What can go wrong, as one tree.

ShelfmatchError
├── ImageError            a photo can't be read, or is not what the function takes
├── EncoderError          an encoder file or its card is wrong, or the two don't belong together
│   └── CardRequired      inspection alone can't tell how to feed the file; the message shows the card to write
├── DetectorError         a detector file or its card is wrong, or the two don't belong together
├── RuntimeUnavailable    the runtime for this kind of file is not installed, or dies when loaded
├── VectorError           embeddings of a wrong shape, dtype or value; an index asked for something it can't do
├── OutOfMemory           memory ran out; a MemoryError, too
├── BenchError            a measurement can't be made, or a file isn't one's result
├── DeviceError           device.toml, this machine's settings, can't be used
├── KioskError            a kiosk's settings, staff codes or folder can't be used
├── CatalogError          a catalogue source (folder, CSV) or a product that isn't there
└── BundleError           not a bundle, or one that can't be used
    ├── BundleDamaged     bytes differ from those that were built
    ├── BundleVersion     written by another format version
    └── BundleLocked      another process is writing to it

Every message is one line that says what arrived, what was expected and what to do. The command line prints it and exits with 2.
"""

from __future__ import annotations


class ShelfmatchError(Exception):
    """The root: catching it catches everything this package raises on purpose."""


class ImageError(ShelfmatchError):
    """A photo can't be read, is too large, or is not of a kind that is read."""


class EncoderError(ShelfmatchError):
    """An encoder file or its card is wrong, or the two don't belong together."""


class CardRequired(EncoderError):
    """The file alone doesn't say how pixels become its input; a card must."""


class DetectorError(ShelfmatchError):
    """A detector file or its card is wrong, or the two don't belong together."""


class RuntimeUnavailable(ShelfmatchError):
    """The runtime that this file needs is not installed, or can't be loaded on this machine."""


class VectorError(ShelfmatchError):
    """Embeddings of a wrong shape, dtype or value."""


class CatalogError(ShelfmatchError):
    """A catalogue source can't be used, or a product isn't in the catalogue."""


class OutOfMemory(ShelfmatchError, MemoryError):
    """Memory ran out: the photo, the bundle or the encoder may be as good as ever."""


class BenchError(ShelfmatchError):
    """A measurement can't be made as asked, or a file is not the result of one."""


class DeviceError(ShelfmatchError):
    """device.toml, the settings of this machine, can't be read or asks for what isn't here."""


class KioskError(ShelfmatchError):
    """A kiosk's settings, its staff codes or its folder can't be used."""


class BundleError(ShelfmatchError):
    """The path is no bundle, or the bundle can't be used."""


class BundleDamaged(BundleError):
    """A file of the bundle is missing or differs from what was built."""


class BundleVersion(BundleError):
    """The bundle was written in another format version."""


class BundleLocked(BundleError):
    """Another process is changing this bundle."""
