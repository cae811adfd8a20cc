"""Compare `cloze prepare` with `datasets.map(num_proc=2)` and grouping: same text, tokenizer and machine.

    python bench/prepare.py --megabytes 100 --data ../shared/data/pretrain/enwiki

Both start from one plain text file with a blank line between articles and end with tokens on disk; each runs
in a process of its own, cold. Its memory is that of the whole process tree (proportional set size).
"""

import argparse
import json
import lzma
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

BLOCK = 512
Measure = Callable[[], tuple[int, int]]  # tokens, bytes on disk; asked for when the clock has stopped


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        work = Path(folder)
        corpus = corpus_of(options.data, work / "corpus.txt", int(options.megabytes * 1e6))
        tokenizer = tokenizer_of(corpus, work / "tokenizer", options.vocab_size)
        rows = [_measure(peer, corpus, tokenizer, work, options.workers) for peer in ("clozelm", "datasets")]
    print(f"{options.megabytes:g} MB of text, WordPiece {options.vocab_size}, {options.workers} processes")
    print(f"{'':10} {'tokens':>12} {'seconds':>8} {'tokens/s':>10} {'peak MB':>8} {'bytes/token':>11}")
    for row in rows:
        print(
            f"{row['peer']:10} {row['tokens']:12,} {row['seconds']:8.2f} "
            f"{row['tokens'] / row['seconds']:10,.0f} {row['peak_bytes'] / 1e6:8.0f} "
            f"{row['disk_bytes'] / row['tokens']:11.2f}"
        )
    ours, theirs = (row["tokens"] / row["seconds"] for row in rows)
    print(f"ratio {ours / theirs:.2f} (clozelm / datasets, tokens per second)")


def run_clozelm(corpus: Path, tokenizer: Path, out: Path, workers: int) -> Measure:
    from clozelm.data.prepare import prepare
    from clozelm.text.tokenizer import Tokenizer

    manifest = prepare([corpus], Tokenizer.load(tokenizer), out, workers=workers)
    files = [file for file in out.iterdir() if file.is_file()]
    return lambda: (manifest["num_tokens"], sum(file.stat().st_size for file in files))


def run_datasets(corpus: Path, tokenizer: Path, out: Path, workers: int) -> Measure:
    grouped = grouped_by_datasets(corpus, tokenizer, out, workers)
    files = [Path(entry["filename"]) for entry in grouped.cache_files]  # already on disk: nothing to save
    return lambda: (sum(map(len, grouped["input_ids"])), sum(file.stat().st_size for file in files))


def grouped_by_datasets(corpus: Path, tokenizer: Path, out: Path, workers: int):
    """The usual recipe (transformers' run_mlm.py): tokenise batches, join them, cut into blocks."""
    os.environ["HF_DATASETS_CACHE"] = str(out / "cache")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    encoder = AutoTokenizer.from_pretrained(tokenizer, model_max_length=10**9)
    articles = datasets.Dataset.from_generator(
        _articles, gen_kwargs={"path": str(corpus)}, cache_dir=str(out / "cache")
    )
    keep = {
        "return_attention_mask": False,
        "return_token_type_ids": False,
        "return_special_tokens_mask": False,
    }
    tokens = articles.map(
        lambda batch: encoder(batch["text"], add_special_tokens=False, **keep),
        batched=True,
        num_proc=workers,
        remove_columns=["text"],
    )
    return tokens.map(_grouped, batched=True, num_proc=workers)


RUNNERS = {"clozelm": run_clozelm, "datasets": run_datasets}


def _articles(path: str):
    with open(path, encoding="utf-8") as file:
        for article in file.read().split("\n\n"):
            if article.strip():
                yield {"text": article.strip()}


def _grouped(batch: dict) -> dict:
    joined = list(chain(*batch["input_ids"]))
    return {"input_ids": [joined[i : i + BLOCK] for i in range(0, len(joined), BLOCK)]}


def _measure(peer: str, corpus: Path, tokenizer: Path, work: Path, workers: int) -> dict:
    """Run one peer in a fresh process, watching its memory; its time is without imports."""
    import psutil

    out = work / peer
    command = [sys.executable, __file__, "--peer", peer, "--paths", str(corpus), str(tokenizer), str(out)]
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True)
    root, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        peak = max(peak, _memory(root))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{peer} failed")
    result = json.loads(process.stdout.read().splitlines()[-1])
    return result | {"peer": peer, "peak_bytes": peak}


def _memory(root) -> int:
    import psutil

    total = 0
    for process in [root, *root.children(recursive=True)] if root.is_running() else []:
        try:
            info = process.memory_full_info()
            total += getattr(info, "pss", info.uss)
        except psutil.Error:
            continue
    return total


def _run_peer(peer: str, paths: list[str], workers: int) -> None:
    corpus, tokenizer, out = map(Path, paths)
    if peer == "clozelm":
        import clozelm.data.prepare  # noqa: F401 - imports are not what is measured
    else:
        import datasets  # noqa: F401
        import transformers  # noqa: F401
    started = time.perf_counter()
    measure = RUNNERS[peer](corpus, tokenizer, out, workers)
    seconds = time.perf_counter() - started
    tokens, disk_bytes = measure()
    print(json.dumps({"tokens": tokens, "seconds": seconds, "disk_bytes": disk_bytes}))


def corpus_of(data: Path, path: Path, size: int) -> Path:
    left = size
    with path.open("wb") as file:
        for shard in sorted(data.glob("train*.txt.xz")):
            with lzma.open(shard) as stream:
                while left > 0 and (block := stream.read(min(left, 2**20))):
                    file.write(block)
                    left -= len(block)
    if left > 0:
        raise SystemExit(f"{data} has only {(size - left) / 1e6:.0f} MB of train*.txt.xz")
    return path


def tokenizer_of(corpus: Path, path: Path, vocab_size: int) -> Path:
    from clozelm.text.readers import documents
    from clozelm.text.train_tokenizer import train

    tokenizer, _ = train(documents([corpus]), kind="wordpiece", vocab_size=vocab_size, sample_bytes=20_000_000)
    tokenizer.save(path)
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pretrain/enwiki"))
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer", choices=sorted(RUNNERS), help=argparse.SUPPRESS)
    parser.add_argument("--paths", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        _run_peer(options.peer, options.paths, options.workers)
        raise SystemExit
    return options


if __name__ == "__main__":
    main()
