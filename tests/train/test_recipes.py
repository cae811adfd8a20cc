"""Every shipped recipe trains, keeps models that open here and in `transformers`, and resumes bit for bit."""

from pathlib import Path

import pytest
import torch

from clozelm import hub
from clozelm.flows.training import recipe
from clozelm.train.settings import PretrainSettings
from tests import tiny_runs

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.usefixtures("known_machine")

RECIPES = sorted(path.stem for path in (Path(hub.__file__).parents[1] / "recipes").glob("*.toml"))
SHAPE = ("num_layers=4", "hidden_size=32", "num_heads=2", "intermediate_size=48")
KINDS = {"roberta": "bpe", "albert": "unigram"}


def shrunk(name: str, *overrides: str, steps: int = 4) -> PretrainSettings:
    """The recipe on a model of a few thousand weights and rows of 64 at most."""
    whole = recipe(name)
    small = [f"budget.steps={steps}", "run.precision=fp32", "run.threads=1", "evaluation.tokens=500"]
    small += ["data.row_length=64", "data.tokens_per_step=256", "data.micro_batch_tokens=128"]
    if not name.endswith("-long") and not name.startswith("distilbert"):
        small += [f"model.{each}" for each in SHAPE]
        if whole.model.max_positions is not None or whole.model.family != "modernbert":
            small.append("model.max_positions=64")
        if whole.model.family in ("albert", "electra"):
            small.append("model.embedding_size=16")
    elif name.endswith("-long"):
        small.append("model.max_positions=128")
    return recipe(name, *small, *overrides)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    texts = tiny_runs.abstracts(60)
    made = {}
    for kind in ("wordpiece", "bpe", "unigram"):
        folder = tmp_path_factory.mktemp(kind)
        made[kind] = tiny_runs.make_store(folder, texts, tiny_runs.tokenizer(texts, kind))
    return made


def prepared(name: str, stores: dict[str, Path], folder: Path) -> tuple[Path, list[str]]:
    """The store for a recipe, and what it begins with: a first phase or a teacher, trained here."""
    store = stores[KINDS.get(name.partition("-")[0], "wordpiece")]
    if name.endswith("-long"):
        first = name.removesuffix("-long")
        tiny_runs.trained(shrunk(first), store, folder / "first")
        return store, [f"model.start={folder / 'first'}"]
    if name.startswith("distilbert"):
        tiny_runs.trained(shrunk("bert-tiny"), store, folder / "teacher")
        return store, [f"objective.distill.teacher={folder / 'teacher'}"]
    return store, []


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str, stores: dict[str, Path], tmp_path: Path) -> None:
    store, begins = prepared(name, stores, tmp_path)
    chosen = shrunk(name, *begins)
    reports = tiny_runs.trained(chosen, store, tmp_path / "straight")
    tiny_runs.trained(chosen, store, tmp_path / "cut", stop_after=2)
    tiny_runs.trained(chosen, store, tmp_path / "cut")
    tiny_runs.assert_equal_runs(tmp_path / "straight", tmp_path / "cut")
    assert all(0 < report.loss < 20 and report.gradient_norm > 0 for report in reports)
    objective = chosen.objective.name
    extra = {"mlm": set(), "distill": {"soft", "cosine"}} | {
        name: {name} for name in ("nsp", "sop", "rtd", "diffusion")
    }
    terms = {key.removeprefix("heldout_").partition("_")[0] for key in reports[0].terms}
    assert terms == extra[objective]
    assert {key for key in reports[-1].terms if key.startswith("heldout_")} >= {
        f"heldout_{term}_loss" for term in extra[objective]
    }
    folder = "generator" if objective == "rtd" else "model"
    loaded = hub.load(tmp_path / "straight" / folder)
    stock = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "straight" / folder).eval()
    ids = torch.tensor([[2, 7, 9, 4, 30, 3]])
    batch = tiny_runs.one_row(ids)
    with torch.no_grad():
        assert (loaded.model(batch) - stock(ids).logits).abs().max() <= 2e-5


