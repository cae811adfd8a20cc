"""`FillMask` gives what the `transformers` pipeline gives, without special tokens, which are no answers."""

from pathlib import Path

import pytest

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.infer.fill_mask import FillMask
from clozelm.infer.fillings import FillSettings
from clozelm.infer.joint import JointFill
from tests import tiny_models

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()

SENTENCES = {
    "tiny": ["the cat [MASK] on the mat.", "[MASK] is learning", "a powerful [MASK] sat on the [MASK]"],
    "rxnfp-bert-mlm": ["C C ( = O ) [MASK] c 1 c c c c c 1", "[MASK] c 1 c c c c c 1 >> [MASK]"],
}


@pytest.mark.parametrize("name", [*FAMILIES, "rxnfp-bert-mlm"])
def test_pipeline(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name in FAMILIES:
        directory, sentences = tmp_path / "model", SENTENCES["tiny"]
        hub.save(tiny_models.tiny_model(name), tiny_models.wordpiece(), directory, family=name)
    else:
        directory, sentences = request.getfixturevalue("shared") / "checkpoints" / name, SENTENCES[name]
    loaded = hub.load(directory)
    pipeline = transformers.pipeline("fill-mask", str(directory), device="cpu")
    for sentence, filled in zip(sentences, FillMask(loaded.model, loaded.tokenizer)(sentences), strict=True):
        specials = loaded.tokenizer.vocabulary.is_special
        answers = pipeline(sentence, top_k=5 + int(specials.sum()))
        lists = answers if isinstance(answers[0], list) else [answers]
        expected = [[each for each in one if not specials[each["token"]]][:5] for one in lists]
        assert [[c.id for c in mask] for mask in filled.masks] == [[a["token"] for a in m] for m in expected]
        for mask, others in zip(filled.masks, expected, strict=True):
            assert [c.probability for c in mask] == pytest.approx([a["score"] for a in others], abs=2e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_targets_of_one_piece(name: str, tmp_path: Path) -> None:
    """Probabilities among the whole vocabulary, as the pipeline gives them."""
    hub.save(tiny_models.tiny_model(name), tiny_models.wordpiece(), tmp_path / "model", family=name)
    loaded = hub.load(tmp_path / "model")
    pipeline = transformers.pipeline("fill-mask", str(tmp_path / "model"), device="cpu")
    wanted = ["cat", "dog", "powerful", "mat"]
    expected = pipeline("the [MASK] sat on the cat", targets=wanted)
    joint = JointFill(loaded.model, loaded.tokenizer, FillSettings(targets=tuple(wanted)))
    (found,) = joint("the [MASK] sat on the cat")
    assert [one.answers[0].text for one in found.fillings] == [one["token_str"] for one in expected]
    assert [one.probability for one in found.fillings] == pytest.approx([o["score"] for o in expected], abs=2e-5)
