"""Whether the hub that weights come from can be reached: asked first, since its own client tries for a minute, silently."""

from __future__ import annotations

import os
import socket
import sys
import threading
import urllib.parse
import urllib.request

TIMEOUT_S = 5.0
_TRUE = {"1", "ON", "YES", "TRUE"}


def fetching_from_hub(what: str) -> str:
    """Say on a terminal that `what` is being fetched; or, where the hub can't be reached, have its client look only at what lies on
    this machine, and give the reason for an error message (empty where it can be)."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        return "HF_HUB_OFFLINE is set"
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    problem = problem_of_reaching(endpoint)
    if not problem:
        if sys.stderr.isatty():
            print(f"fetching {what} from {endpoint}, unless it was before", file=sys.stderr, flush=True)
        return ""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True  # what is cached is still found
    return f"{endpoint} can't be reached: {problem}; HF_HUB_OFFLINE=1 skips asking, HF_ENDPOINT names a mirror"


def problem_of_reaching(url: str, timeout_s: float = TIMEOUT_S) -> str:
    """Why nothing answers there, or at the proxy that is set for it; empty where something does."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    found = [f"no answer within {timeout_s:.0f} s"]

    def connect() -> None:
        try:
            socket.create_connection(address, timeout_s).close()
            found[0] = ""
        except OSError as error:
            found[0] = error.strerror or str(error)

    # A resolver without a network takes as long as it likes.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return found[0]
