"""Publish a finished comparison in docs/explanation/objectives.md: its figures, plots and verdicts.

python tools/comparison_docs.py REPORT.json NAME                   write them between NAME's markers
python tools/comparison_docs.py REPORT.json NAME --plots A B ...   with these plots instead of those shown now

The report is kept as docs/comparisons/NAME/report.json, the plots as docs/explanation/img/NAME-PLOT.svg. A page
without markers of that name gets them in a new section at its end. Text around the markers is left alone.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from clozelm.report.comparison import not_measured, shown
from clozelm.report.plots import plots

DOCS = Path(__file__).resolve().parents[1] / "docs"
USUAL = ("loss-tokens", "difference-masked-loss", "difference-pairs")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


def main() -> None:
    """Publish the report that is named."""
    parser = argparse.ArgumentParser(description="write a comparison's figures into docs/explanation/objectives.md")
    parser.add_argument("report", type=Path, help="report.json of `cloze compare`")
    parser.add_argument("name", help="of the markers, the folder and the images, as compare-context")
    parser.add_argument("--plots", nargs="+", help="names of plots, as difference-masked-loss")
    given = parser.parse_args()
    for path in publish(read_report(given.report), given.name, DOCS, chosen=given.plots):
        print(f"wrote {path.relative_to(DOCS.parent)}")


def publish(report: dict[str, Any], name: str, docs: Path, *, chosen: Sequence[str] | None = None) -> list[Path]:
    """Write page, images and report below ``docs``; return the files that are other ones now.

    Without ``chosen`` the plots that the page shows stay, at first the usual ones. What cannot be done ends the
    program with one line, before anything is written.
    """
    if not NAME.fullmatch(name):
        sys.exit(f"{name!r} names files: use small letters, digits and '-' only.")
    page = docs / "explanation" / "objectives.md"
    before = page.read_text(encoding="utf-8")
    was_shown = re.findall(rf'src="img/{name}-([a-z-]+)\.svg"', _between(before, name) or "")
    drawn = {plot.name: plot for plot in plots(report)}
    chosen = chosen or was_shown or [one for one in USUAL if one in drawn]
    missing = [one for one in chosen if one not in drawn]
    if missing:
        sys.exit(f"There is no plot {missing[0]!r} in this report. The plots are {', '.join(drawn)}.")
    text = "\n".join(block(report, name, [(one, drawn[one].chart.title) for one in chosen]))
    files = {page: _with_block(before, name, text, report["title"])}
    images = docs / "explanation" / "img"
    files |= {images / f"{name}-{one}.svg": drawn[one].file() for one in chosen}
    files[docs / "comparisons" / name / "report.json"] = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    for one in {*drawn, *was_shown} - set(chosen):
        (images / f"{name}-{one}.svg").unlink(missing_ok=True)
    return [path for path, content in files.items() if _written(path, content)]


def block(report: dict[str, Any], name: str, images: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Write what stands between the markers, line by line, the markers included."""
    seeds = " and ".join(", ".join(map(str, report["seeds"])).rsplit(", ", 1))
    first = _plain(report["arms"][0]["label"])
    yield f"<!-- {name}: begin -->"
    yield "<!-- Written by tools/comparison_docs.py; what stands between the markers is replaced. -->"
    yield f"Each run got {report['budget']['text']}, with seed{'s' * (len(report['seeds']) > 1)} {seeds}."
    yield f"Means over seeds ± 95% t-intervals; ▲ better and ▼ worse than *{first}*, after Holm's correction."
    yield "With ↓ less is better, with ↑ more; costs are in italics."
    yield ""
    yield from _table(report)
    yield from _reasons(report)
    yield ""
    for plot, title in images:
        yield f'<img src="img/{name}-{plot}.svg" alt="{escape(title)}" width="49%" align="top">'
    yield ""
    yield _plain(report["summary"])
    yield ""
    yield "<details><summary>Every difference in words</summary>"
    yield ""
    yield from (f"- {_plain(line)}" for line in report["reading"])
    yield ""
    yield "</details>"
    yield f"<!-- {name}: end -->"


def _table(report: dict[str, Any]) -> Iterator[str]:
    """Write measures with their intervals and marks, then costs, a column for each arm."""
    arms = report["arms"]
    yield _row("", *(arm["label"] for arm in arms))
    yield "|---|" + "--:|" * len(arms)
    for one in report["measures"]:
        if any(one["arms"].values()):
            is_said = one["unit"] == "%" or one["unit"] in one["title"]
            unit = "" if is_said else f", {one['unit']}"
            arrow = "↓" if one["better"] < 0 else "↑"
            yield _row(f"{one['title']}{unit} {arrow}", *(_cell(one, arm["name"]) for arm in arms))
    for one in report["costs"]:
        if any(value is not None for value in one["arms"].values()):
            yield _row(f"*{one['title']}*", *(shown(one["arms"].get(arm["name"]), one["unit"]) for arm in arms))


def _cell(measure: dict[str, Any], arm: str) -> str:
    mean, unit = measure["arms"].get(arm), measure["unit"]
    if mean is None:
        return "–"
    reach = "" if mean["low"] is None else f" ± {shown(mean['high'] - mean['mean'], unit)}"
    verdict = measure["differences"].get(arm, {}).get("verdict", "")
    star = "\\*" * (arm in measure.get("caveats", {}))
    return f"{shown(mean['mean'], unit)}{reach}{star}{ {'better': ' ▲', 'worse': ' ▼'}.get(verdict, '') }"


def _reasons(report: dict[str, Any]) -> Iterator[str]:
    """Say in what measures are not the same for all arms, and what was not measured, and why."""
    for line in report.get("caveats", []):
        yield ""
        yield f"\\* {_plain(line)}"
    for line in not_measured(report):
        yield ""
        yield _plain(line)


def _row(*cells: str) -> str:
    return f"| {' | '.join(_plain(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _plain(text: str) -> str:
    """Keep Markdown from reading names as tags."""
    return text.replace("<", "&lt;")


def _between(page: str, name: str) -> str | None:
    """Return a name's block with its markers; None where there are none."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != page.count(end) or page.count(begin) > 1 or page.find(end) < page.find(begin):
        sys.exit(f"objectives.md must hold {begin!r} and {end!r} once each and in this order, or neither.")
    return page[page.index(begin) : page.index(end) + len(end)] if begin in page else None


def _with_block(page: str, name: str, text: str, title: str) -> str:
    old = _between(page, name)
    return f"{page.rstrip()}\n\n## {_plain(title)}\n\n{text}\n" if old is None else page.replace(old, text)


def _written(path: Path, content: str) -> bool:
    """Write a file unless it has that content already."""
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return True


def read_report(path: Path) -> dict[str, Any]:
    """Read a report; what is none ends the program with one line."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        missing = {"title", "seeds", "budget", "arms", "measures", "costs", "summary", "reading"} - report.keys()
    except (OSError, ValueError, AttributeError) as error:
        sys.exit(f"{path} cannot be read as a report ({error}): name the report.json of `cloze compare`.")
    if missing:
        sys.exit(
            f"{path} is no report of a comparison (no {min(missing)}): name the report.json of `cloze compare`."
        )
    if report["missing"]:
        sys.exit(f"{path}: not finished are {', '.join(report['missing'])}; publish it when they are.")
    return dict(report)


if __name__ == "__main__":
    main()
