"""Every setting of a fine-tuning, with its default, its meaning and where the default comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from clozelm.errors import SettingsError
from clozelm.train.section import Section, setting
from clozelm.train.settings import CheckpointSettings


class ModelSettings(Section):
    """What of the encoder is kept, and what is trained."""

    dropout: float | None = setting(
        None, "Dropout of hidden vectors and before the classes; none = the model's own.", "", ge=0.0, lt=1.0
    )
    attention_dropout: float | None = setting(
        None, "Dropout of attention weights; none = the model's own.", "", ge=0.0, lt=1.0
    )
    reinit_layers: int = setting(0, "Top layers whose weights are drawn anew.", "Zhang et al. 2021", ge=0)
    freeze_layers: int = setting(
        0, "Lowest layers left as they are, the embeddings with them.", "Lee et al. 2019", ge=0
    )
    lora_rank: int | None = setting(
        None,
        "Rank of the updates of the layers' matrices, all else but the head fixed; none = train all.",
        "",
        ge=1,
    )
    lora_alpha: float = setting(16.0, "Scale of those updates, divided by the rank.", "Hu et al. 2021", gt=0.0)


class DataSettings(Section):
    """How examples become batches."""

    batch_size: int = setting(32, "Examples of one optimiser update.", "Devlin et al. 2018, A.3: 16 or 32", ge=1)
    max_length: int | None = setting(
        None,
        "Most pieces of a sequence, special ones included; none = the model's positions, at most 512.",
        "",
        ge=4,
    )
    micro_batch_tokens: int = setting(
        8192, "Most pieces computed at once; fewer than a batch has means gradient accumulation.", "", ge=16
    )


class OptimSettings(Section):
    """The update, AdamW's."""

    learning_rate: float | None = setting(
        None,
        "Peak learning rate; none = 5e-5 x (768 / hidden size)^2, at most 5e-4.",
        "Devlin et al. 2018, A.3; docs/LOG.md",
        gt=0.0,
    )
    head_factor: float = setting(1.0, "The head's learning rate, as a multiple.", "", gt=0.0)
    layer_decay: float = setting(
        1.0,
        "Each layer learns so much slower than the one above it.",
        "0.8 to 0.95 in Clark et al. 2020, B",
        gt=0.0,
        le=1.0,
    )
    weight_decay: float = setting(0.01, "Decoupled decay of matrices.", "Devlin et al. 2018, A.2", ge=0.0)
    beta1: float = setting(0.9, "First decay of AdamW.", "Devlin et al. 2018, A.2", ge=0.0, lt=1.0)
    beta2: float = setting(0.999, "Second decay of AdamW.", "Devlin et al. 2018, A.2", ge=0.0, lt=1.0)
    eps: float = setting(1e-6, "Added to AdamW's denominator.", "BERT's code", gt=0.0)
    clip_norm: float | None = setting(1.0, "Largest gradient norm; none = no clipping.", "BERT's code", gt=0)


class ScheduleSettings(Section):
    """How the learning rate moves; factors of the peak."""

    kind: Literal["linear", "cosine", "constant"] = setting("linear", "Shape after the warm-up.", "BERT's code")
    warmup: float = setting(0.1, "Share of the steps that warm up.", "BERT's code", ge=0.0, lt=1.0)


class BudgetSettings(Section):
    """How long to train."""

    epochs: float = setting(
        3.0,
        "Times that every example is seen; 0 only measures a prompt.",
        "Devlin et al. 2018, A.3: 2 to 4",
        ge=0.0,
    )
    patience: int | None = setting(
        None, "Evaluations without a better one after which training ends; none = train to the end.", "", ge=1
    )


class LossSettings(Section):
    """What counts how much."""

    class_weights: Literal["none", "balanced"] = setting(
        "none", "balanced: every class has the same say, however rare it is (one label of several only)."
    )


class EvaluationSettings(Section):
    """How often the development set is answered; the best of these models is kept."""

    every: float = setting(1.0, "Epochs between evaluations.", "", gt=0.0)
    metric: str | None = setting(
        None, "Figure that says which model is best; none = accuracy, micro_f1, pearson or, for tags, f1."
    )


class RunSettings(Section):
    """The machine side."""

    seed: int = setting(0, "Seed of the new head, order and dropout.", "", ge=0)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "Arithmetic of the matrix products; auto measures which is faster here."
    )
    device: str = setting("auto", "cpu, cuda or cuda:N; auto = a GPU where there is one.")
    threads: int | None = setting(None, "CPU threads; none = all cores.", "", ge=1)


class SearchSettings(Section):
    """What ``--search`` tries; everything else stays as it is set."""

    learning_rate_low: float = setting(
        0.333, "Least peak learning rate tried, as a multiple of optim.learning_rate.", "", gt=0.0
    )
    learning_rate_high: float = setting(
        6.0, "Largest one, as such a multiple: small models and few examples want more.", "", gt=0.0
    )
    epochs: tuple[float, ...] = setting(
        (2.0, 3.0, 5.0), "Values of budget.epochs tried.", "2, 3 and 4 in Devlin et al. 2018, A.3"
    )
    batch_size: tuple[int, ...] = setting((16, 32), "Values of data.batch_size tried.", "Devlin et al. 2018, A.3")

    @model_validator(mode="after")
    def _ranges(self) -> SearchSettings:
        low, high = self.learning_rate_low, self.learning_rate_high
        if low > high:
            raise ValueError(f"search.learning_rate_low={low:g} is more than search.learning_rate_high={high:g}")
        for name, values in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if not values or min(values) <= 0 or len(set(values)) < len(values):
                shown = ", ".join(f"{value:g}" for value in values)
                raise ValueError(f"search.{name}=[{shown}] must be one or more different numbers above 0")
        return self


class FinetuneSettings(Section):
    """A whole fine-tuning."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    optim: OptimSettings = OptimSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    budget: BudgetSettings = BudgetSettings()
    loss: LossSettings = LossSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    search: SearchSettings = SearchSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _lora(self) -> FinetuneSettings:
        model = self.model
        if model.lora_rank is not None and (model.reinit_layers or model.freeze_layers):
            given = "reinit_layers" if model.reinit_layers else "freeze_layers"
            raise ValueError(
                f"model.{given} has no use with model.lora_rank={model.lora_rank}, which trains no layer whole"
            )
        return self


def check_searched(overrides: Sequence[str], *, is_searched: bool) -> None:
    """Refuse ranges of a search where there is none."""
    unused = next((each.strip() for each in overrides if each.strip().startswith("search.")), None)
    if unused is not None and not is_searched:
        raise SettingsError(f"{unused} has no use without --search N, which tries N settings within those ranges.")
