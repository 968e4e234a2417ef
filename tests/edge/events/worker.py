"""A process that logs events until it is killed, and says each one that is durable: `python worker.py FOLDER FIRST`."""

from __future__ import annotations

import sys

from shelfmatch.edge.events.event import Event
from shelfmatch.edge.events.log import EventLog


def event(number: int) -> Event:
    """An event that is told from all others by its id."""
    return Event(f"e{number}", "new", "slot", f"s{number % 40}", {"state": "full"}, {"state": "empty"}, 1e9 + number)


def main(folder: str, first: int) -> None:
    """Log events from number `first` on; a consumer in the same process takes every second one."""
    with EventLog.open(folder) as log:
        consumer = log.consumer("worker")
        number = first
        while True:
            log.append(event(number))
            sys.stdout.write(f"logged {number}\n")
            for entry in consumer.pending(1 + number % 2):
                sys.stdout.write(f"got {entry.message_id} {entry.event.id}\n")
                sys.stdout.flush()
                consumer.done(entry)
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