@pytest.mark.parametrize(("name", "architecture"), [("bert-tiny", "Bert"), ("albert-tiny", "Albert")])
def test_the_head_of_pairs_is_kept(name: str, architecture: str, stores: dict[str, Path], tmp_path: Path) -> None:
    """`transformers` finds every tensor of its pretraining class, and judges pairs as we do."""
    from clozelm.objectives import OBJECTIVES
    from clozelm.train.run import Run
    from clozelm.types import TokenBatch

    store, _ = prepared(name, stores, tmp_path)
    tiny_runs.trained(shrunk(name), store, tmp_path / "run")
    kind = getattr(transformers, f"{architecture}ForPreTraining")
    stock, report = kind.from_pretrained(tmp_path / "run" / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    run = Run.open(shrunk(name), data=store, out=tmp_path / "run")
    run.close()
    assert type(run.objective) is OBJECTIVES[shrunk(name).objective.name]
    ids = torch.tensor([[2, 7, 9, 3, 4, 30, 3]])
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    plain = tiny_runs.one_row(ids)
    batch = TokenBatch(ids, plain.doc_ids, plain.positions, segments)
    with torch.no_grad():
        answer = stock.eval()(ids, token_type_ids=segments)
        theirs = answer.seq_relationship_logits if architecture == "Bert" else answer.sop_logits
        run.objective.eval()
        ours = run.objective.pair(run.model.encoder(batch)[:, 0])
    assert (ours - theirs).abs().max() <= 2e-5


def test_the_discriminator_opens_in_transformers(stores: dict[str, Path], tmp_path: Path) -> None:
    from clozelm.errors import ModelError
    from clozelm.train.run import Run

    store, _ = prepared("electra-tiny", stores, tmp_path)
    tiny_runs.trained(shrunk("electra-tiny"), store, tmp_path / "run")
    stock, report = transformers.ElectraForPreTraining.from_pretrained(
        tmp_path / "run" / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    run = Run.open(shrunk("electra-tiny"), data=store, out=tmp_path / "run")
    run.close()
    ids = torch.tensor([[2, 7, 9, 4, 30, 3]])
    with torch.no_grad():
        ours = run.objective.eval().discriminator(tiny_runs.one_row(ids))
        assert (ours - stock.eval()(ids).logits).abs().max() <= 2e-5
    with pytest.raises(ModelError, match=r"is a discriminator, which fills no masks: its generator in .*generator"):
        hub.load(tmp_path / "run" / "model")


def test_a_discriminator_that_transformers_has_no_class_for(stores: dict[str, Path], tmp_path: Path) -> None:
    """ModernBERT learns from replaced tokens as well; its encoder and its generator open in `transformers`."""
    from clozelm.errors import ModelError
    from clozelm.flows.scoring import open_scorer
    from clozelm.train.run import Run

    detects = ("objective.name=rtd", "objective.rtd.generator=1", "objective.rtd.generator_layers=2")
    chosen, store = shrunk("modernbert-tiny", *detects), stores["wordpiece"]
    tiny_runs.trained(chosen, store, tmp_path / "run")
    tiny_runs.trained(chosen, store, tmp_path / "cut", stop_after=2)
    tiny_runs.trained(chosen, store, tmp_path / "cut")
    tiny_runs.assert_equal_runs(tmp_path / "run", tmp_path / "cut")
    run = Run.open(chosen, data=store, out=tmp_path / "run")
    run.close()
    objective = run.objective.eval()
    pieces = run.tokenizer.encode("the cats of the house").ids.tolist()
    batch = tiny_runs.one_row(torch.tensor([[2, *pieces, 3]]))
    generator = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "generator").eval()
    encoder, report = transformers.AutoModel.from_pretrained(tmp_path / "run" / "model", output_loading_info=True)
    assert len(generator.model.layers) == 2 < len(encoder.layers)
    assert not report["missing_keys"]
    assert all("discriminator_predictions" in key for key in report["unexpected_keys"])
    with torch.no_grad():
        assert (objective.masked_lm(batch) - generator(batch.input_ids).logits).abs().max() <= 2e-5
        vectors = encoder.eval()(batch.input_ids).last_hidden_state
        assert (objective.discriminator.encoder(batch) - vectors).abs().max() <= 2e-5
        logits = objective.discriminator(batch)[0, 1:-1]
    (score,) = open_scorer(tmp_path / "run" / "model")("the cats of the house")
    found = torch.tensor([piece.log_probability for piece in score.pieces])
    assert torch.allclose(found, torch.nn.functional.logsigmoid(-logits), atol=1e-5)
    assert "has no class for this head" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ModelError, match=r"is a discriminator, which fills no masks: its generator in .*generator"):
        hub.load(tmp_path / "run" / "model")


def test_a_family_without_such_a_head_leaves_it_out(stores: dict[str, Path], tmp_path: Path) -> None:
    chosen = shrunk("roberta-tiny", "objective.name=sop")
    tiny_runs.trained(chosen, stores["bpe"], tmp_path / "run")
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "| left out | the sop head, which roberta has no place for |" in card
    _, report = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "run" / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
