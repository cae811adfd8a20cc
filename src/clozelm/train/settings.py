"""Every setting of a pretraining run, with its default, its meaning and where the default comes from."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from clozelm.train.masking_settings import MaskingSettings
from clozelm.train.section import Section, setting


class ModelSettings(Section):
    """The encoder; what is left out comes from the family's named size."""

    family: Literal["bert", "roberta", "albert", "distilbert", "electra", "modernbert"] = setting(
        "bert", "Architecture.", "Devlin et al. 2018"
    )
    size: str = setting("tiny", "Named size of the family: tiny, small or base.")
    start: str | None = setting(None, "Model directory to go on with; the shape is then its own.")
    num_layers: int | None = setting(None, "Layers; none = the size's own.", ge=1, le=1000)
    hidden_size: int | None = setting(None, "Width of the vectors; none = the size's own.", ge=1, le=100_000)
    num_heads: int | None = setting(None, "Attention heads; none = the size's own.", ge=1, le=10_000)
    intermediate_size: int | None = setting(
        None, "Width of the perceptron; none = the size's own.", ge=1, le=500_000
    )
    max_positions: int | None = setting(
        None, "Longest document piece in tokens; none = the size's own.", ge=8, le=500_000
    )
    embedding_size: int | None = setting(
        None, "Width of narrow embeddings; none = the size's own.", ge=1, le=100_000
    )
    num_groups: int | None = setting(
        None, "Groups of layers with shared weights; none = the size's own.", ge=1, le=1000
    )
    rope_theta: float | None = setting(None, "Rotary base of global layers; none = the size's own.", gt=1.0)
    window: int | None = setting(None, "Width of local attention in tokens; none = the size's own.", ge=2)
    global_every: int | None = setting(None, "Every n-th layer sees the whole document; none = the size's.", ge=1)
    context: Literal["both", "left", "right"] = setting(
        "both", "Which tokens of its document a token sees: itself and those on this side."
    )
    unigram_bias: bool = setting(
        True, "Start the output bias at the log frequencies of the pieces, not at 0.", "Karpathy 2019"
    )
    look_beside: bool = setting(
        False,
        "Begin with heads that look at the tokens beside their own, not everywhere alike.",
        "Trockman & Kolter 2023",
    )
    word_vectors: bool = setting(
        False,
        "Begin with vectors of which pieces are neighbours in the data, and a first layer that passes them on.",
        "Levy & Goldberg 2014",
    )
    use_bias: bool | None = setting(None, "Biases in linear layers and norms; none = the size's own.")
    init_std: float | None = setting(None, "Spread of initial weights; none = the size's own.", gt=0.0)
    dropout: float | None = setting(
        None,
        "Dropout of hidden vectors; none = 0, or as model.start or the teacher has it.",
        "0.1 in BERT",
        ge=0.0,
        lt=1.0,
    )
    attention_dropout: float | None = setting(
        None,
        "Dropout of attention weights; none = 0, or as model.start or the teacher has it.",
        "0.1 in BERT",
        ge=0.0,
        lt=1.0,
    )


class DataSettings(Section):
    """How tokens become rows."""

    row_length: int = setting(128, "Tokens in a packed row.", "Devlin et al. 2018, A.2: 128, then 512", ge=16)
    unit: Literal["document", "sentence"] = setting(
        "document",
        "What is read as a text of its own: a document as far as a row reaches, or each of its sentences.",
    )
    tokens_per_step: int = setting(
        4096, "Tokens of one optimiser update, padding included.", "", ge=16, le=100_000_000
    )
    micro_batch_tokens: int = setting(
        16384,
        "Most tokens computed at once; smaller than tokens_per_step means gradient accumulation.",
        "",
        ge=16,
        le=100_000_000,
    )


class RtdSettings(Section):
    """Replaced-token detection."""

    generator: float = setting(0.25, "Width of the generator as a share.", "Clark et al. 2020, 3.2", gt=0.0, le=1.0)
    generator_layers: int | None = setting(
        None, "Layers of the generator; none = as many as the discriminator.", "He et al. 2021: half", ge=1, le=1000
    )
    weight: float = setting(50.0, "Weight of the discriminator's loss.", "Clark et al. 2020, A", gt=0.0)


class HybridSettings(Section):
    """Masked and causal prediction in one model."""

    causal: float = setting(
        0.5, "Share of rows read causally; the others are masked.", "Charpentier & Samuel 2024", gt=0.0, lt=1.0
    )


