"""What a run is made of, put together from its settings: the encoder's shape, the objective, its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from clozelm.data.cooccurrence import cooccurrences
from clozelm.data.store import TokenStore
from clozelm.errors import DataError, ModelError, SettingsError
from clozelm.families import FAMILIES
from clozelm.hub.load import Loaded, load, model_directory
from clozelm.masking.sentinels import most_sentinels
from clozelm.nn.config import EncoderConfig
from clozelm.nn.decoder import EncoderDecoder, EncoderDecoderConfig
from clozelm.nn.encoder import initialise
from clozelm.nn.heads import MaskedLM
from clozelm.nn.neighbours import look_beside, reserved_dims
from clozelm.nn.word_vectors import begin_with, word_vectors
from clozelm.objectives import Objective
from clozelm.objectives.clm import CAUSAL, CausalPrediction
from clozelm.objectives.diffusion import MaskedDiffusion
from clozelm.objectives.distill import Distillation
from clozelm.objectives.hybrid import MASKED_NEXT, Hybrid
from clozelm.objectives.mlm import MaskedPrediction
from clozelm.objectives.pairs import NextSentence, SentenceOrder
from clozelm.objectives.rtd import ReplacedTokens
from clozelm.objectives.span_corruption import SpanCorruption
from clozelm.rng import seed_for
from clozelm.text.tokenizer import Tokenizer
from clozelm.train.settings import DistillSettings, ModelSettings, ObjectiveSettings, PretrainSettings
from clozelm.train.student import student_config, take_layers
from clozelm.types import Reading

_READINGS = {"clm": CAUSAL, "hybrid": MASKED_NEXT}
_NOT_SHAPE = {"family", "size", "start", "unigram_bias", "look_beside", "word_vectors", "context"}


@dataclass(frozen=True)
class Given:
    """Models on disk that a run begins with: the one to go on with, and the one to learn from."""

    start: Loaded | None
    teacher: Loaded | None

    @classmethod
    def open(cls, settings: PretrainSettings, tokenizer: Tokenizer) -> Given:
        """Read what the settings name; models of another family or tokenizer are refused."""
        start = settings.model.start
        return cls(
            None if start is None else _start(start, settings, tokenizer),
            _teacher(settings.objective, tokenizer) if settings.objective.name == "distill" else None,
        )


def encoder_config(settings: PretrainSettings, tokenizer: Tokenizer, given: Given) -> EncoderConfig:
    """Return the encoder that the settings ask for, around the tokenizer's vocabulary."""
    config = _config(settings, tokenizer, given)
    family = FAMILIES[settings.model.family]
    family.write_config(config, tokenizer.vocabulary)  # now, not after training, say what could not be saved
    if settings.data.row_length > config.max_positions:
        raise SettingsError(
            f"data.row_length={settings.data.row_length} is longer than model.max_positions="
            f"{config.max_positions}: shorten the rows or raise model.max_positions."
        )
    return config


def build_objective(
    settings: PretrainSettings, config: EncoderConfig, store: TokenStore, tokenizer: Tokenizer, given: Given
) -> Objective:
    """Return the objective with its models, their weights drawn anew, started from others, or half and half.

    Word vectors are not among them yet: see ``begin_words``.
    """
    name = settings.objective.name
    generator = torch.Generator().manual_seed(seed_for(settings.run.seed, "weights"))
    if name == "rtd":
        return _detection(settings, config, store, tokenizer, generator)
    if name == "span_corruption":
        return _spans(settings, config, store, tokenizer, generator)
    masked_lm = MaskedLM(config, Reading(settings.model.context))
    masked_lm.initialise(generator)
    if given.start is not None:
        masked_lm.load_state_dict(given.start.model.state_dict())
    elif given.teacher is not None:
        take_layers(masked_lm, given.teacher.model)
    elif settings.model.look_beside:
        look_beside(masked_lm.encoder, generator, "left" if name == "clm" else settings.model.context)
    if given.teacher is None and (given.start is None or given.start.has_new_head):
        _start_bias(masked_lm, settings, store)
    if given.teacher is not None:
        return _distillation(masked_lm, given.teacher.model, settings.objective.distill)
    if name == "mlm":
        return MaskedPrediction(masked_lm)
    if name == "clm":
        return CausalPrediction(masked_lm)
    if name == "diffusion":
        return MaskedDiffusion(masked_lm)
    if name == "hybrid":
        return Hybrid(masked_lm, causal=settings.objective.hybrid.causal)
    kind = NextSentence if name == "nsp" else SentenceOrder
    paired = kind(masked_lm, pair_weight=settings.objective.pair_weight)
    initialise(paired.pair, config.init_std, generator)
    if given.start is not None and name in given.start.heads:
        paired.pair.load_state_dict(given.start.heads[name])
    return paired


