"""What of a classifier is trained, and how fast each part learns."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from clozelm.errors import SettingsError
from clozelm.nn.classifier import Classifier
from clozelm.nn.encoder import initialise
from clozelm.nn.lora import add_lora
from clozelm.nn.prompt import TaskModel
from clozelm.rng import seed_for
from clozelm.train.finetune_settings import ModelSettings, OptimSettings
from clozelm.train.masters import Masters
from clozelm.train.optim import Group, Optimisers

_LAYER = re.compile(r"^encoder\.layers\.(\d+)\.")
_BASE_RATE, _BASE_WIDTH, _MOST_RATE = 5e-5, 768, 5e-4


def prepare(model: TaskModel, settings: ModelSettings, seed: int) -> None:
    """Draw top layers anew, fix low ones, or fix all of them and add low-rank updates, as the settings say."""
    num_sets = len(model.encoder.layers)
    for name in ("reinit_layers", "freeze_layers"):
        if getattr(settings, name) > num_sets:
            raise SettingsError(
                f"model.{name}={getattr(settings, name)}: the model has only {num_sets} layers of weights."
            )
    generator = torch.Generator().manual_seed(seed_for(seed, "finetune weights"))
    for index in range(num_sets - settings.reinit_layers, num_sets):
        initialise(model.encoder.layers[index], model.config.init_std, generator)
    if settings.lora_rank is not None:
        add_lora(model.encoder, rank=settings.lora_rank, alpha=settings.lora_alpha, generator=generator)
    if settings.freeze_layers:
        model.encoder.embeddings.requires_grad_(False)
        for index in range(settings.freeze_layers):
            model.encoder.layers[index].requires_grad_(False)


def learning_rate(settings: OptimSettings, hidden_size: int) -> float:
    """Return the peak learning rate: the one that is set, or one that falls with the square of the width.

    The rule meets BERT's rates at 768 and 1024; small encoders need far more than in proportion (docs/LOG.md).
    """
    return settings.learning_rate or min(_BASE_RATE * (_BASE_WIDTH / hidden_size) ** 2, _MOST_RATE)


def tables(model: TaskModel) -> list[str]:
    """Return the names of embeddings that are only looked up: rounding all of them costs more than it saves.

    A prompt's answers are products with the table, so it has none.
    """
    named = model.named_modules() if isinstance(model, Classifier) else ()
    return [f"{name}.weight" for name, part in named if isinstance(part, nn.Embedding)]


def build_optimisers(model: TaskModel, settings: OptimSettings, masters: Masters | None) -> Optimisers:
    """Build AdamW over what is trained; matrices decay, and every layer has its own rate.

    With ``layer_decay`` d a layer learns at d times the rate of the one above it, the top one at d times the
    head's, embeddings slowest (Howard & Ruder 2018, 3.2; Clark et al. 2020, B).
    """
    peak = learning_rate(settings, model.config.hidden_size)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
            rate = peak * _factor(name, len(model.encoder.layers), settings)
            tensor = parameter if masters is None else masters.tensors[name]
            groups.setdefault((rate, decay), []).append(tensor)
    adamw = torch.optim.AdamW(
        list(_groups(groups)), lr=peak, betas=(settings.beta1, settings.beta2), eps=settings.eps, fused=True
    )
    return Optimisers({"adamw": adamw}, masters)


def _groups(groups: dict[tuple[float, float], list[Tensor]]) -> Iterator[Group]:
    for (rate, decay), tensors in groups.items():
        yield {"params": tensors, "lr": rate, "weight_decay": decay}


def _factor(name: str, num_sets: int, settings: OptimSettings) -> float:
    """Return the share of the peak rate at which a weight learns."""
    if name.startswith("head."):
        return settings.head_factor
    layer = _LAYER.match(name)
    if layer is not None:
        return float(settings.layer_decay ** (num_sets - int(layer[1])))
    is_low = name.startswith("encoder.embeddings.")
    return float(settings.layer_decay ** (num_sets + 1)) if is_low else 1.0


def num_trained(model: nn.Module) -> int:
    """Return how many weights are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
