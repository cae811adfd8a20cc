"""``python -m clozelm`` is ``cloze``."""

from clozelm.cli.main import main

if __name__ == "__main__":
    main()
