"""Masked language models, from raw text to a filled mask.

The public names load on first use: importing the package is cheap, and its heavy parts come when needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clozelm.data.prepare import prepare
    from clozelm.data.store import TokenStore
    from clozelm.errors import ClozeError
    from clozelm.flows.adapt import adapt
    from clozelm.flows.finetuned import finetune
    from clozelm.flows.model import Model, evaluate, load
    from clozelm.flows.training import recipe
    from clozelm.hub.convert import convert
    from clozelm.hub.fetch import fetch
    from clozelm.hub.inspect import inspect
    from clozelm.infer.fill_mask import Candidate
    from clozelm.infer.predict import Predictor
    from clozelm.text.tokenizer import Tokenizer
    from clozelm.text.train_tokenizer import train as train_tokenizer
    from clozelm.train.pretrain import StepReport, pretrain
    from clozelm.train.settings import PretrainSettings

__version__ = "0.1.0"

__all__ = [
    "Candidate",
    "ClozeError",
    "Model",
    "Predictor",
    "PretrainSettings",
    "StepReport",
    "TokenStore",
    "Tokenizer",
    "__version__",
    "adapt",
    "convert",
    "evaluate",
    "fetch",
    "finetune",
    "inspect",
    "load",
    "prepare",
    "pretrain",
    "recipe",
    "train_tokenizer",
]

# Public name -> "module:name", where it lives. Type checkers read the imports above; a test keeps both equal.
_HOMES = {
    "Candidate": "clozelm.infer.fill_mask:Candidate",
    "ClozeError": "clozelm.errors:ClozeError",
    "Model": "clozelm.flows.model:Model",
    "Predictor": "clozelm.infer.predict:Predictor",
    "PretrainSettings": "clozelm.train.settings:PretrainSettings",
    "StepReport": "clozelm.train.pretrain:StepReport",
    "TokenStore": "clozelm.data.store:TokenStore",
    "Tokenizer": "clozelm.text.tokenizer:Tokenizer",
    "adapt": "clozelm.flows.adapt:adapt",
    "convert": "clozelm.hub.convert:convert",
    "evaluate": "clozelm.flows.model:evaluate",
    "finetune": "clozelm.flows.finetuned:finetune",
    "fetch": "clozelm.hub.fetch:fetch",
    "inspect": "clozelm.hub.inspect:inspect",
    "load": "clozelm.flows.model:load",
    "prepare": "clozelm.data.prepare:prepare",
    "pretrain": "clozelm.train.pretrain:pretrain",
    "recipe": "clozelm.flows.training:recipe",
    "train_tokenizer": "clozelm.text.train_tokenizer:train",
}


def __getattr__(name: str) -> Any:
    """Import the home of a public name on first use and remember the name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clozelm' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(_HOMES))