class DistillSettings(Section):
    """Distillation; weights of its three losses."""

    teacher: str | None = setting(None, "Model directory that is learned from.")
    temperature: float = setting(2.0, "Divides the logits of both.", "DistilBERT's code", gt=0.0)
    soft: float = setting(5.0, "Weight of the divergence from the teacher.", "DistilBERT's code", ge=0.0)
    mlm: float = setting(2.0, "Weight of the original pieces.", "DistilBERT's code", ge=0.0)
    cosine: float = setting(1.0, "Weight of the angle between last vectors.", "DistilBERT's code", ge=0.0)
    positions: Literal["all", "predicted"] = setting("all", "Where the two are compared.", "DistilBERT's code")

    @model_validator(mode="after")
    def _weights(self) -> DistillSettings:
        if self.soft + self.mlm + self.cosine == 0.0:
            raise ValueError("objective.distill.soft, mlm and cosine are all 0: nothing would be learned")
        return self


class SpanCorruptionSettings(Section):
    """Span corruption: an encoder-decoder writes the spans that sentinels stand for."""

    mean_span: float = setting(3.0, "Mean length of a span in tokens.", "Raffel et al. 2020, 3.3.4", ge=1.0)
    sentinels: int = setting(100, "Spans a document piece may have, and one.", "T5's code", ge=2, le=10_000)
    decoder_layers: int | None = setting(
        None, "Layers of the decoder; none = as many as the encoder.", "", ge=1, le=1000
    )


class ObjectiveSettings(Section):
    """What is learned."""

    name: Literal["mlm", "nsp", "sop", "rtd", "distill", "clm", "hybrid", "diffusion", "span_corruption"] = setting(
        "mlm",
        "mlm; nsp, sop: mlm and sentence pairs; rtd: ELECTRA's; distill: from a teacher; clm: GPT's; "
        "hybrid: mlm and clm; diffusion: mlm at any rate; span_corruption: T5's.",
    )
    pair_weight: float = setting(1.0, "Weight of nsp or sop beside mlm.", "Devlin et al. 2018, A.2", gt=0.0)
    rtd: RtdSettings = RtdSettings()
    hybrid: HybridSettings = HybridSettings()
    distill: DistillSettings = DistillSettings()
    span_corruption: SpanCorruptionSettings = SpanCorruptionSettings()

    @model_validator(mode="after")
    def _used(self) -> ObjectiveSettings:
        users = {
            "pair_weight": ("nsp", "sop"),
            "rtd": ("rtd",),
            "hybrid": ("hybrid",),
            "distill": ("distill",),
            "span_corruption": ("span_corruption",),
        }
        for field, names in users.items():
            default = type(self).model_fields[field].default
            if self.name not in names and getattr(self, field) != default:
                raise ValueError(
                    f"objective.{field} has no use with objective.name={self.name}: it is for {' and '.join(names)}"
                )
        return self


class OptimSettings(Section):
    """The update."""

    name: Literal["adamw", "muon"] = setting("adamw", "muon: matrices by Muon, the rest by AdamW.", "Jordan 2024")
    learning_rate: float = setting(1e-3, "Peak learning rate of AdamW; 1e-4 in BERT-base.", "", gt=0.0)
    muon_learning_rate: float = setting(0.02, "Peak learning rate of Muon.", "Jordan 2024", gt=0.0)
    scaling: Literal["original", "match_rms_adamw"] = setting(
        "original",
        "Muon's rate per matrix: sqrt(rows / columns), or as large as AdamW's.",
        "Liu et al. 2025, 2.2",
    )
    split: bool = setting(False, "Muon treats the parts of fused projections each by itself.")
    momentum: float = setting(0.95, "Momentum of Muon.", "Jordan 2024", ge=0.0, lt=1.0)
    weight_decay: float = setting(0.01, "Decoupled decay of matrices.", "Devlin et al. 2018, A.2", ge=0.0)
    beta1: float = setting(0.9, "First decay of AdamW.", "Devlin et al. 2018, A.2", ge=0.0, lt=1.0)
    beta2: float = setting(0.98, "Second decay of AdamW.", "Liu et al. 2019, 3.1", ge=0.0, lt=1.0)
    eps: float = setting(1e-6, "Added to AdamW's denominator.", "Liu et al. 2019, 3.1", gt=0.0)
    clip_norm: float | None = setting(1.0, "Largest gradient norm; none = no clipping.", "BERT's code", gt=0)


class ScheduleSettings(Section):
    """How the learning rate moves; factors of the peak."""

    kind: Literal["linear", "cosine", "wsd", "constant"] = setting("linear", "Shape after the warm-up.")
    warmup: float = setting(0.06, "Share of the steps that warm up.", "Liu et al. 2019, A", ge=0.0, lt=1.0)
    decay: float = setting(0.2, "Share of the steps that decay, for wsd.", "Hägele et al. 2024", ge=0.0, le=1.0)
    final: float = setting(0.0, "Factor at the last step.", "", ge=0.0, le=1.0)


