"""What a service tells systemd."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)); nothing where nobody listens."""
    name = os.environ.get("NOTIFY_SOCKET")
    if not name:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
        one.connect(f"\0{name[1:]}" if name.startswith("@") else name)
        one.sendall(message.encode())
