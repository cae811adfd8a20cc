"""Special tokens around texts and pairs: those that `transformers` puts there, and those a new model gets."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from clozelm.tasks.encode import ReadAs, encode_texts
from clozelm.text.examples import TextExample
from clozelm.text.templates import Template, completed
from clozelm.text.tokenizer import Tokenizer
from tests.tiny_models import wordpiece

CLS, A, SEP = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, "[SEP]"
B = {"Sequence": {"id": "B", "type_id": 1}}
IDS = {"cls": ["[CLS]", 2], "sep": [SEP, 3]}
TEXTS = [("the cat",), ("the cat", "a dog ran"), ("", "dog"), ("cat", "")]


def template(single: list[Any], pair: list[Any]) -> dict[str, Any]:
    tokens = {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in IDS.values()}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}


def sep(segment: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": SEP, "type_id": segment}}


PROCESSORS: dict[str, Any] = {
    "none": None,
    "single": template([CLS, A, sep(0)], [A, B]),
    "whole": template([CLS, A, sep(0)], [CLS, A, sep(0), B, sep(1)]),
    "end": template([A, sep(0)], [A, sep(0), B, sep(1)]),
    "turned": template([CLS, A, sep(0)], [CLS, B, sep(0), A]),
    "bert": {"type": "BertProcessing", **IDS},
    "roberta": {"type": "RobertaProcessing", **IDS, "trim_offsets": True, "add_prefix_space": False},
    "bytes": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
}
GENERIC: list[dict[str, Any]] = [
    {"tokenizer_class": "PreTrainedTokenizerFast"},
    {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    },
]
FAMILY: dict[str, Any] = {"tokenizer_class": "BertTokenizer"}
# The class of a family overrules what these say.
OVERRULED = ("turned", "roberta")


def written(folder: Path, processor: Any, config: dict[str, Any]) -> Path:
    tokenizer = wordpiece()
    tokenizer.write(folder)
    definition = tokenizer.definition | {"post_processor": processor}
    (folder / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer.config | config), encoding="utf-8")
    return folder


def check_as_stock(tokenizer: Tokenizer, folder: Path) -> None:
    stock = AutoTokenizer.from_pretrained(folder)
    for texts in TEXTS:
        wanted = {name: rows[0] for name, rows in stock(*([text] for text in texts)).items()}
        (unit,) = encode_texts(tokenizer, [TextExample(texts)], ReadAs(64, has_segments=True)).units
        assert unit.ids.tolist() == wanted["input_ids"], texts
        segments = wanted.get("token_type_ids", [0] * len(unit.ids))
        assert (unit.segments.tolist() if unit.segments is not None else [0] * len(unit.ids)) == segments, texts


@pytest.mark.parametrize("config", [*GENERIC, FAMILY], ids=["generic", "with segments", "family"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_texts_and_pairs_are_read_as_transformers_reads_them(
    processor: str, config: dict[str, Any], tmp_path: Path
) -> None:
    if config is FAMILY and processor in OVERRULED:
        pytest.skip("transformers puts what its class has")
    folder = written(tmp_path / "t", PROCESSORS[processor], config)
    check_as_stock(Tokenizer.load(folder), folder)


@pytest.mark.parametrize("config", [{}, *GENERIC, FAMILY], ids=["no class", "generic", "with segments", "family"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_completed_tokenizer_has_a_place_for_all_and_is_written_so(
    processor: str, config: dict[str, Any], tmp_path: Path
) -> None:
    if config is FAMILY and processor in OVERRULED:
        pytest.skip("transformers puts what its class has")
    done = completed(Tokenizer.load(written(tmp_path / "t", PROCESSORS[processor], config)), has_segments=True)
    done.write(tmp_path / "done")
    (tmp_path / "done/config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    check_as_stock(done, tmp_path / "done")
    check_as_stock(Tokenizer.load(tmp_path / "done"), tmp_path / "done")
    for texts in TEXTS:
        (unit,) = encode_texts(done, [TextExample(texts)], ReadAs(64)).units
        assert unit.ids[0] == done.vocabulary.cls_id
        assert done.vocabulary.sep_id in unit.ids[1:]
    (pair,) = encode_texts(done, [TextExample(TEXTS[1])], ReadAs(64, has_segments=True)).units
    segments = set() if pair.segments is None else set(pair.segments.tolist())
    assert (segments == {0, 1}) is (processor != "roberta")


def test_a_model_reads_at_least_one_piece(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(written(tmp_path / "t", None, GENERIC[0]))
    ids, segments, before = Template(tokenizer, has_segments=False).fill([wordpiece().encode("").ids])
    assert (ids.tolist(), segments, before) == ([tokenizer.vocabulary.cls_id], None, 0)
