"""What an examination is made of: checks, their findings, and what could not be checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")
Facts = TypeVar("Facts")


@dataclass(frozen=True)
class Finding:
    """Say what is wrong, why it matters and what to do; ``check`` names the check that found it.

    An error makes the result useless or wrong, a warning costs quality or money, a note is worth knowing.
    """

    severity: Severity
    what: str
    why: str
    do: str
    check: str = ""


class NotCheckedError(Exception):
    """A check that cannot be made on what there is; its message says why."""


Check = Callable[[Facts], Finding | None]


@dataclass
class Diagnosis:
    """What was examined and what was found: ``kinds`` of ``path``, facts to read, checks passed and not made."""

    path: str
    kinds: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    not_checked: dict[str, str] = field(default_factory=dict)

    def apply(self, checks: Mapping[str, Check[Facts]], facts: Facts) -> None:
        """Make every check of a registry and keep what it says."""
        for name, check in checks.items():
            try:
                found = check(facts)
            except NotCheckedError as reason:
                self.not_checked[name] = str(reason)
                continue
            if found is None:
                self.passed.append(name)
            else:
                self.findings.append(Finding(found.severity, found.what, found.why, found.do, name))

    def worst(self, levels: Iterable[Severity] = SEVERITIES) -> Severity | None:
        """Return the highest severity among the findings; None where there is none."""
        has = {one.severity for one in self.findings}
        return next((level for level in reversed(list(levels)) if level in has), None)

    def sorted(self) -> list[Finding]:
        """Return the findings, errors first."""
        return sorted(self.findings, key=lambda one: -SEVERITIES.index(one.severity))

    def plain(self) -> dict[str, Any]:
        """Return everything as data for JSON."""
        return {**asdict(self), "findings": [asdict(one) for one in self.sorted()], "worst": self.worst()}
