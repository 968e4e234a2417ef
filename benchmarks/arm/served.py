"""Memory of `shelfmatch serve`: at rest, and after photos from several clients at once; runs inside the emulated machine.

    python3 served.py SHOP.bundle REQUESTS CLIENTS PHOTO…

Starts the service as one would, waits until /readyz says yes, and sends each client's share of REQUESTS photos over a connection
that it keeps; between them the page, a search and a list are asked for. Prints one JSON object. No numpy and no shelfmatch
here: the memory of this program is not the service's.
"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resident import machine_mb, resident_mb

HOST, PORT = "127.0.0.1", 8080
LOG = Path("/tmp/serve.log")
READY_WITHIN_S, REST_S = 600, 5
OTHERS = ("/", "/v1/search?q=Product%2012", "/v1/products")
EVERY = 10
"""Photos of a client between two of `OTHERS`."""


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """One request and its answer."""
    connection.request(method, path, body, {"content-type": "image/jpeg"} if body else {})
    response = connection.getresponse()
    return response.status, response.read()


def wait_until_ready(service: subprocess.Popen[bytes]) -> float:
    """Seconds until /readyz says yes. Raises SystemExit with the service's last words where it never does."""
    begin = time.monotonic()
    while time.monotonic() - begin < READY_WITHIN_S and service.poll() is None:
        connection = http.client.HTTPConnection(HOST, PORT, timeout=30)
        try:
            if ask(connection, "GET", "/readyz")[0] == 200:
                return time.monotonic() - begin
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise SystemExit(f"the service isn't ready, exit code {service.poll()}: {LOG.read_text()[-1500:]}")


def client(photos: Sequence[tuple[str, bytes]], answers: list[dict[str, Any]]) -> None:
    """Photos one after the other over one connection."""
    connection = http.client.HTTPConnection(HOST, PORT, timeout=300)
    for number, (name, photo) in enumerate(photos):
        begin = time.monotonic()
        status, body = ask(connection, "POST", "/v1/match", photo)
        found = json.loads(body)
        candidates = found.get("candidates") or [{}]
        answers.append(
            {
                "photo": name,
                "status": status,
                "sku": candidates[0].get("sku"),
                "decision": found.get("decision"),
                "seconds": time.monotonic() - begin,
            }
        )
        print(answers[-1], flush=True)
        if number % EVERY == EVERY - 1:
            answers += [{"path": path, "status": ask(connection, "GET", path)[0]} for path in OTHERS]
    connection.close()


def main() -> int:
    bundle, requests, clients, *names = sys.argv[1:]
    photos = [(Path(name).name, Path(name).read_bytes()) for name in names]
    before = machine_mb()
    answers: list[dict[str, Any]] = []
    with LOG.open("wb") as log:
        command = [sys.executable, "-s", "-B", "-m", "shelfmatch.edge.cli", "serve", bundle, "--port", str(PORT)]
        service = subprocess.Popen(command, stdout=log, stderr=log)
    ready_s = wait_until_ready(service)
    time.sleep(REST_S)
    idle = resident_mb(service.pid)
    print(f"ready after {ready_s:.1f} s: {idle}", flush=True)
    each = [photos[number % len(photos)] for number in range(int(requests))]
    shares = [each[first :: int(clients)] for first in range(int(clients))]
    threads = [threading.Thread(target=client, args=(share, answers)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(REST_S)
    loaded = resident_mb(service.pid)
    tasks = len(list(Path(f"/proc/{service.pid}/task").iterdir()))
    service.send_signal(signal.SIGTERM)
    ended = service.wait(60)
    found = {"ready_s": ready_s, "idle": idle, "loaded": loaded, "threads": tasks, "ended": ended, "answers": answers}
    print(json.dumps({**before, **found, "log": LOG.read_text()[-600:]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
