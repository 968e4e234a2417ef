"""The bytes of a spreadsheet's export as text: UTF-8, -16, -32, and what Excel writes in Western Europe, in China and on a Mac."""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {"utf-16": "UTF-16", "cp1252": "Windows-1252", "mac_roman": "Mac Roman", "gb18030": "GB 18030"}
_OTHER_FILES = (
    (b"PK\x03\x04", "a spreadsheet or an archive, not a CSV; open it and save it as 'CSV UTF-8'"),
    (b"\xd0\xcf\x11\xe0", "an Excel file, not a CSV; open it and save it as 'CSV UTF-8'"),
    (b"%PDF", "a PDF, not a CSV"),
    (b"\xff\xd8\xff", "a photo, not a CSV; name the folder of folders that it lies in"),
    (b"\x89PNG", "a photo, not a CSV; name the folder of folders that it lies in"),
    (b"RIFF", "a photo, not a CSV; name the folder of folders that it lies in"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_GB2312 = re.compile(rb"(?:[\xa1-\xf7][\xa1-\xfe])+")
_IN_A_WORD = re.compile(
    rb"[A-Za-z][\xd8-\xf7][\xe0-\xfe]|[\xd8-\xf7][\xe0-\xfe][a-z]|[A-Za-z][\xc0-\xff]\xdf|[\xc0-\xff]\xdf[a-z]"
)
"""Two letters with accents side by side in a word of Western Europe (Größe, créée). As Chinese it would be one rare character stuck
to a Latin letter."""
_MAC_LETTER = re.compile(rb"[A-Za-z][\x80\x85\x86\x87\x88\x8a\x8d\x8e\x8f\x90\x9a\x9f][a-z]")
"""What are ÄÖÜáàäçéèêöü in Mac Roman, and signs that hardly stand between letters in Windows-1252."""


def decoded(data: bytes) -> tuple[str, str]:
    """A file's text, and the name of its encoding where it was guessed, "" for UTF-8 or where a mark says it. Raises ValueError in
    words where it is something else."""
    for start, what in _OTHER_FILES:
        if data.startswith(start):
            raise ValueError(f"it is {what}")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding).lstrip("\ufeff"), ""  # two programs may have put one each
    head = data[:1000]
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) < len(head) // 8:
            return _text(data)
        return data.decode("utf-16-le" if odd > even else "utf-16-be"), _NAMES["utf-16"]
    return _text(data)


def _text(data: bytes) -> tuple[str, str]:
    controls = len(re.findall(rb"[\x00-\x08\x0e-\x1f]", data[:1000]))
    if controls > 20:
        raise ValueError("it is no text; expected a CSV, as spreadsheets save it")
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        encoding = _legacy(data)
        return data.decode(encoding), _NAMES[encoding]


def _legacy(data: bytes) -> str:
    """The 8-bit encoding of a text that isn't UTF-8. Letters of Western Europe stand alone among ASCII, Chinese comes in pairs, and
    other alphabets in long runs, which can't be told from one another."""
    runs = _HIGH.findall(data)
    pairs = sum(len(run) == 2 for run in runs)
    if all(_GB2312.fullmatch(run) for run in runs) and not (pairs == len(runs) == len(_IN_A_WORD.findall(data))):
        return "gb18030"
    if not re.search(rb"[\xc0-\xff]", data) and _MAC_LETTER.search(data):
        return "mac_roman"
    if any(len(run) > 3 for run in runs):
        raise ValueError("its letters are in an encoding that can't be told; save it as 'CSV UTF-8'")
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        raise ValueError("it is neither UTF-8 nor Windows-1252; save it as 'CSV UTF-8'") from None
    return "cp1252"
