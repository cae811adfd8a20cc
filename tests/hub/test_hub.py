"""Model directories: written whole, opened from every file format, and refused in one line when damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clozelm import hub
from clozelm.errors import ClozeError, DataError, ModelError
from clozelm.families import FAMILIES
from clozelm.nn.heads import MaskedLM
from tests import tiny_models

ALL = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(params=FAMILIES)
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    model = tiny_models.tiny_model(request.param)
    hub.save(model, tiny_models.wordpiece(), tmp_path / "model", family=request.param)
    return tmp_path / "model"


def same(model: MaskedLM, other: MaskedLM) -> bool:
    pairs = zip(model.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == again and torch.equal(a, b) for (name, a), (again, b) in pairs)


@ALL
def test_round_trip(family: str, tmp_path: Path) -> None:
    model, tokenizer = tiny_models.tiny_model(family), tiny_models.wordpiece()
    hub.save(model, tokenizer, tmp_path / "model", family=family)
    loaded = hub.load(tmp_path / "model")
    assert same(model, loaded.model)
    assert loaded.model.config == model.config
    assert loaded.family is FAMILIES[family]
    assert loaded.tokenizer.fingerprint == tokenizer.fingerprint
    assert loaded.dropped == []
    assert not loaded.model.training
    assert all(weight.requires_grad for weight in loaded.model.parameters())


def test_files_are_a_plain_directory(directory: Path) -> None:
    names = {path.name for path in directory.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert len({path.stat().st_mode for path in directory.iterdir()}) == 1
    assert not list(directory.parent.glob(".*"))


def test_the_card_holds_the_facts(tmp_path: Path) -> None:
    card = {"data": "abstracts | whole", "settings": {"seed": 7}}
    model = tiny_models.tiny_model("bert")
    hub.save(model, tiny_models.wordpiece(), tmp_path / "model", family="bert", card=card)
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\nlibrary_name: transformers\n")
    assert r"| data | abstracts \| whole |" in text
    assert '"seed": 7' in text
    assert f"| parameters | {sum(p.numel() for p in model.parameters()):,} |" in text


def test_an_earlier_model_is_replaced(directory: Path) -> None:
    other = tiny_models.tiny_model("bert", seed=1)
    hub.save(other, tiny_models.wordpiece(), directory, family="bert")
    assert same(hub.load(directory).model, other)


def test_other_directories_are_never_replaced(directory: Path) -> None:
    (directory / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ModelError, match="not empty and holds something else"):
        hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), directory, family="bert")
    assert (directory / "notes.txt").is_file()


def test_a_failed_save_leaves_the_earlier_model(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = (directory / "model.safetensors").read_bytes()
    monkeypatch.setattr("clozelm.hub.weights.save_file", full)
    with pytest.raises(ModelError, match="disk is full"):
        hub.save(tiny_models.tiny_model("bert", seed=1), tiny_models.wordpiece(), directory, family="bert")
    assert (directory / "model.safetensors").read_bytes() == before
    assert [path.name for path in directory.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_open_in_fp32(directory: Path, dtype: torch.dtype) -> None:
    file = directory / "model.safetensors"
    half = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
    save_file(half, file)
    loaded = hub.load(directory)
    model = loaded.model
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    for name, tensor in loaded.family.to_stock(model.state_dict(), model.config).items():
        assert torch.equal(tensor, half[name].float()), name
    assert hub.load(directory, dtype=dtype).model.decoder_weight.dtype == dtype


def test_shards(directory: Path) -> None:
    model = hub.load(directory).model
    shard(directory, suffix="safetensors", write=save_file)
    assert same(hub.load(directory).model, model)


def test_pickled_shards(directory: Path) -> None:
    model = hub.load(directory).model
    shard(directory, suffix="bin", write=torch.save)
    assert same(hub.load(directory).model, model)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_of_tensors(directory: Path, is_zip: bool) -> None:
    model = hub.load(directory).model
    tensors = load_file(directory / "model.safetensors")
    torch.save(tensors, directory / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    del tensors
    (directory / "model.safetensors").unlink()
    assert same(hub.load(directory).model, model)


class Explosive:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_with_code_is_refused(directory: Path, tmp_path: Path) -> None:
    (directory / "model.safetensors").unlink()
    torch.save({"weight": Explosive(tmp_path / "ran")}, directory / "pytorch_model.bin")
    said_in_one_line(directory, "would run code when read: refused")
    index = {"weight_map": {"weight": "a.bin"}}
    (directory / "pytorch_model.bin").rename(directory / "a.bin")
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    said_in_one_line(directory, "would run code when read: refused")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_flipped_byte_never_escapes(directory: Path, is_zip: bool) -> None:
    """Wherever the byte is, the answer is one line, never a traceback."""
    torch.save({"weight": torch.zeros(3)}, directory / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    (directory / "model.safetensors").unlink()
    whole = (directory / "pytorch_model.bin").read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        (directory / "pytorch_model.bin").write_bytes(bytes(damaged))
        with pytest.raises(ClozeError) as caught:
            hub.load(directory)
        assert "\n" not in str(caught.value)


Tensors = dict[str, torch.Tensor]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {**t, "embeddings.LayerNorm.gamma": torch.ones(32)}, "two tensors of the checkpoint are"),
        (lambda t: {n: x.long() for n, x in t.items()}, "not floating-point numbers"),
        (lambda t: {n: x / 0 for n, x in t.items()}, "holds numbers that are not finite"),
        (
            lambda t: {n: x[:16] if n.endswith("0.attention.self.key.weight") else x for n, x in t.items()},
            "tensors that belong together differ in shape",
        ),
    ],
)
def test_tensors_that_make_no_model(change: Callable[[Tensors], Tensors], said: str, tmp_path: Path) -> None:
    hub.save(tiny_models.tiny_model("bert"), tiny_models.wordpiece(), tmp_path / "model", family="bert")
    tensors = change(load_file(tmp_path / "model" / "model.safetensors"))
    save_file({name: one.contiguous() for name, one in tensors.items()}, tmp_path / "model" / "model.safetensors")
    said_in_one_line(tmp_path / "model", said)


def test_a_classifier_is_no_model_with_a_head(directory: Path) -> None:
    """The output bias tells: some classifiers have the dense layer and the norm of the head."""
    loaded = hub.load(directory)
    bias = next(w.theirs[0] for w in loaded.family.weights(loaded.model.config) if w.ours == "head.bias")
    tensors = load_file(directory / "model.safetensors")
    del tensors[bias]
    tensors["classifier.weight"] = torch.zeros(2, 32)
    save_file(tensors, directory / "model.safetensors")
    said_in_one_line(directory, "has no head for masked language modelling")
    assert "classifier.weight" in hub.load(directory, new_head=True).dropped


def test_what_is_beside_real_weights_is_refused(directory: Path, shared: Path) -> None:
    """A pickle of training arguments, as one lies beside many released models."""
    arguments = shared / "checkpoints" / "rxnmapper-albert-mlm" / "original" / "training_args.bin"
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(arguments.read_bytes())
    said_in_one_line(directory, "would run code when read: refused")


def test_a_config_without_a_model_type(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    family = config.pop("model_type")
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert hub.load(directory).family.name == family


def test_a_bare_encoder_gets_a_new_head_only_when_asked(directory: Path) -> None:
    loaded = hub.load(directory)
    heads = {n for w in loaded.family.weights(loaded.model.config) if w.ours.startswith("head.") for n in w.theirs}
    tensors = load_file(directory / "model.safetensors")
    bare = {name: tensor for name, tensor in tensors.items() if name not in heads}
    save_file(bare, directory / "model.safetensors", metadata={"format": "pt"})
    said_in_one_line(directory, "has no head for masked language modelling")
    again, once_more = hub.load(directory, new_head=True), hub.load(directory, new_head=True)
    assert again.has_new_head
    assert not loaded.has_new_head
    assert same(again.model, once_more.model), "the new head is drawn from a seed"
    for name, tensor in loaded.model.encoder.state_dict().items():
        assert torch.equal(again.model.encoder.state_dict()[name], tensor), name
    assert float(again.model.head.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.3)


def test_missing_directory(tmp_path: Path) -> None:
    said_in_one_line(tmp_path / "nowhere", "There is no model directory")


def test_no_config(tmp_path: Path) -> None:
    said_in_one_line(tmp_path, "holds no config.json")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"model_type": "gpt2"}', "'gpt2' is not supported; supported are bert, roberta"),
        ("{}", "names neither a model_type nor a known architecture (but none); add model_type, one of bert"),
        ('{"architectures": ["DebertaV2ForMaskedLM"]}', "known architecture (but DebertaV2ForMaskedLM)"),
        ('{"architectures": {"a": 1}}', "known architecture (but none)"),
        ('{"model_type": "bert", "num_attention_heads": 0}', "num_heads=0 must be at least 1"),
        ('{"model_type": "bert", "max_position_embeddings": -5}', "max_positions=-5 must be at least 1"),
        ('{"model_type": "bert", "vocab_size": 100000000000000}', "describes no model"),
        ('{"model_type": "modernbert", "global_rope_theta": "x"}', "describes no model"),
        ('{"model_type": "modernbert", "rope_parameters": {"full_attention": 5}}', "describes no model"),
        ('{"model_type": "modernbert", "layer_types": 5}', "describes no model"),
        ("[]", "must hold a JSON object"),
        ('{"model_type', "cannot be read as JSON"),
    ],
)
def test_unusable_configs(directory: Path, config: str, said: str) -> None:
    (directory / "config.json").write_text(config, encoding="utf-8")
    said_in_one_line(directory, said)


def test_truncated_weights(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said_in_one_line(directory, "damaged or cut short")


def test_truncated_pickle(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    file = directory / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:-1000])
    said_in_one_line(directory, "damaged or cut short")


def test_no_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    said_in_one_line(directory, "holds no weights: expected model.safetensors or pytorch_model.bin")


def test_a_missing_shard(directory: Path) -> None:
    shard(directory, suffix="safetensors", write=save_file)
    (directory / "part-1.safetensors").unlink()
    said_in_one_line(directory, "names part-1.safetensors, which is missing")


def test_a_shard_elsewhere(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    said_in_one_line(directory, "which is not a file beside it")


def the_key(directory: Path, usual: str) -> str:
    """The key of config.json, which DistilBERT spells otherwise."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    others = {"intermediate_size": "hidden_dim", "num_hidden_layers": "n_layers"}
    return usual if usual in config else others[usual]


