"""Every objective can learn eight rows by heart: what it is given suffices, and its gradients lead there."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from clozelm.data.loader import Cursor, RowLoader
from clozelm.masking import Corruption, Masking, Uniform
from clozelm.nn.decoder import EncoderDecoder, EncoderDecoderConfig
from clozelm.nn.heads import MaskedLM
from clozelm.objectives import OBJECTIVES, Objective
from clozelm.objectives.clm import CausalPrediction
from clozelm.objectives.diffusion import MaskedDiffusion
from clozelm.objectives.distill import Distillation
from clozelm.objectives.hybrid import Hybrid
from clozelm.objectives.mlm import MaskedPrediction
from clozelm.objectives.pairs import NextSentence, SentenceOrder
from clozelm.objectives.rtd import ReplacedTokens
from clozelm.objectives.span_corruption import SpanCorruption
from clozelm.vocab import SENTENCE_START
from tests import tiny_models
from tests.memory_store import VOCABULARY, MemoryStore

WIDTH, ROWS, STEPS = 24, 8, 150
TAUGHT = {"mlm": 0.0, "soft": 1.0, "cosine": 1.0}


def fresh(**changes: int) -> MaskedLM:
    model = MaskedLM(tiny_models.tiny_config("bert", vocab_size=VOCABULARY.size, **changes))
    model.initialise(torch.Generator().manual_seed(0))
    return model


def teacher() -> MaskedLM:
    model = fresh(num_layers=2)
    tiny_models.perturb(model, 5)
    return model


def seq2seq() -> EncoderDecoder:
    config = tiny_models.tiny_config("bert", vocab_size=VOCABULARY.size + 10)
    model = EncoderDecoder(EncoderDecoderConfig(config, decoder_layers=2, sentinels=10, start_id=VOCABULARY.pad_id))
    model.initialise(torch.Generator().manual_seed(0))
    return model


MAKE: dict[str, Callable[[], Objective]] = {
    "mlm": lambda: MaskedPrediction(fresh()),
    "nsp": lambda: NextSentence(fresh()),
    "sop": lambda: SentenceOrder(fresh()),
    "rtd": lambda: ReplacedTokens(fresh().config, generator=0.5, weight=5.0),
    "distill": lambda: Distillation(fresh(), teacher(), weights=TAUGHT),
    "clm": lambda: CausalPrediction(fresh()),
    "hybrid": lambda: Hybrid(fresh(), causal=0.5),
    "diffusion": lambda: MaskedDiffusion(fresh()),
    "span_corruption": lambda: SpanCorruption(seq2seq()),
}


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_every_objective_is_made_here() -> None:
    assert MAKE.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_eight_rows_are_learned_by_heart(name: str, threads: None) -> None:
    torch.manual_seed(0)  # the pair heads draw their own first weights
    objective = MAKE[name]()
    store = MemoryStore([9] * 60)
    store.bits[::3] |= SENTENCE_START
    loader = RowLoader(store, VOCABULARY, row_length=WIDTH, seed=1, pairs=objective.pairs)
    rows, _ = loader.batch(Cursor(), ROWS)
    example = objective.prepare(rows, Masking(VOCABULARY, Uniform().select, Corruption(), seed=2, rate=0.3))
    if (
        example.draws is not None
    ):  # a generator that has learned them draws the original pieces: keep the first ones
        example = replace(example, draws=torch.full_like(example.draws, 0.999))
    counts = objective.counts(example)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        scores = objective(example)
        losses.append({term: float(one.loss_sum.detach()) / counts[term] for term, one in scores.items()})
        weights = {term: weight for term, weight in objective.weights.items() if weight}
        total = sum(weight * scores[term].loss_sum / counts[term] for term, weight in weights.items())
        assert isinstance(total, torch.Tensor)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    taught = {"soft", "cosine"}  # a smaller model does not become its teacher
    for term, first in losses[0].items():
        if term in taught:
            assert losses[-1][term] < 0.1 * first, (term, first, losses[-1][term])
        elif term == "clm":  # before the first piece of a document nothing tells which one it is
            read = getattr(example, "is_causal", torch.ones(ROWS, dtype=torch.bool)).numpy()
            beginnings = sum(len(np.unique(row[row > 0])) for row in rows.doc_ids[read])
            assert int(scores[term].correct) >= counts[term] - beginnings
        elif name != "distill":  # where masked pieces have no weight
            assert losses[-1][term] < 0.1, (term, losses[-1][term])
            assert scores[term].correct is None or int(scores[term].correct) == counts[term], term
