"""Open a discriminator, which has a head for replaced tokens and none for masked ones."""

from __future__ import annotations

from pathlib import Path

from clozelm import families
from clozelm.errors import ModelError
from clozelm.hub.load import family_of, fitting_tokenizer, read_config
from clozelm.hub.weights import check_shapes, read_tensors
from clozelm.nn.heads import Discriminator
from clozelm.text.tokenizer import Tokenizer


def is_discriminator(directory: Path) -> bool:
    """Whether a model directory says that it holds a discriminator."""
    return families.is_discriminator(read_config(directory))


def load_discriminator(directory: str | Path) -> tuple[Discriminator, Tokenizer]:
    """Open the discriminator in ``directory``, in fp32 and evaluation mode, with its tokenizer."""
    directory = Path(directory)
    config = read_config(directory)
    family = family_of(config, directory)
    tensors = read_tensors(directory)
    heads = family.read_extras(tensors)
    if "replaced" not in heads:
        raise ModelError(f"{directory} has no head for replaced tokens: only discriminators do.")
    try:
        model = Discriminator(family.read_config(config))
        state, _ = family.from_stock(tensors, model.config, encoder_only=True)
        state |= {f"replaced.{name}": tensor for name, tensor in heads["replaced"].items()}
        model.load_state_dict(state)
    except ModelError as error:
        raise ModelError(f"{directory}: {error}") from None
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise ModelError(f"{directory}: its weights do not fit config.json: {reason}.") from error
    check_shapes(model, state, directory)
    tokenizer = fitting_tokenizer(directory, model.config)
    return model.float().eval(), tokenizer
