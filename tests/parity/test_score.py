"""Scores are what an obvious loop over `transformers` gives, for tiny models of every family and for real ones."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.hub.discriminator import load_discriminator
from clozelm.infer.score import Method, Scorer
from clozelm.nn.heads import Discriminator
from tests import tiny_models

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()

TINY = ["the cats sat on the mat.", "a powerful learning machine is learning", "dogs", "the cats ran on the mat."]
REAL = {
    "rxnfp-bert-mlm": ["C C ( = O ) O c 1 c c c c c 1", "C N . O >> C O", "[Pd] C C O"],
    "rxnmapper-albert-mlm": ["C C ( = O ) O c 1 c c c c c 1", "C N . O >> C O"],
    "sapiens-roberta-mlm-vh": ["Q V Q L V E S G G G", "E V Q L L"],
}


@torch.no_grad()
def by_hand(directory: Path, text: str, method: Method) -> list[float]:
    """Mask one piece after another, and with `within_word` the rest of its word; one forward pass each."""
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    encoded: Any = tokenizer(text, return_tensors="pt")
    ids, words = encoded["input_ids"][0], encoded.word_ids()
    found = []
    for place in range(1, len(ids) - 1):
        copy = ids.clone()
        for later in range(place, len(ids) - 1):
            is_rest = method == "within_word" and words[later] == words[place]
            if later == place or is_rest:
                copy[later] = tokenizer.mask_token_id
        logits = model(input_ids=copy[None]).logits[0, place]
        found.append(float(logits.log_softmax(-1)[ids[place]]))
    return found


@pytest.mark.parametrize("method", ["original", "within_word"])
@pytest.mark.parametrize("name", [*FAMILIES, *REAL])
def test_loop(name: str, method: Method, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name in FAMILIES:
        directory, texts = tmp_path / "model", TINY
        hub.save(tiny_models.tiny_model(name), tiny_models.wordpiece(), directory, family=name)
    else:
        directory, texts = request.getfixturevalue("shared") / "checkpoints" / name, REAL[name]
    loaded = hub.load(directory)
    for score in Scorer(loaded.model, loaded.tokenizer, method=method)(texts):
        expected = by_hand(directory, score.text, method)
        assert [p.log_probability for p in score.pieces] == pytest.approx(expected, rel=1e-4, abs=2e-5)
        assert score.log_probability == pytest.approx(sum(expected), rel=1e-4)


def test_discriminator(tmp_path: Path) -> None:
    model = Discriminator(tiny_models.tiny_config("electra"))
    tiny_models.perturb(model, 0)
    hub.save(model, tiny_models.wordpiece(), tmp_path / "model", family="electra")
    stock = transformers.AutoModelForPreTraining.from_pretrained(tmp_path / "model").eval()
    for score in Scorer(*load_discriminator(tmp_path / "model"))(TINY):
        ids = torch.tensor([[2, *(piece.id for piece in score.pieces), 3]])
        with torch.no_grad():
            expected = torch.log1p(-stock(input_ids=ids).logits[0, 1:-1].sigmoid()).tolist()
        assert [p.log_probability for p in score.pieces] == pytest.approx(expected, rel=1e-4, abs=2e-5)
