"""Compare scoring sentences with the two usual ways through `transformers`: same sentences, weights, machine.

    python -m bench.score --model ../shared/checkpoints/rxnfp-bert-mlm --sentences 100
    python -m bench.score --sentences 32            a random BERT base under the tokenizer of bert-base-uncased

`batch` runs the masked copies of one sentence together, `loop` one copy at a time. Rounds of the three alternate,
and of each the median counts, in seconds of the processor: other programs on the machine then matter less.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForMaskedLM

from clozelm import hub
from clozelm.families import FAMILIES
from clozelm.infer import rectangles
from clozelm.infer.score import Scorer
from clozelm.nn.heads import MaskedLM
from clozelm.text.tokenizer import Tokenizer

TOLERANCES = {"fp32": 1e-4, "bf16": 5e-2}  # relative, of a sentence's log-probability


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="bench-score-") as folder:
        directory = options.model or _random_base(options.shared, Path(folder) / "model")
        loaded = hub.load(directory)
        stock = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32).eval()
        half = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
    if options.precision == "bf16":
        loaded.model.to(torch.bfloat16)
    scorer = Scorer(loaded.model, loaded.tokenizer, method="original")
    sentences = _sentences(options.shared, options.sentences)
    encoded = [_with_specials(loaded.tokenizer, sentence) for sentence in sentences]
    mask_id = loaded.tokenizer.vocabulary.mask_id
    ways: dict[str, Callable[[], list[float]]] = {
        f"clozelm {cap}": lambda cap=cap: _ours(scorer, sentences, cap) for cap in options.tokens_per_batch
    }
    ways["batch"] = lambda: [_batch(stock, ids, mask_id) for ids in encoded]
    ways["loop"] = lambda: [_loop(stock, ids, mask_id) for ids in encoded]
    if options.precision == "bf16":
        ways["batch bf16"] = lambda: [_batch(half, ids, mask_id) for ids in encoded]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    values: dict[str, list[float]] = {}
    with torch.inference_mode():
        for _ in range(options.rounds):
            for name, way in ways.items():
                started = time.process_time()
                values[name] = way()
                seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    _report(medians, values, len(sentences), TOLERANCES[options.precision])


def _report(medians: dict[str, float], values: dict[str, list[float]], count: int, tolerance: float) -> None:
    ours = {name: value for name, value in medians.items() if name.startswith("clozelm")}
    best = min(ours, key=lambda name: ours[name])
    for name, seconds in medians.items():
        print(f"{name:14} {count / seconds:8.1f} sentences/s  {seconds:8.2f} s")
    for name in medians.keys() - ours.keys():
        apart = np.abs(np.array(values[name]) / np.array(values[best]) - 1).max()
        print(f"{best} is {medians[name] / medians[best]:.2f} times as fast as {name}; values within {apart:.1e}")
        assert apart < tolerance, "the ways do not give the same numbers"


def _ours(scorer: Scorer, sentences: list[str], tokens_per_batch: int) -> list[float]:
    rectangles.TOKENS_PER_BATCH = tokens_per_batch
    return [score.log_probability for score in scorer(sentences)]


def _batch(model, ids: torch.Tensor, mask_id: int) -> float:
    """All copies of one sentence as a batch: one length, so no padding."""
    places = torch.arange(1, len(ids) - 1)
    copies = ids.repeat(len(places), 1)
    copies[torch.arange(len(places)), places] = mask_id
    logits = model(input_ids=copies).logits[torch.arange(len(places)), places]
    return float(logits.log_softmax(-1).gather(1, ids[places, None]).double().sum())


def _loop(model, ids: torch.Tensor, mask_id: int) -> float:
    total = 0.0
    for place in range(1, len(ids) - 1):
        copy = ids.clone()
        copy[place] = mask_id
        logits = model(input_ids=copy[None]).logits[0, place]
        total += float(logits.log_softmax(-1)[ids[place]])
    return total


def _with_specials(tokenizer: Tokenizer, sentence: str) -> torch.Tensor:
    vocabulary = tokenizer.vocabulary
    return torch.tensor([vocabulary.cls_id, *tokenizer.encode(sentence).ids.tolist(), vocabulary.sep_id])


def _sentences(shared: Path, count: int) -> list[str]:
    """Pairs of BLiMP, spread over its paradigms."""
    files = sorted((shared / "data" / "eval" / "blimp_first200").glob("*.jsonl"))
    records = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    chosen = records[:: max(1, 2 * len(records) // count)]
    return [text for one in chosen for text in (one["sentence_good"], one["sentence_bad"])][:count]


def _random_base(shared: Path, directory: Path) -> Path:
    tokenizer = Tokenizer.load(shared / "checkpoints" / "tokenizers" / "bert-base-uncased")
    model = MaskedLM(FAMILIES["bert"].preset("base", tokenizer.vocab_size))
    model.initialise(torch.Generator().manual_seed(0))
    hub.save(model, tokenizer, directory, family="bert")
    return directory


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model directory; without, a random BERT base")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="holds data/ and checkpoints/")
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=TOLERANCES, default="fp32", help="of ours; bf16: a peer in bf16 too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens-per-batch", type=int, nargs="+", default=[rectangles.TOKENS_PER_BATCH])
    return parser.parse_args()


if __name__ == "__main__":
    main()
