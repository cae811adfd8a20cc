"""Named architectures, by the ``model_type`` of their ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clozelm.errors import ModelError
from clozelm.families.albert import ALBERT
from clozelm.families.bert import BERT
from clozelm.families.distilbert import DISTILBERT
from clozelm.families.electra import ELECTRA
from clozelm.families.family import Family
from clozelm.families.modernbert import MODERNBERT
from clozelm.families.roberta import ROBERTA

FAMILIES: dict[str, Family] = {
    family.name: family for family in (BERT, ROBERTA, ALBERT, DISTILBERT, ELECTRA, MODERNBERT)
}

_DISCRIMINATORS = {one.extras["replaced"].architecture for one in FAMILIES.values() if "replaced" in one.extras}

__all__ = ["FAMILIES", "Family", "is_discriminator", "named"]


def is_discriminator(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is that of a model which finds replaced tokens."""
    architectures = config.get("architectures")
    return isinstance(architectures, list) and len(architectures) == 1 and architectures[0] in _DISCRIMINATORS


def named(name: str) -> Family:
    """Return the family of that ``model_type``."""
    if name not in FAMILIES:
        raise ModelError(f"model_type {name!r} is not supported; supported are {', '.join(FAMILIES)}.")
    return FAMILIES[name]
