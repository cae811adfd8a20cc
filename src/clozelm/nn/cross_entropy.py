"""Cross-entropy straight from vectors and the vocabulary matrix: the logits never live twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clozelm.nn.linear import missing_rows

CHUNK_BYTES = 64 << 20
_BLOCK_BYTES = 2 << 20  # of fp32 logits that several passes go over: what caches hold
_SOFT_COPIES = 6  # of a chunk of logits that live at once beside a teacher's


class PieceLosses(NamedTuple):
    """What predictions cost: ``total`` carries gradients, ``each`` and ``right`` do not."""

    total: Float[Tensor, ""]
    each: Float[Tensor, "count"]
    right: Bool[Tensor, "count"]


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients together with the loss, chunk by chunk, so that only one chunk of logits exists."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor,
        labels: Tensor,
        importance: Tensor | None,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        loss = vectors.new_zeros((), dtype=torch.float32)
        each = vectors.new_zeros(len(vectors), dtype=torch.float32)
        right = torch.zeros(len(vectors), dtype=torch.bool, device=vectors.device)
        grad_vectors = torch.empty_like(vectors) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_grad else None
        size = max(1, CHUNK_BYTES // (4 * len(weight)))
        block = max(1, _BLOCK_BYTES // (4 * len(weight))) if vectors.device.type == "cpu" else size
        for start in range(0, len(vectors), size):
            rows = slice(start, start + size)
            part = vectors[rows]
            count = len(part)
            part = F.pad(part, (0, 0, 0, missing_rows(part)))
            slope = part @ weight.t()  # logits without bias, block by block written over with the gradient
            slope[count:] = 0
            for begin in range(0, count, block):
                some = slice(begin, min(begin + block, count))
                at = slice(start + some.start, start + some.stop)
                share = None if importance is None else importance[at]
                nats, right[at], wrong = _block(slope[some], bias, labels[at], share, needs_grad)
                each[at] = nats
                loss += nats.sum() if share is None else (nats * share).sum()
                if grad_bias is not None and wrong is not None:
                    grad_bias += wrong.sum(dim=0)
            if grad_vectors is None or grad_weight is None:
                continue
            grad_vectors[rows] = torch.mm(slope, weight)[:count]
            if weight.dtype == torch.float32:
                grad_weight.addmm_(slope.t(), part)
            else:  # chunks are added up in fp32: in bf16 what the later ones add would be rounded away
                grad_weight += torch.mm(slope.t(), part)
        ctx.dtype = weight.dtype
        if needs_grad:
            ctx.save_for_backward(grad_vectors, grad_weight, grad_bias)
        ctx.mark_non_differentiable(each, right)
        return loss, each, right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        scaled = [(grad * scale.float()).to(ctx.dtype) for grad in ctx.saved_tensors]
        return (*scaled, None, None, None)


def _block(
    logits: Tensor, bias: Tensor, labels: Tensor, importance: Tensor | None, needs_grad: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return nats, whether the best piece is the label, and the fp32 gradient, which is written over the logits."""
    target = labels[:, None]
    work = logits.float().add_(bias)
    top = work.amax(dim=1, keepdim=True)
    picked = work.gather(1, target)
    right = (picked == top).squeeze(1)
    if right.device.type == "cpu":
        tied = right.nonzero().squeeze(1)  # the first of equal logits counts as the best
        right[tied] = work[tied].argmax(dim=1) == labels[tied]
    else:
        right = work.argmax(dim=1) == labels
    work.sub_(top).exp_()
    total = work.sum(dim=1, keepdim=True)
    nats = (total.log() + top - picked).squeeze(1)
    if not needs_grad:
        return nats, right, None
    work.div_(total).scatter_add_(1, target, torch.full_like(top, -1.0))
    if importance is not None:
        work *= importance[:, None]
    logits.copy_(work)
    return nats, right, work


def linear_cross_entropy(
    vectors: Float[Tensor, "count hidden"],
    weight: Float[Tensor, "vocab hidden"],
    bias: Float[Tensor, "vocab"],
    labels: Int[Tensor, "count"],
    importance: Float[Tensor, "count"] | None = None,
) -> PieceLosses:
    """Return the summed cross-entropy in nats (fp32), and each prediction's own with whether it was right.

    Equals ``F.cross_entropy(vectors @ weight.T + bias, labels, reduction="sum")`` with its gradients, without
    keeping the logits: peak memory is one chunk of them. ``importance`` multiplies each prediction's nats in the
    sum and the gradients.
    """
    needs_grad = torch.is_grad_enabled() and (vectors.requires_grad or weight.requires_grad)
    parts = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        vectors, weight, bias, labels, importance, needs_grad
    )
    return PieceLosses(*parts)


Predictor = tuple[
    Float[Tensor, "count embedding"],
    Float[Tensor, "vocab embedding"],
    Float[Tensor, "vocab"],
]
"""Vectors, the vocabulary's matrix and its bias: what logits are made of."""


class _SoftCrossEntropy(torch.autograd.Function):
    """The divergence from a teacher with its gradients, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor,
        teacher: Predictor,
        temperature: float,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        loss = vectors.new_zeros((), dtype=torch.float32)
        agreed = torch.zeros((), dtype=torch.int64, device=vectors.device)
        grads = [torch.zeros_like(one, dtype=torch.float32) for one in (vectors, weight, bias) if needs_grad]
        size = max(1, CHUNK_BYTES // (4 * len(weight) * _SOFT_COPIES))
        for start in range(0, len(vectors), size):
            part = vectors[start : start + size]
            student = torch.addmm(bias, part, weight.t()).float()
            taught = torch.addmm(teacher[2], teacher[0][start : start + size], teacher[1].t()).float()
            agreed += (student.argmax(dim=1) == taught.argmax(dim=1)).sum()
            log_p, log_q = (taught / temperature).log_softmax(dim=1), (student / temperature).log_softmax(dim=1)
            p = log_p.exp()
            loss += temperature**2 * (p * (log_p - log_q)).sum()
            if not needs_grad:
                continue
            slope = log_q.exp_().sub_(p).mul_(temperature)
            grads[2] += slope.sum(dim=0)
            slope = slope.to(weight.dtype)
            grads[0][start : start + size] = torch.mm(slope, weight)
            if weight.dtype == torch.float32:
                grads[1].addmm_(slope.t(), part)
            else:  # as above: chunks are added up in fp32
                grads[1] += torch.mm(slope.t(), part)
        ctx.dtype = weight.dtype
        ctx.save_for_backward(*grads)
        ctx.mark_non_differentiable(agreed)
        return loss, agreed

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [(grad * grads[0].float()).to(ctx.dtype) for grad in ctx.saved_tensors]
        return (*scaled, None, None, None)


def soft_cross_entropy(
    student: Predictor, teacher: Predictor, *, temperature: float
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Return the summed temperature^2 KL(teacher || student) in nats (fp32), and how many best pieces agree.

    Distributions are softmax(logits / temperature); the square keeps gradients as large as at temperature 1
    (Hinton et al. 2015, 2). Nothing flows to the teacher. Equals ``F.kl_div`` of log-softmaxes with its gradients,
    without keeping the logits.
    """
    both: tuple[Tensor, Tensor] = _SoftCrossEntropy.apply(  # type: ignore[no-untyped-call]
        *student, teacher, temperature, torch.is_grad_enabled()
    )
    return both
