"""In what a measure asks some arms another question than others, as their settings tell."""

from __future__ import annotations

from clozelm.families import FAMILIES
from clozelm.train.settings import PretrainSettings

_FILLED = ("masked_loss", "masked_accuracy", "bits_per_byte", "words_right")


def caveats(settings: PretrainSettings) -> dict[str, str]:
    """Return by the name of a measure what must be said of it where such an arm is compared with a masked model."""
    name = settings.objective.name
    if name == "rtd":
        section = settings.objective.rtd
        layers = settings.model.num_layers or FAMILIES[settings.model.family].sizes[settings.model.size].num_layers
        is_smaller = section.generator < 1.0 or (section.generator_layers or layers) < layers
        smaller = " smaller and" if is_smaller else ""
        said = f"that of its generator, which is{smaller} not the model that is kept"
        verdict = "by the verdicts of its discriminator, which are no probabilities"
        return dict.fromkeys((*_FILLED, "sentence_bits"), said) | {"pairs": verdict}
    if name == "clm":
        said = "it is told what stands before a piece and nothing after it"
        return dict.fromkeys(_FILLED, said) | {"sentence_bits": "a likelihood, of which others have a pseudo one"}
    if name == "span_corruption":
        said = "its decoder is asked, for each piece as the first of an answer that might be longer"
        return dict.fromkeys(("sentence_bits", "pairs"), said)
    if settings.model.context == "right":
        said = "of the word of a hidden piece it sees nothing, while others see its beginning"
        return dict.fromkeys(("sentence_bits", "pairs"), said)
    return {}