def begin_words(objective: Objective, settings: PretrainSettings, store: TokenStore, tokenizer: Tokenizer) -> None:
    """Give the objective's models word vectors of the data, where the settings ask for them."""
    if not settings.model.word_vectors:
        return
    found = cooccurrences(store, tokenizer.vocabulary.is_special, store.unigram_counts())
    generator = torch.Generator().manual_seed(seed_for(settings.run.seed, "word vectors"))
    model = objective.model if isinstance(objective, SpanCorruption) else objective.masked_lm
    reserved = reserved_dims(model.encoder) if settings.model.look_beside else 0
    width = model.encoder.config.embedding_width - reserved
    begin_with(model, word_vectors(torch.from_numpy(found.counts), width, generator))


def _detection(
    settings: PretrainSettings,
    config: EncoderConfig,
    store: TokenStore,
    tokenizer: Tokenizer,
    generator: torch.Generator,
) -> ReplacedTokens:
    if settings.model.start is not None:
        raise SettingsError("model.start has no use with objective.name=rtd: its two models begin together.")
    family, section = FAMILIES[settings.model.family], settings.objective.rtd
    if "replaced" not in family.extras:
        able = ", ".join(one.name for one in FAMILIES.values() if "replaced" in one.extras)
        raise SettingsError(
            f"objective.name=rtd needs a family that can hold a discriminator: {able}, not {family.name}."
        )
    if (section.generator_layers or 0) > config.num_layers:
        raise SettingsError(
            f"objective.rtd.generator_layers={section.generator_layers} is more than the discriminator's "
            f"{config.num_layers}: a generator is the smaller of the two."
        )
    detector = ReplacedTokens(
        config, generator=section.generator, generator_layers=section.generator_layers, weight=section.weight
    )
    try:
        family.write_config(detector.masked_lm.config, tokenizer.vocabulary)  # the generator is saved as well
    except ModelError as error:
        raise SettingsError(
            f"objective.rtd.generator={section.generator} makes a generator that {family.name} cannot hold: "
            f"{error} A generator may also be smaller by its layers: objective.rtd.generator=1 and "
            f"objective.rtd.generator_layers={max(1, config.num_layers // 2)}."
        ) from None
    initialise(detector, config.init_std, generator)
    if settings.model.look_beside:
        look_beside(detector.discriminator.encoder, generator)
        look_beside(detector.masked_lm.encoder, generator)
    _start_bias(detector.masked_lm, settings, store)
    return detector


def _spans(
    settings: PretrainSettings,
    config: EncoderConfig,
    store: TokenStore,
    tokenizer: Tokenizer,
    generator: torch.Generator,
) -> SpanCorruption:
    if settings.model.start is not None:
        raise SettingsError(
            "model.start has no use with objective.name=span_corruption: encoder and decoder begin together."
        )
    section, masking = settings.objective.span_corruption, settings.masking
    rate = max(masking.rate, masking.rate_end or 0.0, settings.evaluation.rate)
    length = settings.data.row_length - 2  # [CLS] and [SEP] stay
    most = most_sentinels(length, rate=rate, mean_span=section.mean_span)
    if most > section.sentinels:
        raise SettingsError(
            f"A row of data.row_length={settings.data.row_length} may need {most} sentinels, where unknown pieces "
            f"divide its spans, but objective.span_corruption.sentinels={section.sentinels}: set it to {most}, or "
            "shorten the rows."
        )
    shape = EncoderDecoderConfig(
        replace(config, vocab_size=config.vocab_size + section.sentinels),
        decoder_layers=section.decoder_layers or config.num_layers,
        sentinels=section.sentinels,
        start_id=tokenizer.vocabulary.cls_id,
    )
    model = EncoderDecoder(shape)
    model.initialise(generator)
    if settings.model.look_beside:
        look_beside(model.encoder, generator)
    _start_bias(model, settings, store)
    return SpanCorruption(model, mean_span=section.mean_span)


