"""python -m tools.starter CORPUS [--out DIR] [--first DIR] [--dry-run] [--set section.key=value ...]."""

import argparse
import sys
from pathlib import Path

from clozelm.errors import ClozeError
from clozelm.shipped import DIRECTORY
from tools.starter.make import Starter


def main() -> int:
    """Make the starter; a mistake is one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="starter", description="make the model that ships with the package")
    parser.add_argument("corpus", type=Path, help="directory of the files that tools/starter/corpus.toml names")
    parser.add_argument("--out", type=Path, default=Path("runs/starter"), help="directory of all that is made")
    parser.add_argument("--package", type=Path, default=DIRECTORY, help="where the finished model goes")
    parser.add_argument(
        "--first", type=Path, help="an earlier starter: its tokenizer and weights are the first part"
    )
    parser.add_argument("--dry-run", action="store_true", help="check the files and say what would be done")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="section.key=value")
    given = parser.parse_args()
    try:
        Starter(given.corpus, given.out, package=given.package).make(
            *given.overrides, dry_run=given.dry_run, first=given.first
        )
    except ClozeError as error:
        print(f"starter: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
