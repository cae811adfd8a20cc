"""Make the files that the published comparisons are measured on, from the test data.

    python -m bench.comparison_files ../shared/data FOLDER

Writes into FOLDER the first 30 pairs of each of BLiMP's paradigms, 4,000 and 2,000 texts of AG News, and 2,500 and
1,000 sentences of CoNLL-2003's training and development parts, drawn with seed 0. The measures of a comparison are
taken again when one of these files is another.
"""

import argparse
import lzma
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description="the files that comparisons are measured on")
    parser.add_argument("data", type=Path, help="folder of the test data")
    parser.add_argument("folder", type=Path, help="where to write")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    files = pairs(given.data) | topics(given.data) | entities(given.data)
    for name, content in files.items():
        (given.folder / name).write_text(content, encoding="utf-8")
        print(f"wrote {given.folder / name}")


def pairs(data: Path) -> dict[str, str]:
    """The first 30 pairs of each paradigm."""
    paradigms = sorted((data / "eval" / "blimp_first200").glob("*.jsonl"))
    lines = [line for path in paradigms for line in path.read_text(encoding="utf-8").splitlines()[:30]]
    return {"blimp30.jsonl": joined(lines)}


def topics(data: Path) -> dict[str, str]:
    """Texts with one of four topics, to learn from and to be judged on."""
    lines = text_of(data / "finetune" / "agnews10k" / "train.jsonl.xz").splitlines()
    random.Random(0).shuffle(lines)
    return {"agnews_train.jsonl": joined(lines[:4000]), "agnews_dev.jsonl": joined(lines[4000:6000])}


def entities(data: Path) -> dict[str, str]:
    """Sentences with named entities, to learn from and to be judged on."""
    files = {}
    for part, count in (("train", 2500), ("dev", 1000)):
        text = text_of(data / "finetune" / "ner" / "conll2003_iob1" / f"{part}.txt.xz")
        sentences = [one for one in text.split("\n\n") if one.strip() and not one.startswith("-DOCSTART-")]
        random.Random(0).shuffle(sentences)
        files[f"ner_{part}.conll"] = "\n\n".join(sentences[:count]) + "\n"
    return files


def text_of(path: Path) -> str:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return file.read()


def joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
