"""A bundle's manifest: its frozen records, the roles of its files, and its JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ..encoders.card import EncoderCard
from ..errors import BundleDamaged, BundleError, BundleVersion, EncoderError
from ..records import problem_of_choice, read_record
from ..scoring.adapter import Adaptation
from ..scoring.blank import BlankRule
from ..scoring.camera_shift import CameraShift
from ..scoring.cascade import Cascade
from ..scoring.decision import Confidences, Decision
from ..scoring.local import Local

ONE_ENCODER_VERSION = 2
"""2: an adapter and prototypes, and tables in the catalogue for filters and words. No release wrote format 1."""
BUNDLE_VERSION = 3
"""3: a second encoder. Bundles with one encoder stay format 2, which readers of that format can answer from."""
BUNDLE_FORMAT = "shelfmatch-bundle"
MAX_BRANCHES = 2
"""Encoders that format 3 has a place for. The records hold any number."""

_READABLE = f"formats {ONE_ENCODER_VERSION} and {BUNDLE_VERSION}"
_SEAL = b',\n  "sha256": "'
_SEAL_END = b'"\n}\n'
_AGAIN = "build the bundle again"
_MOST = 2**63
"""More than any count or number of a generation."""

Kind = Literal["encoder", "vectors", "adapter", "prototypes", "local", "cells", "embeddings"]
"""What a branch's files are."""
SUFFIXES = {
    "catalog": ".sqlite", "vectors": ".vec", "adapter": ".adapter", "prototypes": ".vec", "local": ".local", "cells": ".cells",
    "embeddings": ".npz",
}  # fmt: skip
"""How names of files end; an encoder's ends in its format."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle: its name inside the directory, its size and its sha256 (hexadecimal)."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What the vectors are: `kind` exact or hnsw, `dtype` i8, f16 or f32."""

    kind: Literal["exact", "hnsw"]
    dtype: Literal["i8", "f16", "f32"]
    dimension: int
    references: int


@dataclass(frozen=True, slots=True)
class BranchRecord:
    """One encoder of a bundle: its card, what the vectors that it made are, and the adapter fitted to them; `local`: what its
    local matching was fitted to, None without; `keeps_embeddings`: whether the photos' own are kept, to fit anew with; `blank`:
    what tells photos of nothing, None in bundles of earlier versions; `camera`: what photos of the shop's own camera changed, None
    where there were none."""

    encoder: EncoderCard
    index: IndexRecord
    adaptation: Adaptation
    local: Local | None = None
    keeps_embeddings: bool = False
    blank: BlankRule | None = None
    camera: CameraShift | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        return {
            "index": dataclasses.asdict(self.index),
            "adaptation": self.adaptation.to_dict(),
            "encoder": self.encoder.to_dict(),
            **({} if self.local is None else {"local": self.local.to_dict()}),
            **({"keeps_embeddings": True} if self.keeps_embeddings else {}),
            **({} if self.blank is None else {"blank": self.blank.to_dict()}),
            **({} if self.camera is None else {"camera": self.camera.to_dict()}),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str) -> BranchRecord:
        """From the manifest, or from its record of the second encoder. Raises BundleError, EncoderError, KeyError, TypeError."""
        card = EncoderCard.from_dict(record["encoder"])
        return cls(
            card,
            read_record(IndexRecord, record["index"], where, BundleError, _AGAIN),
            Adaptation.from_dict(record["adaptation"]),
            Local.from_dict(record["local"]) if "local" in record else None,
            record.get("keeps_embeddings") is True,
            BlankRule.from_dict(record["blank"], card.dimension) if "blank" in record else None,
            CameraShift.from_dict(record["camera"], card.dimension) if "camera" in record else None,
        )


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What there was when a bundle was built, which its adapter and its decision are fitted to."""

    products: int
    references: int


def role_of(kind: Kind, branch: int) -> str:
    """The role of a branch's file: "vectors" of the first one (0), "vectors2" of the second (1), and so on."""
    return kind if branch == 0 else f"{kind}{branch + 1}"


