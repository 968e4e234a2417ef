"""Photographs of printed packages, made in batches by torch on any device: pose, perspective, crop, and the layers of a scene.

Lengths are in shares of the printing canvas, x to the right, y down, z towards the camera. A frame is the square that an encoder
sees: coordinates -1 to 1, the crop's longer side fills it, the rest is `GREY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from shelfmatch.models.printer import camera, scene

GREY: Final = 128 / 255
PHOTO: Final = 4
"""A kind beside those of `package`: a real photograph with what stood around the product."""
BOX, SOFT, TURNED = 1, 2, 3
OVERSAMPLING: Final = 2
GROUP: Final = 16
"""Pictures composed at once on a CPU: what a layer of them takes fits its caches. 128 at once take three times as long each."""


@dataclass
class Prints:
    """N pictures with transparency, uint8: `front`, `other` (N, 4, T, T); `size`, `other_size` (N, 2), width and
    height as shares of the
    canvas; `kind` (N,)."""

    front: Tensor
    other: Tensor
    size: Tensor
    other_size: Tensor
    kind: Tensor

    def __getitem__(self, chosen: Tensor) -> Prints:
        return Prints(*(part[chosen] for part in (self.front, self.other, self.size, self.other_size, self.kind)))

    def __len__(self) -> int:
        return len(self.kind)


@dataclass
class Shot:
    """How N pictures are taken: `rotation` (N, 3, 3), `distance` (N,), and the crop's centre and half sides (N, 2) in
    the picture plane."""

    rotation: Tensor
    distance: Tensor
    centre: Tensor
    half: Tensor

    def __getitem__(self, chosen: Tensor) -> Shot:
        return Shot(*(part[chosen] for part in (self.rotation, self.distance, self.centre, self.half)))


def uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    """(n,) on the device of `like`."""
    return torch.rand(n, device=like.device) * (high - low) + low


def rotations(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """(N, 3, 3): first yaw and pitch of the package, then roll in the picture plane. Angles in radians."""
    one, zero = torch.ones_like(yaw), torch.zeros_like(yaw)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=1).view(-1, 3, 3)

    around_y = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    around_x = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    around_z = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return around_z @ around_x @ around_y


def plane(rotation: Tensor, distance: Tensor, origin: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """(N, 3, 3) homographies from a face's coordinates (u, v) to the picture plane; a face is origin + u across + v
    down (N, 3) each."""
    columns = rotation @ torch.stack([across, down, origin], dim=2)
    far = torch.tensor([0.0, 0.0, 1.0], device=columns.device) * distance[:, None]
    return torch.stack(
        [columns[:, 0] * distance[:, None], columns[:, 1] * distance[:, None], far - columns[:, 2]], dim=1
    )


def inverses(matrices: Tensor) -> Tensor:
    """(N, 3, 3) inverses up to a factor: the adjugates."""
    a, b, c = matrices.unbind(dim=2)
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=1)


def through(matrices: Tensor, points: Tensor) -> Tensor:
    """(N, P, 2) points through (N, 3, 3) homographies."""
    found = points @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
    return found[..., :2] / found[..., 2:].clamp(min=1e-4)


def _axis(n: int, index: int, lengths: Tensor) -> Tensor:
    found = torch.zeros(n, 3, device=lengths.device)
    found[:, index] = lengths
    return found


def faces(prints: Prints, rotation: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Homographies of front and side panel (u, v from -1 to 1), and whether the side is seen (N,)."""
    n, (a, b) = len(prints), (prints.size / 2).unbind(dim=1)
    front = plane(rotation, distance, torch.zeros(n, 3, device=a.device), _axis(n, 0, a), _axis(n, 1, b))
    towards = torch.where(
        rotation[:, 2, 0] > 0, 1.0, -1.0
    )  # the right side turns to the camera where its normal's z is positive
    deep = prints.other_size[:, 0] / 2
    middle = _axis(n, 0, a * towards) + _axis(n, 2, -deep)
    side = plane(rotation, distance, middle, _axis(n, 2, -deep * towards), _axis(n, 1, b))
    normal = rotation[:, :, 0] * towards[:, None]
    corner = (rotation @ (middle + _axis(n, 2, deep))[:, :, None])[:, :, 0]
    eye = torch.tensor([0.0, 0.0, 1.0], device=a.device) * distance[:, None]
    seen = ((normal * (eye - corner)).sum(dim=1) > 0.02) & (prints.kind == BOX)
    return front, side, seen


