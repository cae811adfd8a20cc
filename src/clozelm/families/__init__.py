"""Named architectures, by the ``model_type`` of their ``config.json``."""

from __future__ import annotations

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

__all__ = ["FAMILIES", "Family", "named"]


def named(name: str) -> Family:
    """Return the family of that ``model_type``."""
    if name not in FAMILIES:
        raise ModelError(f"model_type {name!r} is not supported; supported are {', '.join(FAMILIES)}.")
    return FAMILIES[name]
