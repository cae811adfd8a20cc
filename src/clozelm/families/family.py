"""What a named architecture is to the rest of the program: its configuration file and its weight names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from clozelm.errors import ModelError
from clozelm.nn.config import Activation, EncoderConfig
from clozelm.vocab import Vocabulary

_HEAD = "head."  # of names here: the head for masked language modelling

# What released files of any family hold besides: index buffers, and heads of tasks.
UNUSED = r"position_ids$|^(pre_)?classifier\.|^qa_outputs\.|^dropout\."
DISCRIMINATING = r"|^discriminator_predictions\."

# The stock names of activations, the one written first; all spellings of a row compute the same function.
_ACTIVATION_NAMES: dict[Activation, tuple[str, ...]] = {
    "gelu": ("gelu", "gelu_python"),
    "gelu_tanh": ("gelu_pytorch_tanh", "gelu_new", "gelu_fast"),
    "relu": ("relu",),
    "silu": ("silu", "swish"),
}


@dataclass(frozen=True)
class Weight:
    """One tensor here and its stock name, or names: several are stacked along their first axis."""

    ours: str
    theirs: tuple[str, ...]


@dataclass(frozen=True)
class Spelling:
    """How released files of a family spell the weights.

    ``old`` rewrites older names (regular expression, replacement). ``base`` is the prefix of the encoder's
    tensors, which files of a bare encoder leave out; ``parts`` are their first words. ``unused`` matches
    tensors that masked-language modelling does not read. ``twins`` maps a tensor's second name to its first.
    """

    base: str
    parts: tuple[str, ...]
    old: tuple[tuple[str, str], ...] = ()
    unused: str = r"(?!)"
    twins: Mapping[str, str] = field(default_factory=dict)

    def modern(self, name: str) -> str:
        """Return today's name of a tensor that an older file may spell otherwise."""
        for pattern, replacement in self.old:
            name = re.sub(pattern, replacement, name)
        return self.base + name if name.startswith(self.parts) else name


@dataclass(frozen=True)
class Extra:
    """A second pretraining head that the family's files hold, and the architecture that carries it.

    ``is_stock`` says whether ``transformers`` has a class for it; without one it opens the encoder.
    """

    architecture: str
    weights: tuple[Weight, ...]
    is_stock: bool = True


def replaced_head(architecture: str, *, is_stock: bool) -> Extra:
    """Return the head for replaced tokens, with ELECTRA's names for its weights."""
    weights = (
        *both("replaced.dense", "discriminator_predictions.dense"),
        *both("replaced.out", "discriminator_predictions.dense_prediction"),
    )
    return Extra(architecture, weights, is_stock)