def _config(settings: PretrainSettings, tokenizer: Tokenizer, given: Given) -> EncoderConfig:
    model = settings.model
    changes = model.model_dump(exclude=_NOT_SHAPE, exclude_none=True)
    if (given.start or given.teacher) and model.size != ModelSettings().size:
        raise SettingsError(
            f"model.size={model.size} has no use with model.start or a teacher, whose shape is taken: leave it out."
        )
    if (given.start or given.teacher) and model.look_beside:
        raise SettingsError("model.look_beside has no use with model.start or a teacher, whose weights are taken.")
    if (given.start or given.teacher) and model.word_vectors:
        raise SettingsError("model.word_vectors has no use with model.start or a teacher, whose weights are taken.")
    if given.start is not None:
        return _restarted(given.start.model.config, model, changes)
    if given.teacher is not None:
        return student_config(given.teacher.model.config, given.teacher.family.name, model.family, changes)
    changes = {"dropout": 0.0, "attention_dropout": 0.0} | changes
    pad_id = tokenizer.vocabulary.pad_id
    return FAMILIES[model.family].preset(model.size, tokenizer.vocab_size, pad_id=pad_id, **changes)


def _restarted(config: EncoderConfig, model: ModelSettings, given: dict[str, object]) -> EncoderConfig:
    """Return the shape of the model to go on with; what its weights do not fix may be changed."""
    free = {"dropout", "attention_dropout"} | (
        {"max_positions", "window", "rope_theta"} if config.rotary else set()
    )
    for key, value in given.items():
        if key not in free and getattr(config, key) != value:
            raise SettingsError(
                f"model.{key}={value} does not fit model.start={model.start}, which has {getattr(config, key)}: "
                f"leave it out. Free are {', '.join(sorted(free))}."
            )
    return replace(config, **{key: value for key, value in given.items() if key in free})  # type: ignore[arg-type]


def _start(directory: str, settings: PretrainSettings, tokenizer: Tokenizer) -> Loaded:
    model, loaded = settings.model, load(model_directory(directory), new_head=True)
    reading = _READINGS.get(settings.objective.name, Reading(model.context))
    if loaded.model.reading not in (Reading(), reading):
        raise SettingsError(
            f"model.start={directory} was trained to read {loaded.model.reading.words}, and this run would read "
            f"{reading.words}: choose the objective.name and model.context that it was trained with."
        )
    if loaded.family.name != model.family:
        raise SettingsError(
            f"model.start={directory} is a {loaded.family.name}, but model.family={model.family}: "
            f"set model.family={loaded.family.name}."
        )
    _same_tokenizer(loaded, "model.start", directory, tokenizer)
    return loaded


def _same_tokenizer(loaded: Loaded, setting: str, directory: str, tokenizer: Tokenizer) -> None:
    if loaded.tokenizer.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"{setting}={directory} has tokenizer {loaded.tokenizer.fingerprint}, but the token store was prepared "
            f"with {tokenizer.fingerprint}: prepare the corpus with --tokenizer {directory}."
        )


def _start_bias(masked_lm: MaskedLM | EncoderDecoder, settings: PretrainSettings, store: TokenStore) -> None:
    if settings.model.unigram_bias:
        masked_lm.head.start_from(store.unigram_counts())


def _teacher(section: ObjectiveSettings, tokenizer: Tokenizer) -> Loaded:
    directory = section.distill.teacher
    if directory is None:
        raise SettingsError(
            "objective.name=distill needs a teacher: set objective.distill.teacher to a model directory."
        )
    teacher = load(model_directory(directory))
    _same_tokenizer(teacher, "objective.distill.teacher", directory, tokenizer)
    if teacher.model.reading != Reading():
        raise SettingsError(
            f"objective.distill.teacher={directory} does not read as BERT does, from both sides and each piece in "
            "its place: its vectors would be taken for what they are not."
        )
    return teacher


def _distillation(masked_lm: MaskedLM, teacher: MaskedLM, section: DistillSettings) -> Distillation:
    weights = {"mlm": section.mlm, "soft": section.soft, "cosine": section.cosine}
    return Distillation(
        masked_lm, teacher, weights=weights, temperature=section.temperature, positions=section.positions
    )