class BudgetSettings(Section):
    """How long to train: exactly one of the three; an override replaces whichever the recipe has."""

    exclusive: ClassVar[bool] = True
    steps: int | None = setting(None, "Optimiser updates.", ge=1)
    tokens: int | None = setting(None, "Tokens, padding included.", ge=1)
    minutes: float | None = setting(None, "Minutes of optimiser steps; made a number of steps at the start.", gt=0)

    @model_validator(mode="after")
    def _one(self) -> BudgetSettings:
        given = [f"budget.{name}={value}" for name, value in self if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are several budgets: give one of them")
        return self


class EvaluationSettings(Section):
    """Held-out loss while training."""

    every: float = setting(0.1, "Share of the run between evaluations; 0 = only at the end.", ge=0.0, le=1.0)
    rate: float = setting(0.15, "Masking rate of the fixed masks.", "Devlin et al. 2018", gt=0.0, lt=1.0)
    tokens: int = setting(100_000, "Most held-out tokens looked at while training.", ge=16)


class CheckpointSettings(Section):
    """What a run keeps of itself."""

    every_minutes: float = setting(5.0, "Minutes between checkpoints.", gt=0)
    every_steps: int | None = setting(None, "Steps between checkpoints; none = by minutes.", ge=1)
    keep: int = setting(2, "Newest checkpoints kept.", ge=1)


class RunSettings(Section):
    """The machine side of a run."""

    seed: int = setting(0, "Seed of weights, order, masks and dropout.", ge=0)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "Arithmetic of the matrix products; auto measures which is faster here."
    )
    compile: Literal["auto", "yes", "no"] = setting("auto", "torch.compile; auto = on a GPU with a compiler.")
    device: str = setting("auto", "cpu, cuda or cuda:N; auto = a GPU where there is one.")
    threads: int | None = setting(None, "CPU threads; none = all cores.", ge=1, le=10_000)
    tensorboard: bool = setting(False, "Also write TensorBoard events.")
    log_every: int = setting(1, "Steps between journal records.", ge=1)


class PretrainSettings(Section):
    """A whole recipe."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    masking: MaskingSettings = MaskingSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    optim: OptimSettings = OptimSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    budget: BudgetSettings = BudgetSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _diffusion(self) -> PretrainSettings:
        if self.objective.name != "diffusion":
            return self
        masking = self.masking
        wanted = {
            "masking.strategy": (masking.strategy, "uniform"),
            "masking.schedule": (masking.schedule, "random"),
            "masking.corruption.mask": (masking.corruption.mask, 1),
            "masking.corruption.random": (masking.corruption.random, 0),
        }
        wrong = [f"{key}={needed} (now {found})" for key, (found, needed) in wanted.items() if found != needed]
        if wrong:
            raise ValueError(f"objective.name=diffusion needs {' and '.join(wrong)}")
        return self

    @model_validator(mode="after")
    def _context(self) -> PretrainSettings:
        if self.model.context != "both" and self.objective.name != "mlm":
            raise ValueError(
                f"model.context={self.model.context} has no use with objective.name={self.objective.name}: it is "
                "for mlm alone (clm sees the left side by itself)"
            )
        return self

    @model_validator(mode="after")
    def _rows(self) -> PretrainSettings:
        if self.data.tokens_per_step % self.data.row_length:
            raise ValueError(
                f"data.tokens_per_step={self.data.tokens_per_step} must be a multiple of "
                f"data.row_length={self.data.row_length}"
            )
        if self.masking.strategy == "span" and self.masking.span.longest > self.data.row_length - 2:
            raise ValueError(
                f"masking.span.longest={self.masking.span.longest} does not fit into a row of data.row_length="
                f"{self.data.row_length} tokens, two of which are special: use at most {self.data.row_length - 2}"
            )
        return self

    @model_validator(mode="after")
    def _units(self) -> PretrainSettings:
        if self.data.unit != "document" and self.objective.name in ("nsp", "sop"):
            raise ValueError(
                f"data.unit={self.data.unit} has no use with objective.name={self.objective.name}, whose pairs are "
                "parts of documents: use data.unit=document"
            )
        return self

    @model_validator(mode="after")
    def _spans(self) -> PretrainSettings:
        if self.objective.name != "span_corruption":
            return self
        mean_span = self.objective.span_corruption.mean_span
        if mean_span > self.data.row_length:
            raise ValueError(
                f"objective.span_corruption.mean_span={mean_span:g} is longer than a row of data.row_length="
                f"{self.data.row_length} (T5 uses 3)"
            )
        if self.masking.schedule == "random":
            raise ValueError("masking.schedule=random has no use with objective.name=span_corruption")
        return self

    @model_validator(mode="after")
    def _no_masks(self) -> PretrainSettings:
        reasons = {"span_corruption": "whose spans are its own", "clm": "which hides nothing"}
        reason = reasons.get(self.objective.name)
        for name in ("strategy", "corruption"):
            if reason and getattr(self.masking, name) != MaskingSettings.model_fields[name].default:
                raise ValueError(f"masking.{name} has no use with objective.name={self.objective.name}, {reason}")
        return self
