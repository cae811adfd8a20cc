"""Write what was explained as a page."""

from __future__ import annotations

from pathlib import Path

from clozelm.explain.explain import Explanation
from clozelm.report.explanation import page
from clozelm.text.atomic import disk_errors


def write_page(found: Explanation, path: Path, *, model: str) -> None:
    """Write an explanation as one HTML file; ``model`` is what the page calls the model."""
    content = page(found, model=Path(model).name or model)
    with disk_errors(path):
        path.write_text(content, encoding="utf-8")