def test_another_shape(directory: Path) -> None:
    edit_config(directory, **{the_key(directory, "intermediate_size"): 64})
    said_in_one_line(directory, ", but config.json asks for [")


def test_another_depth(directory: Path) -> None:
    if hub.load(directory).model.config.num_groups is not None:
        pytest.skip("layers that share their weights may be any number")
    edit_config(directory, **{the_key(directory, "num_hidden_layers"): 2, "layer_types": None})
    said_in_one_line(directory, "tensors in the checkpoint have no place in the model, first")


def test_a_tokenizer_larger_than_the_model(directory: Path) -> None:
    edit_config(directory, vocab_size=11)
    said_in_one_line(directory, "the tokenizer has 20 pieces, but the model embeds only 11")


def test_no_tokenizer(directory: Path) -> None:
    (directory / "vocab.txt").unlink()
    (directory / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        hub.load(directory)


def test_saving_with_a_larger_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="do not belong together"):
        hub.save(tiny_models.tiny_model("bert"), tiny_models.byte_bpe(), tmp_path / "model", family="bert")


def said_in_one_line(directory: Path, said: str) -> None:
    with pytest.raises(ClozeError) as caught:
        hub.load(directory)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def edit_config(directory: Path, **changes: object) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def shard(directory: Path, *, suffix: str, write: Callable[..., None]) -> None:
    """Spread the weights over two files and an index, as large models come."""
    tensors = {name: tensor.clone() for name, tensor in load_file(directory / "model.safetensors").items()}
    (directory / "model.safetensors").unlink()
    weight_map = {name: f"part-{i % 2}.{suffix}" for i, name in enumerate(tensors)}
    for file in set(weight_map.values()):
        write({name: tensors[name] for name in tensors if weight_map[name] == file}, directory / file)
    name = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
    index = json.dumps({"weight_map": weight_map})
    (directory / f"{name}.index.json").write_text(index, encoding="utf-8")