@dataclass(frozen=True)
class Family:
    """A named architecture; its tensors go both ways without a bit changed.

    ``extras`` are heads beside masked language modelling, by their name in a training run. Where the sizes leave
    out the first rows of the position table, a preset counts from the row after its padding id.
    """

    name: str
    architecture: str
    paper: str
    sizes: Mapping[str, EncoderConfig]
    read_config: Callable[[Mapping[str, Any]], EncoderConfig]
    write_config: Callable[[EncoderConfig, Vocabulary], dict[str, Any]]
    weights: Callable[[EncoderConfig], list[Weight]]
    spelling: Spelling
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def preset(self, size: str, vocab_size: int, **changes: Any) -> EncoderConfig:
        """Return the encoder of a named size, with ``changes`` to its fields."""
        if size not in self.sizes:
            raise ModelError(f"{self.name} has no size {size!r}; its sizes are {', '.join(self.sizes)}.")
        config = replace(self.sizes[size], vocab_size=vocab_size, **changes)
        return replace(config, first_position=config.pad_id + 1) if config.first_position else config

    def to_stock(self, state: Mapping[str, Tensor], config: EncoderConfig) -> dict[str, Tensor]:
        """Return the tensors of ``state`` under their stock names; parts of fused ones are views.

        ``state`` may hold an encoder with any of the family's heads, named as in a training run.
        """
        known = self.weights(config) + [weight for extra in self.extras.values() for weight in extra.weights]
        out: dict[str, Tensor] = {}
        for weight in known:
            if weight.ours in state:
                parts = state[weight.ours].chunk(len(weight.theirs))
                out.update(zip(weight.theirs, parts, strict=True))
        return out

    def from_stock(
        self, tensors: Mapping[str, Tensor], config: EncoderConfig, *, encoder_only: bool = False
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Return the tensors under their names here, and the stock names that nothing here reads.

        With ``encoder_only`` the head's tensors are left out, and may be missing.
        """
        named, dropped = self._sort(tensors)
        weights, heads = self.weights(config), self._head_names(config)
        if encoder_only:
            weights = [weight for weight in weights if not weight.ours.startswith(_HEAD)]
            dropped += sorted(heads & named.keys())
            named = {name: tensor for name, tensor in named.items() if name not in heads}
        elif self._output_bias(config) not in named:
            raise ModelError(
                f"the checkpoint has no head for masked language modelling (no {self._output_bias(config)!r}): "
                "`cloze adapt` trains a new one on its encoder."
            )
        _compare({name for weight in weights for name in weight.theirs}, set(named))
        state = {}
        for weight in weights:
            parts = [named[name] for name in weight.theirs]
            if len({part.shape for part in parts}) > 1:
                shapes = ", ".join(f"{name} {list(named[name].shape)}" for name in weight.theirs)
                raise ModelError(f"tensors that belong together differ in shape: {shapes}.")
            state[weight.ours] = parts[0] if len(parts) == 1 else torch.cat(parts)
        return state, dropped

    def has_head(self, tensors: Mapping[str, Tensor], config: EncoderConfig) -> bool:
        """Whether a checkpoint holds a head for masked language modelling; its output bias tells.

        Classifiers of some families have the dense layer and the norm as well.
        """
        return self._output_bias(config) in self._sort(tensors)[0]

    def read_extras(self, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return the other heads that a checkpoint holds whole, each under its own names here."""
        named = {self.spelling.modern(name): tensor for name, tensor in tensors.items()}
        return {
            name: {one.ours.removeprefix(f"{name}."): named[one.theirs[0]] for one in extra.weights}
            for name, extra in self.extras.items()
            if all(one.theirs[0] in named for one in extra.weights)
        }

    def _output_bias(self, config: EncoderConfig) -> str:
        return next(one.theirs[0] for one in self.weights(config) if one.ours == f"{_HEAD}bias")

    def _head_names(self, config: EncoderConfig) -> set[str]:
        return {name for one in self.weights(config) if one.ours.startswith(_HEAD) for name in one.theirs}

    def _sort(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Bring names up to date, fold twins into one and set aside what nothing here reads."""
        named: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            modern = self.spelling.modern(name)
            if modern in named:
                raise ModelError(f"two tensors of the checkpoint are {modern!r}, one of them spelt {name!r}.")
            named[modern] = tensor
        dropped = sorted(name for name in named if re.search(self.spelling.unused, name))
        for name in dropped:
            del named[name]
        for twin, first in self.spelling.twins.items():
            if twin not in named:
                continue
            tensor = named.pop(twin)
            if not torch.equal(named.setdefault(first, tensor), tensor):
                raise ModelError(
                    f"{twin!r} differs from {first!r}: models whose output matrix is not their embedding "
                    "matrix are not supported."
                )
        return named, dropped


def _compare(expected: set[str], given: set[str]) -> None:
    said = []
    if missing := sorted(expected - given):
        said.append(
            f"{len(missing)} of {len(expected)} tensors are missing from the checkpoint, first {missing[0]!r}"
        )
    if unexpected := sorted(given - expected):
        said.append(
            f"{len(unexpected)} tensors in the checkpoint have no place in the model, first {unexpected[0]!r}"
        )
    if said:
        raise ModelError("; ".join(said) + ".")


def need(config: Mapping[str, Any], key: str, allowed: tuple[Any, ...], default: Any) -> None:
    """Refuse a configuration whose ``key`` (``default`` when absent) asks for what is not supported."""
    value = config.get(key, default)
    if value not in allowed:
        usual = " or ".join(repr(one) for one in allowed)
        raise ModelError(f"config.json: {key}={value!r} is not supported, only {usual}.")


def shape(config: Mapping[str, Any], names: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Read plain fields: ours -> (stock key, stock default); a value of another kind is refused by name."""
    read = {}
    for ours, (key, default) in names.items():
        value = config.get(key, default)
        kinds = (int, float) if isinstance(default, float) else (int,)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ModelError(f"config.json: {key}={value!r} must be a number ({default} in the paper's model).")
        read[ours] = float(value) if isinstance(default, float) else value
    return read


def read_activation(config: Mapping[str, Any], key: str, default: str = "gelu") -> Activation:
    """Return the activation that ``config`` names under ``key``."""
    given = config.get(key, default)
    for activation, names in _ACTIVATION_NAMES.items():
        if given in names:
            return activation
    known = ", ".join(name for names in _ACTIVATION_NAMES.values() for name in names)
    raise ModelError(f"config.json: {key}={given!r} is not supported; supported are {known}.")


def write_activation(activation: Activation) -> str:
    """Return the stock name of an activation."""
    return _ACTIVATION_NAMES[activation][0]


def both(ours: str, *theirs: str) -> list[Weight]:
    """Return the weight and the bias of one layer; several stock layers are stacked."""
    return [Weight(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs)) for kind in ("weight", "bias")]


def layers(stock: Sequence[str], queries: Sequence[str], names: Sequence[tuple[str, str]]) -> list[Weight]:
    """Return the weights of layers under the stock prefixes ``stock``, each with queries, keys and values apart.

    ``queries`` are the stock names of those three, ``names`` pairs of ours and theirs for everything else.
    """
    found = []
    for index, theirs in enumerate(stock):
        ours = f"encoder.layers.{index}"
        found += both(f"{ours}.attention.qkv", *(f"{theirs}.{part}" for part in queries))
        for here, there in names:
            found += both(f"{ours}.{here}", f"{theirs}.{there}")
    return found


def insist(config: EncoderConfig, family: str, **required: Any) -> None:
    """Refuse to write an encoder that ``family`` has no configuration for."""
    for key, value in required.items():
        if getattr(config, key) != value:
            raise ModelError(f"{family} has no {key}={getattr(config, key)!r}: its models have {key}={value!r}.")
