"""What importing costs: which modules are loaded, asked of a fresh interpreter."""

import subprocess
import sys

HEAVY = {
    "torch",
    "transformers",
    "matplotlib",
    "tokenizers",
    "pydantic",
    "numpy",
    "rich",
    "tensorboard",
    "jaxtyping",
    "huggingface_hub",
}


def loaded_by(code: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after running the code."""
    script = f"{code}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import clozelm").isdisjoint(HEAVY)


def test_help_loads_no_library_that_computes() -> None:
    code = "from clozelm.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = loaded_by(code)
    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY - {"rich"})
