"""Collect what the printer prints with: typefaces, word lists, pictograms, small pictures; nothing of it is part of the project.

    apt-get download NAMES...; python models/printer/gather.py PACKAGES STOCK

PACKAGES: a folder of Debian packages (`fonts-*`, word lists `w*`) and of npm's typefaces (`npm pack @fontsource/NAME`; of scripts
with thousands of letters they hold pieces, which are left out). Where npm's have a script, Debian's aren't used for it: those
trained our encoders, and npm's are to measure with. STOCK gets `fonts/` (cut down to the characters that are printed),
`words.json`, `emoji.npz`, and `sources.json`: every file's package, family and the licences its copyright file names.
"""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from shelfmatch.models.printer import words

STYLES_A_FAMILY: Final = 3
LATIN: Final = {*range(0x20, 0x7F), *range(0xA1, 0x180), 0x2013, 0x2019, 0x2022, 0x20AC}
RANGES: Final = {
    "ru": range(0x410, 0x450), "el": range(0x391, 0x3CA), "th": range(0xE01, 0xE4F), "hi": range(0x905, 0x970),
    "ar": range(0xFE80, 0xFEFD), "ja": (*range(0x3041, 0x3097), *range(0x30A1, 0x30FD)),
}  # fmt: skip
NEEDED: Final = {
    "latin": "AaZz0e", "ru": "Мж", "el": "Γλ", "th": "นม", "hi": "दह", "ar": "ﻣﺐ", "ja": "おヨ牛", "ko": "우유맛", "zh": "牛茶低",
}  # fmt: skip
"""A face that has these characters is taken to have the script."""
ICON_FONTS: Final = ("awesome", "entypo", "elusive", "materialdesignicons", "opensymbol", "wine")
ICONS_A_FONT: Final = 420
EMOJI: Final = (
    (0x1F32D, 0x1F380), (0x1F400, 0x1F440), (0x1F950, 0x1F970), (0x1F980, 0x1F9AF), (0x1F9C0, 0x1F9CC), (0x1F330, 0x1F344),
    (0x1F380, 0x1F394), (0x1F3C0, 0x1F3F0), (0x1F451, 0x1F463), (0x1F525, 0x1F52A), (0x1F600, 0x1F640), (0x1FAD0, 0x1FADB),
)  # fmt: skip
EMOJI_SIDE: Final = 72
SUBSETS: Final = ("latin", "cyrillic", "greek", "thai", "devanagari", "arabic")
"""The alphabets of npm's typefaces that are printed; each is a file of its own."""


def characters(script: str) -> set[int]:
    """Code points printed in a script: its alphabet, or those of its words and some of the commonest besides."""
    found = {ord(char) for word in words.OTHER.get(script, []) for char in word} | set(RANGES.get(script, ()))
    if script in ("zh", "ja"):
        # The first level of GB 2312 and of JIS X 0208: common characters, in order of their reading.
        codec, rows = ("gb2312", range(0xB0, 0xD7)) if script == "zh" else ("euc_jp", range(0xB0, 0xCF))
        every = [bytes((row, cell)).decode(codec, "ignore") for row in rows for cell in range(0xA1, 0xFF, 9)]
        found |= {ord(char) for char in every if char}
    if script == "ko":
        found |= {
            ord(bytes((row, cell)).decode("euc_kr")) for row in range(0xB0, 0xC9) for cell in range(0xA1, 0xFF, 8)
        }
    return found


def scripts_of(cmap: dict[int, str]) -> list[str]:
    """The scripts that a face has letters of."""
    return [script for script, sample in NEEDED.items() if all(ord(char) in cmap for char in sample)]


def cut_down(font: Any, points: set[int]) -> bytes:
    """The face with those characters alone, without hints and features."""
    from fontTools import subset

    options = subset.Options(
        hinting=False, layout_features=[], name_IDs=[1, 2], notdef_outline=False, desubroutinize=True
    )
    options.drop_tables += [
        "GPOS",
        "GSUB",
        "GDEF",
        "kern",
        "SVG ",
        "COLR",
        "CPAL",
        "FFTM",
        "DSIG",
        "BASE",
        "PfEd",
        "VORG",
        "vhea",
        "vmtx",
    ]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=points)
    cutter.subset(font)
    font.flavor = None
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


def licences(folder: Path) -> list[str]:
    """The licences that a package's copyright file names."""
    text = "\n".join(path.read_text("utf-8", "replace") for path in folder.glob("usr/share/doc/*/copyright"))
    named = re.findall(r"^Licen[cs]e:\s*(\S.*?)\s*$", text, re.MULTILINE)
    if not named:
        known = (
            "SIL Open Font License",
            "GNU General Public License",
            "Apache",
            "public domain",
            "LPPL",
            "MIT",
            "GUST",
        )
        named = [name for name in known if name.lower() in text.lower()]
    return sorted(set(named))[:6]