def roles_of(branches: Sequence[BranchRecord]) -> tuple[str, ...]:
    """The files that a bundle has: the catalogue; of each branch its encoder and vectors, and where its adaptation says so an
    adapter and prototypes, where it has local matching its head and the references' cells, and the photos' embeddings where they
    are kept."""
    roles: list[str] = []
    for number, branch in enumerate(branches):
        roles += [role_of("encoder", number), role_of("vectors", number)]
        roles += ["catalog"] if number == 0 else []
        roles += [role_of("adapter", number)] if branch.adaptation.method != "none" else []
        roles += [role_of("prototypes", number)] if branch.adaptation.scoring == "prototype" else []
        roles += [role_of("local", number), role_of("cells", number)] if branch.local is not None else []
        roles += [role_of("embeddings", number)] if branch.keeps_embeddings else []
    return tuple(roles)


def is_role(name: str) -> bool:
    """Whether a name is that of a role that this version writes."""
    branches = range(MAX_BRANCHES)
    return name in {"catalog", *(role_of(kind, number) for kind in get_args(Kind) for number in branches)}


def suffix_of(role: str, branches: Sequence[BranchRecord]) -> str:
    """How the name of a role's file ends."""
    for number, branch in enumerate(branches):
        if role == role_of("encoder", number):
            return f".{branch.encoder.format}"
    return SUFFIXES[role.rstrip("0123456789")]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A bundle's table of contents.

    `files`: role → file. `branches`: the encoders, the one that every photo goes through first. `decision`: match or unknown, by
    the scores of the search (of both encoders, where there are two).
    `resizer`: what the photos went through. `cascade`: when the other branches run; None where there is one. `fit`: what it was
    fitted to; None in bundles of versions that didn't say.
    """

    generation: int
    created_by: str
    files: Mapping[str, FileEntry]
    branches: tuple[BranchRecord, ...]
    products: int
    decision: Decision
    resizer: Literal["pillow", "opencv"] = "pillow"
    cascade: Cascade | None = None
    fit: FitRecord | None = None

    @property
    def encoder(self) -> EncoderCard:
        """The card of the first branch, which every photo goes through."""
        return self.branches[0].encoder

    @property
    def index(self) -> IndexRecord:
        """What the first branch's vectors are."""
        return self.branches[0].index

    @property
    def adaptation(self) -> Adaptation:
        """What was chosen for the first branch."""
        return self.branches[0].adaptation

    @property
    def keeps_embeddings(self) -> bool:
        """Whether it can be fitted anew without the photos: see `build.change.refit_bundle`."""
        return all(branch.keeps_embeddings for branch in self.branches)

    @property
    def final_decision(self) -> Decision:
        """The one that answers rest on: of local matching where there is it, else `decision`."""
        return self.decision if self.branches[0].local is None else self.branches[0].local.decision

    def to_dict(self) -> dict[str, Any]:
        """As JSON; a second branch stands under "second", with the cascade. Raises BundleError for more than MAX_BRANCHES."""
        if not 1 <= len(self.branches) <= MAX_BRANCHES or (self.cascade is None) != (len(self.branches) == 1):
            raise BundleError(
                f"a manifest of {len(self.branches)} encoders {'without' if self.cascade is None else 'with'} a cascade arrived; "
                f"format {BUNDLE_VERSION} holds one without, or {MAX_BRANCHES} with one"
            )
        first = self.branches[0].to_dict()
        record: dict[str, Any] = {
            "format": BUNDLE_FORMAT,
            "format_version": ONE_ENCODER_VERSION if self.cascade is None else BUNDLE_VERSION,
            "generation": self.generation,
            "created_by": self.created_by,
            "products": self.products,
            "resizer": self.resizer,
            "files": {role: dataclasses.asdict(entry) for role, entry in self.files.items()},
            "index": first["index"],
            "decision": self.decision.to_dict(),
            "adaptation": first["adaptation"],
            "encoder": first["encoder"],
        }
        record |= {key: first[key] for key in ("local", "keeps_embeddings", "blank", "camera") if key in first}
        if self.fit is not None:  # these two are new, and readers of the same format pass over them
            record["fit"] = dataclasses.asdict(self.fit)
        if self.decision.confidences is not None:
            record["confidences"] = self.decision.confidences.to_dict()
        if self.cascade is not None:
            record["second"] = {"cascade": self.cascade.to_dict(), **self.branches[1].to_dict()}
        return record

    def to_bytes(self) -> bytes:
        """Readable JSON that ends in the sha256 of everything before that hash."""
        body = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)[:-2].encode()
        return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + _SEAL_END

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Check the seal, the version and every field. Raises BundleDamaged, BundleVersion or BundleError.

        The version is looked at before the seal: a later format may be sealed another way.
        """
        record = _unsealed(data, where)
        try:
            problem = problem_of_choice("resizer", record["resizer"], ("pillow", "opencv"))
            if problem:
                raise BundleError(f"{where}: {problem}; {_AGAIN}")
            for field in ("generation", "products"):
                if type(record[field]) is not int or not 0 <= record[field] < _MOST:
                    raise BundleError(f"{where}: {field} is {record[field]!r:.60}; {_AGAIN}")
            branches = [BranchRecord.from_dict(record, where)]
            cascade = None
            if record["format_version"] == BUNDLE_VERSION:
                branches.append(BranchRecord.from_dict(record["second"], where))
                cascade = Cascade.from_dict(record["second"]["cascade"])
            elif "second" in record:
                raise KeyError("a format that has a second encoder")
            return cls(
                generation=record["generation"],
                created_by=record["created_by"],
                files={
                    role: read_record(FileEntry, entry, where, BundleError, _AGAIN)
                    for role, entry in record["files"].items()
                },
                branches=tuple(branches),
                products=record["products"],
                decision=_decision_of(record),
                resizer=record["resizer"],
                cascade=cascade,
                fit=read_record(FitRecord, record["fit"], where, BundleError, _AGAIN) if "fit" in record else None,
            )
        except (KeyError, AttributeError, TypeError, EncoderError) as error:
            raise BundleError(f"{where} lacks or misstates {error}; {_AGAIN}") from error


def _decision_of(record: Mapping[str, Any]) -> Decision:
    decision = Decision.from_dict(record["decision"])
    if "confidences" not in record:
        return decision
    return dataclasses.replace(decision, confidences=Confidences.from_dict(record["confidences"]))


def _unsealed(data: bytes, where: str) -> dict[str, Any]:
    """The manifest's JSON, if it is one of a version that is read here and its bytes are those that its hash was made of."""
    body, seal, rest = data.rpartition(_SEAL)
    sealed = bool(seal) and rest == hashlib.sha256(body).hexdigest().encode() + _SEAL_END
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleDamaged(f"{where} is damaged: it is not JSON; build the bundle again or copy it again") from error
    if not isinstance(record, dict) or (sealed and record.get("format") != BUNDLE_FORMAT):
        raise BundleError(f"{where} is not the manifest of a shelfmatch bundle")
    version = record.get("format_version")
    if isinstance(version, int) and version > BUNDLE_VERSION:
        raise BundleVersion(
            f"{where} has bundle format {version}; this shelfmatch reads up to {BUNDLE_VERSION}, install a newer one"
        )
    if sealed and version not in (ONE_ENCODER_VERSION, BUNDLE_VERSION):
        raise BundleVersion(
            f"{where} has bundle format {version}; this shelfmatch reads {_READABLE}, build the bundle again"
        )
    if not sealed:
        raise BundleDamaged(f"{where} is damaged: its bytes differ from its own sha256; copy or build the bundle again")
    return record
