"""Several processes that train one model: each computes its share of a step's rows, and sums are exchanged.

``torchrun --nproc-per-node 4 -m clozelm pretrain ...`` starts them, on one machine or on several (``--nnodes``).
Each holds the whole model. Rows, masks and draws are functions of the row, so that a step is the same however many
share it; losses, counts and gradients are sums, divided once by the counts of all. The first rank alone writes.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from clozelm.errors import ClozeError, SettingsError

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)  # the others wait while the first one evaluates and saves
_BUCKET = 1 << 24  # numbers that are exchanged at once


@dataclass(frozen=True)
class Ranks:
    """Which of ``world`` processes this is, counted from 0; alone, unless told otherwise."""

    rank: int = 0
    world: int = 1

    @classmethod
    def joined(cls) -> Ranks:
        """Join the processes that ``torchrun`` started, as its environment names them; else be alone.

        An environment that names others which cannot be joined is a ``SettingsError``.
        """
        world = os.environ.get("WORLD_SIZE", "1")
        if world == "1" or "RANK" not in os.environ:
            return cls()
        try:
            if not dist.is_initialized():
                dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
                atexit.register(_leave)
        except (ValueError, RuntimeError) as error:
            raise SettingsError(
                f"The other processes that WORLD_SIZE={world} speaks of cannot be joined ("
                f"{str(error).partition(chr(10))[0].rstrip('.')}): start cloze with torchrun, or unset WORLD_SIZE."
            ) from error
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @property
    def key(self) -> tuple[int, ...]:
        """What tells random streams of other ranks from those of the first, which are those of a process alone."""
        return () if self.is_first else (self.rank,)

    def place(self, device: torch.device) -> torch.device:
        """Return the GPU of this process where each has its own, as ``torchrun`` numbers them on a machine."""
        if self.world == 1 or device.type != "cuda":
            return device
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
        return own

    def agree(self, find: Callable[[], T]) -> T:
        """Let the first rank find something out, and return it everywhere; its error ends all of them."""
        if self.world == 1:
            return find()
        found: list[Any] = [None, None]
        if self.is_first:
            try:
                found[0] = find()
            except ClozeError as error:
                found[1] = error
        dist.broadcast_object_list(found, src=0)
        if found[1] is not None:
            dist.barrier()  # the first one ends when all have read why
            if self.is_first:
                raise found[1]
            raise SystemExit(2)  # the first rank says why
        return cast(T, found[0])

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Tell of each flag whether it is set in any rank."""
        return flags if self.world == 1 else tuple(value > 0 for value in self.sums(flags))

    def sums(self, numbers: Sequence[float]) -> list[float]:
        """Return the sum over ranks of each number; whole numbers up to 2^53 stay exact."""
        if self.world == 1:
            return list(numbers)
        totals = torch.tensor(numbers, dtype=torch.float64, device=_exchanged_on())
        dist.all_reduce(totals)
        return cast(list[float], totals.tolist())

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Add gradients up over ranks, in place; a weight without one in any rank stays without."""
        if self.world == 1:
            return
        parameters = list(parameters)
        in_any = self.any(*(parameter.grad is not None for parameter in parameters))
        used = [parameter for parameter, is_used in zip(parameters, in_any, strict=True) if is_used]
        for bucket in _buckets(used):
            for parameter in bucket:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            gradients = [cast(Tensor, parameter.grad).view(-1) for parameter in bucket]
            flat = torch.cat(gradients)
            dist.all_reduce(flat)
            torch._foreach_copy_(gradients, list(torch.split(flat, [len(each) for each in gradients])))


def _leave() -> None:
    """Close connections before the interpreter goes: threads that outlive it may abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _exchanged_on() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _buckets(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield parameters in their order, as many at once as are worth one message."""
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if bucket and size + parameter.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
