"""Staff codes: made here, kept as hashes, compared in constant time, and refused for a while after too many wrong ones."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..errors import KioskError
from ..machine.systemd import credential

_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""None that two people read differently."""
_GROUPS, _GROUP = 4, 4
"""16 of 31 letters: 79 bits."""
_N, _R, _P = 2**13, 8, 1
"""scrypt: 8 MB and 25 ms a try, once for each code that is seen (C. Percival & S. Josefsson 2016, RFC 7914)."""
_LEAST_DAYS, _MOST_DAYS = 0.01, 3650.0
"""Of a code that expires: a quarter of an hour to ten years. Dates end with the year 9999."""
_PAUSE_S, _WINDOW_S = 300.0, 300.0
_MOST_ADDRESSES: Final = 1024
CREDENTIAL: Final = "staff-codes"
"""Name of the systemd credential that is read where `staff.tokens` names no file: LoadCredential=staff-codes:…"""


@dataclass(frozen=True, slots=True)
class Code:
    """One line of the file: whose code it is, until when (seconds since 1970, None: for good), salt and hash."""

    name: str
    expires: float | None
    salt: bytes
    hashed: bytes


def new_code(name: str, days: float | None = None) -> tuple[str, str]:
    """A new code, and the line to keep of it: name|expires|salt|hash. The code itself is kept nowhere. Raises KioskError."""
    if not name or not name.isprintable() or "|" in name or len(name) > 80:
        raise KioskError(
            f"the name {name[:80]!r} arrived; expected one to tell codes apart, without a bar, like 'anna'"
        )
    if days is not None and not _LEAST_DAYS <= days <= _MOST_DAYS:  # nan, too
        raise KioskError(
            f"a code for {days:g} days was asked for; expected {_LEAST_DAYS:g} to {_MOST_DAYS:g}, like 30, or no number of days "
            "for a code that never expires"
        )
    code = "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(_GROUPS))
    salt = os.urandom(16)
    expires = (
        "" if days is None else datetime.fromtimestamp(time.time() + days * 86_400, UTC).isoformat(timespec="seconds")
    )
    return code, f"{name}|{expires}|{salt.hex()}|{_hash(code, salt).hex()}"


def _hash(code: str, salt: bytes) -> bytes:
    plain = code.strip().lower().replace(" ", "").encode(errors="replace")
    return hashlib.scrypt(plain, salt=salt, n=_N, r=_R, p=_P, maxmem=64 * 1024 * 1024, dklen=32)


def read_codes(path: Path) -> list[Code]:
    """The codes of a file. Raises KioskError for a line that isn't one: a code in clear text would be kept in it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KioskError(f"{path} can't be read: {error}; expected a file made by shelfmatch kiosk code") from error
    codes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, expires, salt, hashed = line.strip().split("|")
            until = datetime.fromisoformat(expires).timestamp() if expires else None
            codes.append(Code(name, until, bytes.fromhex(salt), bytes.fromhex(hashed)))
        except ValueError:
            raise KioskError(f"{path} line {number} is no hashed code; add one with shelfmatch kiosk code") from None
    if not codes:
        raise KioskError(f"{path} has no code; add one with shelfmatch kiosk code")
    return codes


def codes_file(configured: str) -> Path | None:
    """Where the codes are: the file of the settings, else the systemd credential, None where there is no staff mode."""
    return Path(configured) if configured else credential(CREDENTIAL)


class Gate:
    """Tells staff from others. `check` takes 25 ms for a code that it hasn't seen yet: not in the event loop."""

    def __init__(
        self,
        codes: list[Code],
        attempts: int,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._codes = codes
        self._attempts = attempts
        self._clock = clock
        self._ticks = ticks  # of pauses: a clock that is set back would make them last for as long
        self._key = os.urandom(32)
        self._seen: dict[bytes, Code] = {}
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    def pause_s(self, address: str) -> int:
        """For how many seconds an address is refused, whatever it brings; 0: it isn't. Addresses stay in memory, for a while."""
        times = [one for one in self._wrong.get(address, []) if one > self._ticks() - _WINDOW_S]
        return 0 if len(times) < self._attempts else max(1, round(times[0] + _PAUSE_S - self._ticks()))

    def note(self, address: str) -> None:
        """Count a try as a wrong one, before `check`, which takes it back: tries at the same time are all counted."""
        since = self._ticks() - _WINDOW_S
        self._wrong[address] = [*(t for t in self._wrong.get(address, []) if t > since), self._ticks()][-1000:]
        self._wrong.move_to_end(address)
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def is_known(self, code: str) -> bool:
        """Whether a code was found right before and still is: no hashing."""
        seen = self._seen.get(self._digest(code))
        return seen is not None and not self._is_expired(seen)

    def check(self, code: str, address: str) -> bool:
        """Whether this is a staff code that hasn't expired. All codes are hashed, whichever fits."""
        digest = self._digest(code)
        fitting = None
        for one in self._codes:
            if hmac.compare_digest(_hash(code, one.salt), one.hashed):
                fitting = one
        if fitting is not None and not self._is_expired(fitting):
            self._seen[digest] = fitting
            self._wrong.pop(address, None)
            return True
        return False

    def _digest(self, code: str) -> bytes:
        return hmac.digest(self._key, code.strip().lower().encode(errors="replace"), "sha256")

    def _is_expired(self, code: Code) -> bool:
        return code.expires is not None and self._clock() >= code.expires


def add_code(path: Path, name: str, days: float | None) -> str:
    """Add a code to a file, which only its owner can read; the code. Raises KioskError."""
    from ..files import write_atomic

    code, line = new_code(name, days)
    before = b""
    with contextlib.suppress(FileNotFoundError):
        before = path.read_bytes()
    if before:
        read_codes(path)
    elif not path.absolute().parent.is_dir():
        raise KioskError(
            f"the folder {path.parent} does not exist; make it first (on a device: sudo mkdir), or name another file"
        )
    old = os.umask(0o077)
    try:
        write_atomic(path, before + line.encode() + b"\n")
    except OSError as error:
        raise KioskError(f"{path} can't be written: {error.strerror}") from error
    finally:
        os.umask(old)
    return code
