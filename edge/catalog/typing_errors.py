"""Words that somebody may have meant: those of the catalogue that differ by a letter or two from what was typed."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 8
"""So many words of the catalogue may stand for one that was typed."""


def allowed_errors(word: str) -> int:
    """In a word of so many letters: none below 4, one below 8, two from there. Numbers are right or they are others."""
    if word.isdecimal():
        return 0
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2


def meant(word: str, words: Iterable[str]) -> list[str]:
    """The words whose beginning differs least from `word`, by at most `allowed_errors`; nothing where none does."""
    most = allowed_errors(word)
    if not most:
        return []
    letters = set(word)
    best, found = most, list[str]()
    for other in words:
        # The two cheap tests leave out nearly all of a large catalogue.
        if len(other) < len(word) - best or len(letters.difference(other)) > best:
            continue
        distance = prefix_distance(word, other, best)
        if distance < best:
            best, found = distance, []
        if distance == best:
            found.append(other)
    found.sort(key=lambda other: (abs(len(other) - len(word)), other))
    return found[:MOST]


def prefix_distance(typed: str, word: str, most: int) -> int:
    """Letters to change, leave out, put in or exchange with their neighbour until `typed` is how `word` begins (optimal string
    alignment, the restricted form of F. J. Damerau 1964); `most` + 1 for anything above `most`."""
    word = word[: len(typed) + most]
    before: list[int] = []
    row = list(range(len(word) + 1))
    for place, letter in enumerate(typed, start=1):
        above, row = row, [place]
        for column, other in enumerate(word, start=1):
            cost = min(above[column] + 1, row[column - 1] + 1, above[column - 1] + (letter != other))
            if place > 1 and column > 1 and letter == word[column - 2] and typed[place - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            row.append(cost)
        if min(row) > most and min(above) > most:
            return most + 1
        before = above
    return min(min(row), most + 1)
