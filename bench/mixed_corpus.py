"""Write the text of the comparisons in docs/explanation/objectives.md: encyclopedia, books and abstracts, mixed.

`python -m bench.mixed_corpus ../shared/data/pretrain mixed.jsonl` takes all ACL abstracts and the first 13 million
characters each of the encyclopedia (an article is a document) and of the books (40 paragraphs are one), in an order
drawn with seed 0.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

CHARACTERS = 13_000_000
PARAGRAPHS = 40


def main() -> None:
    """Write the corpus and say what is in it."""
    parser = argparse.ArgumentParser(description="mix encyclopedia, books and abstracts into one corpus")
    parser.add_argument("folder", type=Path, help="where enwiki, gutenberg and acl_abstracts lie")
    parser.add_argument("out", type=Path, help="a .jsonl file")
    given = parser.parse_args()
    parts = {
        "abstracts": list(_abstracts(given.folder / "acl_abstracts" / "train.jsonl.xz")),
        "articles": list(_first(_articles(given.folder / "enwiki" / "train.00.txt.xz"))),
        "passages": list(_first(_passages(given.folder / "gutenberg" / "train.00.txt.xz"))),
    }
    texts = [text for part in parts.values() for text in part]
    random.Random(0).shuffle(texts)
    with given.out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    for name, part in parts.items():
        print(f"{len(part):,} {name}, {sum(map(len, part)):,} characters")


def _abstracts(path: Path) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            yield f"{record['title']}\n{record['text']}"


def _blocks(path: Path) -> Iterator[list[str]]:
    """Yield what stands between blank lines, as lines."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for is_text, block in groupby(lines, key=lambda line: bool(line.strip())):
            if is_text:
                yield [line.rstrip("\n") for line in block]


def _articles(path: Path) -> Iterator[str]:
    return ("\n".join(block) for block in _blocks(path))


def _passages(path: Path) -> Iterator[str]:
    for block in _blocks(path):
        for start in range(0, len(block), PARAGRAPHS):
            yield "\n".join(block[start : start + PARAGRAPHS])


def _first(texts: Iterator[str]) -> Iterator[str]:
    """Yield texts until they have ``CHARACTERS``."""
    total = 0
    for text in texts:
        yield text
        total += len(text)
        if total > CHARACTERS:
            return


if __name__ == "__main__":
    main()