def aim(prints: Prints, hard: Tensor) -> Shot:
    """Poses and crops; `hard` (N,) from 0 (a catalogue's picture) to 1 (in the hand, anyhow)."""
    n = len(prints)
    draw = torch.randn(n, 3, device=hard.device).clamp(-2.2, 2.2)
    turned, photo = prints.kind == TURNED, prints.kind == PHOTO
    least = torch.where(turned | photo, 0.25, 1.0)
    yaw, pitch = draw[:, 0] * 0.42 * hard * least, draw[:, 1] * 0.22 * hard * least
    wild = torch.rand(n, device=hard.device)
    roll = draw[:, 2] * (0.02 + 0.16 * hard)
    roll = torch.where(wild < 0.16 * hard, (torch.rand_like(wild) * 2 - 1) * 3.14, roll)
    roll = torch.where((wild > 0.16 * hard) & (wild < 0.26 * hard), roll + 1.57 * torch.sign(draw[:, 0]), roll)
    rotation = rotations(yaw, pitch, torch.where(photo, roll * 0.4, roll))
    distance = uniform(n, 1.5, 5.0, hard) * prints.size.amax(dim=1)
    front, side, seen = faces(prints, rotation, distance)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], device=hard.device).expand(n, -1, -1)
    points, beside = through(front, corners), through(side, corners)
    points = torch.cat([points, torch.where(seen[:, None, None], beside, points)], dim=1)
    low, high = points.amin(dim=1), points.amax(dim=1)
    half = (high - low) / 2
    margin = 1.02 + (torch.rand(n, 2, device=hard.device) * 0.3 - 0.1) * (0.25 + 0.75 * hard)[:, None]
    loose = torch.rand(n, device=hard.device) < 0.12 * hard
    margin = margin * torch.where(loose, uniform(n, 1.1, 1.8, hard), torch.ones_like(hard))[:, None]
    tight = 1.0 - torch.rand(n, 2, device=hard.device) * 0.4 * hard[:, None].clamp(min=0.15)
    margin = torch.where(photo[:, None], tight, margin)
    centre = (low + high) / 2 + (torch.rand(n, 2, device=hard.device) * 2 - 1) * half * (margin - 0.9).abs() * hard[
        :, None
    ].clamp(min=0.2)
    half = half * margin
    square = torch.rand(n, device=hard.device) < 0.1 + 0.1 * hard  # a whole photo rather than a crop
    half = torch.where(
        (square & ~photo)[:, None],
        torch.maximum(half, half.amax(dim=1, keepdim=True) * uniform(n, 0.7, 1.0, hard)[:, None]),
        half,
    )
    return Shot(rotation, distance, centre, half.clamp(min=0.03))


@dataclass
class Frame:
    """Where the pixels of N square frames lie in the picture plane: `x` (N, side) of the columns, `y` (N, side) of the
    rows; `inside` (N, 1, side, side), what of the frame the crop covers."""

    x: Tensor
    y: Tensor
    inside: Tensor

    def __getitem__(self, chosen: Tensor) -> Frame:
        return Frame(self.x[chosen], self.y[chosen], self.inside[chosen])


def frame_of(shot: Shot, side: int) -> Frame:
    """The pixels' places, and the crop's part of the frame."""
    line = (torch.arange(side, device=shot.half.device) + 0.5) * 2 / side - 1
    longest = shot.half.amax(dim=1, keepdim=True)
    wide, high = (line.abs() <= (shot.half / longest)[:, axis : axis + 1] + 1e-6 for axis in (0, 1))
    x, y = (line * longest + shot.centre[:, axis : axis + 1] for axis in (0, 1))
    return Frame(x, y, (high[:, None, :, None] & wide[:, None, None, :]).float())


def on_face(homography: Tensor, frame: Frame) -> Tensor:
    """(N, side, side, 2): what places (u, v) of a face the frame's pixels show, -1 to 1 on the face itself."""
    back = inverses(homography)[:, :, :, None, None]
    # Sums of what changes along one axis only: point by point it takes four times as long.
    u, v, far = (
        back[:, row, 0] * frame.x[:, None, :] + (back[:, row, 1] * frame.y[:, :, None] + back[:, row, 2])
        for row in range(3)
    )
    far = far.clamp_(min=1e-4)
    return torch.stack([u.div_(far), v.div_(far)], dim=3)


