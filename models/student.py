"""One encoder in training, for `joint`: its network, heads, losses, optimizer and running mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfmatch.models import halves, local
from shelfmatch.models.losses import CosFace, apart, supervised_contrast
from shelfmatch.models.mixer import BOX_LABELS, PHONE_LABELS, PROXIES, Batch, Portions, Reals
from shelfmatch.models.networks import EMBEDDING_DIM, NETWORKS, Unit, from_onnx, normalized
from shelfmatch.models.norms import restore_norms

BEGIN_WITH: Final = {
    "shelfmatch-cnn": "shelfmatch-cnn",
    "shelfmatch-vit": "shelfmatch-vit",
    "shelfmatch-nano": "shelfmatch-cnn",
}
PEAK_RATES: Final = {"shelfmatch-cnn": 8e-4, "shelfmatch-vit": 8e-4, "shelfmatch-nano": 1.2e-3}
BATCH: Final = 728
"""Pictures of a step that the peak rates are for; for another number by its root."""
TEACHER_DIM: Final = 192
MEAN_DECAY: Final = 0.995


def quick_halves(device: torch.device) -> bool:
    """Whether bfloat16 is quick there: on GPUs, and on processors that multiply it (with AVX512 alone it is emulated)."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Student:
    """One encoder in training: its network, heads, optimizer and running mean."""

    def __init__(self, name: str, device: torch.device, frozen: int = 0) -> None:
        self.name, self.device, self.frozen = name, device, frozen
        self.net: Any = NETWORKS[name]().to(device)
        self.classes = CosFace(PROXIES, EMBEDDING_DIM, scale=20.0, margin=0.15).to(device)
        self.teacher = nn.Linear(EMBEDDING_DIM, TEACHER_DIM).to(device)
        self.imitates = nn.Linear(EMBEDDING_DIM, EMBEDDING_DIM).to(device)
        self.cells, self.head = local.Cells().to(device), local.LocalHead().to(device)
        self.looks_closer = name == "shelfmatch-cnn"
        self.done = 0

    def parts(self) -> dict[str, nn.Module]:
        """All that is trained, by name."""
        found = {"net": self.net, "classes": self.classes, "teacher": self.teacher, "imitates": self.imitates}
        return found | ({"cells": self.cells, "head": self.head} if self.looks_closer else {})

    def begin(self, folder: Path, pictures: Tensor) -> None:
        """Weights that a run left in `folder` (`keep_small`), or else of the folded file it goes on from: then the norms get the
        statistics of `pictures` (N, 3, side, side), 0 to 255. Raises ValueError for a file of another network."""
        small = folder / f"{self.name}.npz"
        if small.is_file():
            print(f"{self.name} goes on from {small}", flush=True)
            found = halves.read(small)
            for part, module in self.parts().items():
                own = {key[len(part) + 1 :]: value for key, value in found.items() if key.startswith(f"{part}.")}
                halves.fill(module, own, small.name)
            return
        source = BEGIN_WITH[self.name]
        print(f"{self.name} goes on from {source}-fp32.onnx", flush=True)
        folded = from_onnx(source, folder / f"{source}-fp32.onnx").to(self.device)
        with torch.no_grad():
            _take(self.net, folded, self._sized(pictures))

    def ready(self, pictures: int, rate: float = 1.0) -> None:
        """Make the optimizer and the running mean, once the weights are there; `pictures` are in a batch, `rate` is a share of the
        network's peak rate."""
        self.net = self.net.to(memory_format=torch.channels_last)
        self.net.train()
        if self.frozen:
            for module in (self.net.stem, *self.net.blocks[: self.frozen - 1]):
                module.eval().requires_grad_(False)
        self.mean = {
            part: {key: value.detach().clone() for key, value in module.state_dict().items()}
            for part, module in self.parts().items()
        }
        groups = []
        for part, module in self.parts().items():
            peak = rate * PEAK_RATES[self.name] * (pictures / BATCH) ** 0.5 if part == "net" else 3e-3
            for decays in (True, False):
                chosen = [p for p in module.parameters() if (p.ndim > 1) == decays and p.requires_grad]
                groups.append({"params": chosen, "weight_decay": 0.03 if decays else 0.0, "peak": peak})
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=1e-4, foreach=True)

    def _sized(self, pixels: Tensor) -> Tensor:
        side = type(self.net).SIDE
        if side == pixels.shape[-1]:
            return pixels
        return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)

    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embeddings (N, 256) and, where it looks closer, the tapped map; of pictures 0 to 255."""
        ready = normalized(self._sized(pixels)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=quick_halves(self.device)):
            if self.looks_closer:
                embeddings, tap = self.net.mapped(ready)
                return embeddings.float(), tap.float()
            return self.net(ready).float(), None

    def learn(
        self, batch: Batch, reals: Reals, imitate: Tensor | None, share: float, portions: Portions
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One optimizer step at a share of the peak rate; losses and figures, and the embeddings."""
        embeddings, tap = self.see(batch.pixels)
        losses, told = self._losses(batch, embeddings, reals)
        if imitate is not None:
            losses["imitation"] = 4.0 * apart(self.imitates(embeddings), imitate)
        if tap is not None:
            losses["local"], told["local@1"] = self._local(batch, embeddings, tap, portions)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * max(share, 0.003)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(
            [p for module in self.parts().values() for p in module.parameters()], 5.0, foreach=True
        )
        self.optimizer.step()
        self.done += 1
        self._follow()
        return {key: value.detach() for key, value in (losses | told).items()}, embeddings.detach()

    def _losses(self, batch: Batch, embeddings: Tensor, reals: Reals) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        half, count = len(embeddings) // 2, len(batch.rows) // 2
        named = torch.cat([torch.arange(half - count, half), torch.arange(2 * half - count, 2 * half)]).to(
            embeddings.device
        )
        labels = batch.labels[named]
        classed = labels < BOX_LABELS
        proxies = torch.where(labels >= PHONE_LABELS, labels - PHONE_LABELS + 90, labels).clamp(max=PROXIES - 1)
        weight = classed.float()
        by_class = self.classes.each(embeddings[named], proxies)
        losses = {
            "contrast": supervised_contrast(embeddings, batch.labels, temperature=0.07),
            "class": 0.5 * (by_class * weight).sum() / weight.sum().clamp(min=1),
            "teacher": 5.0 * apart(self.teacher(embeddings[named]), reals.features[batch.rows]),
        }
        unit = functional.normalize(embeddings.detach(), dim=1)
        right = batch.labels[(unit[half:] @ unit[:half].T).argmax(dim=1)] == batch.labels[half:]
        return losses, {
            "printed@1": right[: half - count].float().mean(),
            "real@1": right[half - count :].float().mean(),
        }

    def _local(self, batch: Batch, embeddings: Tensor, tap: Tensor, portions: Portions) -> tuple[Tensor, Tensor]:
        half = len(embeddings) // 2
        gentle = tap.detach() + 0.3 * (tap - tap.detach())
        described = local.described(self.cells(gentle))
        unit = functional.normalize(embeddings.detach(), dim=1)
        queries = torch.randperm(half, device=unit.device)[: portions.local]
        similar = unit[half:][queries] @ unit[:half].T
        same = batch.labels[half:][queries][:, None] == batch.labels[None, :half]
        chosen = local.candidates(similar, same)
        return local.local_loss(self.head, described[half:][queries], described[:half], chosen, similar)

    def _follow(self) -> None:
        decay = min(MEAN_DECAY, self.done / (self.done + 20))
        with torch.no_grad():
            for part, module in self.parts().items():
                pairs = [
                    (self.mean[part][key], value)
                    for key, value in module.state_dict().items()
                    if value.is_floating_point()
                ]
                torch._foreach_lerp_([mean for mean, _ in pairs], [value for _, value in pairs], 1 - decay)

    def keep(self, folder: Path) -> None:
        """Write the weights and their running means, which `export_encoders` takes."""
        state = {
            "done": self.done,
            "mean": self.mean,
            "now": {part: module.state_dict() for part, module in self.parts().items()},
        }
        temporary = folder / f"{self.name}-state.tmp"
        torch.save(state, temporary)
        temporary.replace(folder / f"{self.name}-state.pt")

    def keep_small(self, folder: Path) -> None:
        """Write the running means in half precision, NAME.npz: what `begin` and `export_encoders` take."""
        halves.write(
            {f"{part}.{key}": value for part, mean in self.mean.items() for key, value in mean.items()},
            folder / f"{self.name}.npz",
        )

    def resume(self, path: Path) -> None:
        """Weights that an earlier run kept; its optimizer begins anew."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        for part, module in self.parts().items():
            module.load_state_dict(state["now"][part])


def _take(net: Any, folded: Any, pictures: Tensor) -> None:
    """Fill what `net` has in common with a folded network, front to back, and restore its norms."""

    def units(of: Any) -> list[Any]:
        return [
            m
            for part in ("stem", "blocks", "transformer", "head")
            if hasattr(of, part)
            for m in getattr(of, part).modules()
            if isinstance(m, Unit)
        ]

    taken = set()
    for unit, their in zip(units(net), units(folded), strict=False):
        if unit.conv.weight.shape != their.conv.weight.shape:
            break
        unit.conv.weight.copy_(their.conv.weight)
        unit.norm.weight.fill_(1.0)
        unit.norm.bias.copy_(their.conv.bias)
        taken.add(unit)
    if len(taken) == len(units(net)):
        net.embed.load_state_dict(folded.embed.state_dict())
    restore_norms(net, taken, pictures)
