"""The tensors of an FSDP checkpoint, put together from its ranks' files: what was trained, before any exporter saw it.

    trained = CheckpointTensors(checkpoint)
    trained.weight("model.layers.0.self_attn.q_proj.weight")                 # base + alpha / r · B A, float32
    trained.weight("model.layers.0.self_attn.q_proj.weight", adapted=False)  # what it was before training (LoRA only)

The proof of an export compares with this, so nothing of verl's merger or of PEFT is used here. The files are mapped,
not read: memory holds the tensors that are asked for.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator

import torch
from torch.distributed.tensor import DTensor

from checkpoint_steps import Checkpoint
from model_weights import ExportError

# It warns of every file that is read outside of a process group, where nothing of it is used.
logging.getLogger("torch.distributed.device_mesh").setLevel(logging.ERROR)

_PREFIX = "base_model.model."
_B_OF_A = {
    ".lora_A.default.weight": ".lora_B.default.weight",
    ".lora_embedding_A.default": ".lora_embedding_B.default",
}


class CheckpointTensors:
    """Raises ExportError for a rank's file that cannot be read."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._ranks = []
        for shard in checkpoint.shards:
            try:
                # verl saves DTensors, which are pickled objects: a checkpoint is as trusted as the code that made it.
                tensors = torch.load(shard, map_location="cpu", mmap=True, weights_only=False)
            except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
                raise ExportError(f"{shard} cannot be read ({error}): copy it again or use an earlier step") from error
            self._ranks.append(tensors)
        self._stored = {self._plain_name(name): name for name in self._ranks[0] if ".lora_" not in name}
        self._adapters = self._find_adapters(checkpoint.lora)

    def __iter__(self) -> Iterator[str]:
        """The names of the weights, as a model without adapters has them."""
        return iter(self._stored)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    @property
    def adapted(self) -> list[str]:
        """The weights that an adapter changes; none for full training."""
        return sorted(self._adapters)

    def weight(self, name: str, adapted: bool = True) -> torch.Tensor:
        """A whole weight as it was trained (or frozen), in float32."""
        tensor = self._whole(self._stored[name]).to(torch.float32)
        if not adapted or name not in self._adapters:
            return tensor
        first, second, scale = self._adapters[name]
        change = self._whole(second).to(torch.float32) @ self._whole(first).to(torch.float32)
        return tensor + scale * (change.T if "lora_embedding" in first else change)

    def rounding(self, name: str) -> torch.Tensor:
        """How far each element of an exported weight may lie from the trained one: verl writes base and adapter in
        bfloat16, and an adapter's rounding is multiplied with it."""
        eps = torch.finfo(torch.bfloat16).eps
        bound = eps * self.weight(name).abs()
        if name not in self._adapters:
            return bound
        first, second, scale = self._adapters[name]
        change = self._whole(second).to(torch.float32).abs() @ self._whole(first).to(torch.float32).abs()
        return bound + 2 * eps * scale * (change.T if "lora_embedding" in first else change)

    def _find_adapters(self, lora: dict[str, object] | None) -> dict[str, tuple[str, str, float]]:
        found = {}
        for name in self._ranks[0]:
            for first, second in _B_OF_A.items():
                if name.endswith(first):
                    if not lora:
                        raise ExportError(f"the checkpoint holds {name} and no lora_train_meta.json, so no alpha")
                    scale = float(lora["lora_alpha"]) / float(lora["r"])
                    layer = name.removeprefix(_PREFIX).removesuffix(first)
                    found[f"{layer}.weight"] = (name, name.removesuffix(first) + second, scale)
        return found

    @staticmethod
    def _plain_name(name: str) -> str:
        return name.removeprefix(_PREFIX).replace(".base_layer.", ".")

    def _whole(self, stored: str) -> torch.Tensor:
        """Of a tensor that is sharded over the ranks, all of it; replicas count once. Raises ExportError."""
        own = self._ranks[0][stored]
        if not isinstance(own, DTensor):
            return own  # plain tensors are the same on every rank
        mesh = own.device_mesh.mesh
        group = (mesh if mesh.dim() == 1 else mesh[0]).tolist()  # of a mesh (replicas, shards), the first replica
        placement = own.placements[-1]
        if placement.is_replicate():
            return own.to_local()
        if not placement.is_shard():
            raise ExportError(f"{stored} is placed as {placement}: not a way in which FSDP saves weights")
        return torch.cat([self._ranks[rank][stored].to_local() for rank in group], dim=placement.dim)