def layer(
    texture: Tensor, homography: Tensor, size: Tensor, frame: Frame, oversampling: int, clamp: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What a face shows in the frame: colours (N, 3, s, s), coverage (N, 1, s, s), 0 to 1; s is the frame's side / `oversampling`.

    `size` (N, 2): the part of the texture (N, 4, T, T), uint8, that the face's -1 to 1 spans; where `clamp` (N,), its edge
    goes on for ever.
    """
    at = on_face(homography, frame)
    if clamp is not None:
        at = torch.where(clamp[:, None, None, None], at.clamp(-0.985, 0.985), at)
    at = at.clamp_(-4, 4).mul_(size[:, None, None])
    seen = functional.grid_sample(texture.float() / 255, at, padding_mode="zeros", align_corners=False)
    colours, cover = seen[:, :3], seen[:, 3:]
    if oversampling == 1:
        return colours, cover
    thin = functional.avg_pool2d(cover, oversampling)
    return functional.avg_pool2d(colours * cover, oversampling) / thin.clamp(min=1e-3), thin


def over(below: Tensor, colours: Tensor, cover: Tensor) -> Tensor:
    """A layer set on what is below it."""
    return below + (colours - below) * cover


def photograph(
    prints: Prints, hard: Tensor, side: int, grounds: Tensor, others: Prints, oversampling: int = OVERSAMPLING
) -> Tensor:
    """(N, 3, side, side) whole numbers 0 to 255: the prints as a camera sees them, padded crops.

    `hard` (N,) 0 to 1; `grounds` (G, 3, t, t) uint8 pictures to stand before; `others`: M prints to stand beside. One seed gives
    the same pictures with one version of this code and one kind of device.
    """
    rows = torch.arange(len(prints), device=hard.device)
    groups = rows.split(len(rows) if hard.is_cuda else GROUP)
    made = [_composed(prints[some], hard[some], side, grounds, others, oversampling) for some in groups]
    image, inside = (torch.cat(part) for part in zip(*made, strict=True))
    image = camera.developed(image, hard)
    return (over(torch.full_like(image, GREY), image, inside).clamp(0, 1) * 255).round()


def _composed(
    prints: Prints, hard: Tensor, side: int, grounds: Tensor, others: Prints, oversampling: int
) -> tuple[Tensor, Tensor]:
    """Scenes (N, 3, side, side), before a camera, and what of them the crop covers (N, 1, side, side). Print is sampled
    `oversampling` times as finely, each layer only in the pictures that have it."""
    n = len(prints)
    shot = aim(prints, hard)
    frame = frame_of(shot, side * oversampling)
    front, panel, seen = faces(prints, shot.rotation, shot.distance)
    image = scene.ground(n, side, hard, grounds)
    on_shelf = torch.rand(n, device=hard.device) < 0.4 * hard
    in_hand = (torch.rand(n, device=hard.device) < 0.4 * hard) & ~on_shelf
    skin = scene.skins(n, hard)
    shelved, held = (chosen.nonzero()[:, 0] for chosen in (on_shelf, in_hand))
    image[shelved] = _neighbours(image[shelved], prints[shelved], shot[shelved], frame[shelved], others, oversampling)
    image[held] = scene.palm(image[held], skin[held])
    turned = (prints.kind == TURNED) & (torch.rand(n, device=hard.device) < 0.55 * hard)
    texture = torch.where(turned[:, None, None, None], prints.other, prints.front)
    colours, cover = layer(texture, front, prints.size, frame, oversampling, clamp=prints.kind == PHOTO)
    image = scene.shadowed(image, cover, hard)
    deep = seen.nonzero()[:, 0]
    beside, beside_cover = layer(prints.other[deep], panel[deep], prints.other_size[deep], frame[deep], oversampling)
    image[deep] = over(image[deep], beside * uniform(len(deep), 0.45, 1.0, hard)[:, None, None, None], beside_cover)
    image = over(image, scene.shine(colours, hard), cover)
    held = (in_hand & (prints.kind != PHOTO)).nonzero()[:, 0]
    image[held] = scene.fingers(image[held], skin[held])
    return image, functional.avg_pool2d(frame.inside, oversampling)


def _neighbours(image: Tensor, prints: Prints, shot: Shot, frame: Frame, others: Prints, oversampling: int) -> Tensor:
    """Other products to the left, to the right, and above, on the same board; a rail below."""
    n, side = len(image), image.shape[-1]
    own = prints.size / 2
    for place in ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0)):
        pick = torch.randint(len(others), (n,), device=image.device)
        same = place[0] and torch.rand(()) < 0.3  # facings: more of the same
        beside = prints if same else others[pick]
        half = beside.size / 2 * uniform(n, 0.7, 1.3, own)[:, None]
        gap = 1.0 + torch.rand(n, device=image.device) * 0.06
        x = (
            place[0] * (own[:, 0] + half[:, 0]) * gap
            + (place[0] == 0) * (torch.rand(n, device=image.device) - 0.5) * own[:, 0]
        )
        y = own[:, 1] - half[:, 1] if place[0] else -(own[:, 1] + half[:, 1]) * (gap + 0.12)
        middle = _axis(n, 0, x) + _axis(n, 1, y)
        homography = plane(shot.rotation, shot.distance, middle, _axis(n, 0, half[:, 0]), _axis(n, 1, half[:, 1]))
        image = over(image, *layer(beside.front, homography, beside.size, frame, oversampling))
    front, _, _ = faces(prints, shot.rotation, shot.distance)
    height = on_face(front, frame)[..., 1].view(n, 1, side * oversampling, side * oversampling)
    rail = ((height > 1.0) & (height < 1.0 + uniform(n, 0.05, 0.4, own)[:, None, None, None])).float()
    colour = torch.rand(n, 3, 1, 1, device=image.device) * 0.5 + 0.45
    return over(image, colour.expand_as(image), functional.avg_pool2d(rail, oversampling))
