"""Tiny random models of every family, stock and ours, and small tokenizers, for the tests."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from clozelm.families import FAMILIES
from clozelm.nn.config import EncoderConfig
from clozelm.nn.decoder import EncoderDecoder, EncoderDecoderConfig
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer
from clozelm.types import TokenBatch

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "cat", "dog", "sat", "ran", "on", "mat", "a", "powerful", "is", "learning", "machine"]
VOCAB_SIZE = len(SPECIALS) + len(WORDS) + 3

# What makes a family different shows: a window much shorter than the tests' documents, narrow embeddings, and
# groups of layers of unequal size.
_CHANGES: dict[str, dict[str, Any]] = {
    "modernbert": {"window": 8, "global_every": 3, "num_layers": 4},
    "albert": {"embedding_size": 16, "num_groups": 2},
    "electra": {"embedding_size": 16},
}


def tiny_config(family: str, *, vocab_size: int = VOCAB_SIZE, **changes: Any) -> EncoderConfig:
    small = {
        "hidden_size": 32,
        "num_heads": 4,
        "num_layers": 3,
        "intermediate_size": 48,
        "max_positions": 64,
        "pad_id": 0,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        **_CHANGES.get(family, {}),
        **changes,
    }
    return FAMILIES[family].preset("tiny", vocab_size, **small)


def tiny_model(family: str, *, seed: int = 0, **changes: Any) -> MaskedLM:
    """A model whose every tensor is far from its initial value, so that a swapped one shows."""
    model = MaskedLM(tiny_config(family, **changes))
    perturb(model, seed)
    return model.eval()


def tiny_decoder(family: str, *, seed: int = 0, sentinels: int = 12, **changes: Any) -> EncoderDecoder:
    """An encoder-decoder of the family's blocks whose decoder has fewer layers, perturbed as well."""
    encoder = replace(tiny_config(family, **changes), vocab_size=VOCAB_SIZE + sentinels)
    model = EncoderDecoder(EncoderDecoderConfig(encoder, decoder_layers=2, sentinels=sentinels, start_id=2))
    perturb(model, seed)
    return model.eval()


def perturb(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        is_scale = "norm" in name.lower() and name.endswith("weight")
        with torch.no_grad():
            parameter.normal_(1.0 if is_scale else 0.0, 0.2, generator=generator)


def wordpiece() -> Tokenizer:
    pieces = [*SPECIALS, *WORDS, "##s", "##ing", "."]
    backend = Backend(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in SPECIALS])
    names = ("pad", "unk", "cls", "sep", "mask")
    return Tokenizer(backend, {f"{name}_token": piece for name, piece in zip(names, SPECIALS, strict=True)})


def byte_bpe() -> Tokenizer:
    """Byte-level pieces for the same words, each with its space; the mask takes the space before it."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    words = [f"Ġ{word}" for word in ("cat", "dog")]
    merges = []
    pieces = [*specials, *letters]
    for word in words:
        for end in range(2, len(word) + 1):
            pieces.append(word[:end])
            merges.append((word[: end - 1], word[end - 1]))
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    backend = Backend(models.BPE(vocab, list(dict.fromkeys(merges)), unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    backend.add_special_tokens(
        [AddedToken(piece, special=True, normalized=False, lstrip=piece == "<mask>") for piece in specials]
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    return Tokenizer(backend, {f"{name}_token": piece for name, piece in zip(names, specials, strict=True)})


def documents(lengths: list[int], *, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.integers(1, VOCAB_SIZE, length)) for length in lengths]


def padded(docs: list[torch.Tensor], width: int) -> TokenBatch:
    """One document a row, padding after it."""
    input_ids = torch.zeros(len(docs), width, dtype=torch.int64)
    for row, doc in enumerate(docs):
        input_ids[row, : len(doc)] = doc
    lengths = torch.tensor([len(doc) for doc in docs])
    return TokenBatch.from_padded(input_ids, (torch.arange(width) < lengths[:, None]).long())


def packed(docs: list[torch.Tensor], width: int) -> TokenBatch:
    """All documents in one row, padding after the last."""
    tail = width - sum(len(doc) for doc in docs)
    input_ids = torch.cat([*docs, torch.zeros(tail, dtype=torch.int64)])
    doc_ids = torch.cat([*(torch.full((len(d),), i) for i, d in enumerate(docs, 1)), torch.zeros(tail).long()])
    positions = torch.cat([*(torch.arange(len(doc)) for doc in docs), torch.zeros(tail).long()])
    return TokenBatch(input_ids[None], doc_ids[None], positions[None])


def stock_model(family: str, *, seed: int = 0, **changes: Any) -> Any:
    """A `transformers` model of the family, eager attention, its weights perturbed."""
    import transformers

    config = FAMILIES[family].write_config(tiny_config(family, **changes), wordpiece().vocabulary)
    kind = transformers.AutoConfig.for_model(**config)
    model = transformers.AutoModelForMaskedLM.from_config(kind, attn_implementation="eager")
    perturb(model, seed)
    return model.eval()


def ours_from(stock: Any, family: str) -> MaskedLM:
    """The same model here, through the family's config reader and name map."""
    chosen = FAMILIES[family]
    config = chosen.read_config(stock.config.to_dict())
    state, _ = chosen.from_stock(stock.state_dict(), config)
    model = MaskedLM(config)
    model.load_state_dict(state)
    return model.eval()