class Gathering:
    """What has been collected so far, and where it goes."""

    def __init__(self, stock: Path) -> None:
        self.stock, self.sources, self.styles = stock, [], {}  # type: ignore[var-annotated]
        self.lists: dict[str, list[str]] = {}
        (stock / "fonts").mkdir(parents=True, exist_ok=True)

    def package(self, deb: Path) -> None:
        """Everything of use in one Debian package."""
        with tempfile.TemporaryDirectory() as work:
            subprocess.run(["dpkg", "-x", str(deb), work], check=True)
            root, name = Path(work), deb.name.split("_")[0]
            licence = licences(root)
            for path in sorted(root.rglob("*")):
                if path.is_symlink() or not path.is_file():
                    continue
                if path.suffix.lower() in (".ttf", ".otf", ".ttc"):
                    try:
                        self.face(path, name, licence)
                    except Exception as error:
                        print(f"{path.name} left out: {type(error).__name__} {str(error)[:60]}", flush=True)
                elif "usr/share/dict" in str(path):
                    self.words(path, name, licence)

    def npm(self, archive: Path) -> None:
        """The regular and the bold style of a @fontsource package, a face for each of its alphabets."""
        with tempfile.TemporaryDirectory() as work:
            with tarfile.open(archive) as packed:
                # Python 3.11.2, which Debian 12 has, knows no `filter`: files in the package's own folder, and nothing else.
                own = [
                    one for one in packed if one.isfile() and one.name.startswith("package/") and ".." not in one.name
                ]
                packed.extractall(work, own)
            about: dict[str, Any] = json.loads((Path(work) / "package" / "package.json").read_text())
            for subset in SUBSETS:
                for weight in (400, 700):
                    for path in sorted(Path(work).glob(f"package/files/*-{subset}-{weight}-normal.woff")):
                        if path.name.removesuffix(f"-{subset}-{weight}-normal.woff") == about["name"].split("/")[1]:
                            self.face(
                                path, about["name"], [about.get("license", "")], family=f"{about['name']} {subset}"
                            )

    def words(self, path: Path, package: str, licence: list[str]) -> None:
        """Four thousand words of a list, of 3 to 11 letters."""
        every = [word for word in path.read_text("utf-8", "replace").split() if word.isalpha() and 3 <= len(word) <= 11]
        self.lists[path.name] = random.Random(path.name).sample(every, min(4000, len(every)))
        self.sources.append({"package": package, "words": path.name, "licences": licence})

    def face(self, path: Path, package: str, licence: list[str], family: str = "") -> None:
        """A typeface, if there are not enough styles of its family (default: what the file calls it) by now."""
        from fontTools.ttLib import TTFont

        if "color-emoji" in package:
            self.emoji(path, package, licence)
            return
        with TTFont(path, fontNumber=0, lazy=True) as font:
            self._kept(font, path, package, licence, family)

    def _kept(self, font: Any, path: Path, package: str, licence: list[str], family: str) -> None:
        cmap = font.getBestCmap() or {}
        names = font["name"]
        family = family or str(names.getDebugName(16) or names.getDebugName(1) or path.stem)
        icons = any(part in package for part in ICON_FONTS)
        scripts = ["icons"] if icons else scripts_of(cmap)
        self.styles[family] = self.styles.get(family, 0) + 1
        wide = {"zh", "ja", "ko"} & set(scripts)
        if not scripts or self.styles[family] > (1 if icons or wide else STYLES_A_FAMILY):
            return
        points = set(LATIN) if not icons else set()
        for script in scripts:
            points |= characters(script)
        if icons:
            private = [point for point in cmap if point > 0x2000]
            points = set(random.Random(family).sample(private, min(ICONS_A_FONT, len(private))))
        points &= set(cmap)
        file = f"{re.sub('[^A-Za-z0-9]+', '-', f'{family}-{path.stem}')[:60]}.ttf"
        (self.stock / "fonts" / file).write_bytes(cut_down(font, points))
        entry = {"package": package, "family": family, "file": file, "scripts": scripts, "licences": licence}
        if icons:
            entry["points"] = sorted(points)
        self.sources.append(entry)

    def emoji(self, path: Path, package: str, licence: list[str]) -> None:
        """Food, animals and things of a colour face, as pictures with transparency."""
        from fontTools.ttLib import TTFont

        font = TTFont(path)
        cmap, strike = font.getBestCmap(), font["CBDT"].strikeData[0]
        pictures = []
        for first, last in EMOJI:
            for point in range(first, last):
                glyph = strike.get(cmap.get(point, ""))
                if glyph is not None and getattr(glyph, "imageData", None):
                    image = Image.open(io.BytesIO(glyph.imageData)).convert("RGBA")
                    pictures.append(np.asarray(image.resize((EMOJI_SIDE, EMOJI_SIDE), Image.Resampling.BILINEAR)))
        np.savez_compressed(self.stock / "emoji.npz", pictures=np.stack(pictures))
        self.sources.append({"package": package, "emoji": len(pictures), "licences": licence})

    def finish(self) -> None:
        """Write the word lists and what came from where. Arabic letters are put into the forms that they take in
        words, right to left."""
        import arabic_reshaper

        of_npm = {script for entry in self.sources if entry["package"].startswith("@") for script in entry["scripts"]}
        for entry in self.sources:
            if "file" in entry and not entry["package"].startswith("@"):
                entry["scripts"] = [script for script in entry["scripts"] if script not in of_npm]
        self.sources = [entry for entry in self.sources if entry.get("scripts", True)]
        self.lists["ar"] = [arabic_reshaper.reshape(word)[::-1] for word in words.ARABIC]
        (self.stock / "words.json").write_text(json.dumps(self.lists, ensure_ascii=False))
        (self.stock / "sources.json").write_text(json.dumps(self.sources, indent=1, ensure_ascii=False))


def main() -> None:
    """The command line; see the first lines."""
    packages, stock = Path(sys.argv[1]), Path(sys.argv[2])
    gathering = Gathering(stock)
    for archive in sorted(packages.glob("*.tgz")):
        gathering.npm(archive)
    for deb in sorted(packages.glob("*.deb")):
        gathering.package(deb)
    gathering.finish()
    faces = [entry for entry in gathering.sources if "file" in entry]
    print(
        f"{len(faces)} faces of {len({entry['family'] for entry in faces})} families, {len(gathering.lists)} word lists"
    )


if __name__ == "__main__":
    main()
