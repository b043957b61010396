"""What was measured: rows, each a time of ours beside that of a reference."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A time of ours and of a reference for the same work."""

    name: str  # what was done, and after a comma or "against" with what it is compared
    ours_s: float
    reference_s: float | None = None
    goal: float | None = None  # least ratio wanted
    note: str = ""
    ours_mib: float | None = None  # peak memory
    reference_mib: float | None = None
    # further numbers, which go to the file only
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times as long the reference takes."""
        return None if self.reference_s is None else self.reference_s / self.ours_s

    @property
    def missed(self) -> bool:
        """Whether there is a goal that the ratio does not reach."""
        return None not in (self.goal, self.ratio) and self.ratio < self.goal

    def record(self) -> dict[str, Any]:
        """For the file."""
        return {
            "name": self.name,
            "ours_s": self.ours_s,
            "reference_s": self.reference_s,
            "ratio": self.ratio,
            "goal": self.goal,
            "ours_mib": self.ours_mib,
            "reference_mib": self.reference_mib,
            "note": self.note,
            **self.more,
        }

    def shown(self) -> dict[str, str]:
        """For people to read."""
        return {
            "measurement": self.name,
            "ours": seconds(self.ours_s),
            "reference": seconds(self.reference_s),
            "ratio": short(self.ratio),
            "goal": short(self.goal),
            "ours, MiB": short(self.ours_mib),
            "reference, MiB": short(self.reference_mib),
            "remark": self.note,
        }


def seconds(value: float | None) -> str:
    """Seconds with a unit that suits them."""
    if value is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{short(value / scale)} {unit}"
    return f"{short(value / 1e-6)} µs"


def short(value: float | None) -> str:
    """Three significant digits are more than a timing is worth."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
