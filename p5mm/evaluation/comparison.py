"""The model against the others, and what may be said of it in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from p5mm.evaluation.report import MAIN, RETRIEVER, SIMILARITIES
from p5mm.metrics.intervals import Interval
from p5mm.pages.page import called, spoken

BETTER, ALIKE, WORSE = "better", "no difference shown", "worse"
Models = Mapping[str, Mapping[str, Interval]]


@dataclass(frozen=True)
class Comparison:
    """The model against another one, paired over users.

    Attributes:
        name: The other model.
        difference: Model minus other.
        relative: Difference over the other's mean; None where that is 0.
        verdict: What the interval shows: better, worse, or no difference shown.
    """

    name: str
    difference: Interval
    relative: float | None
    verdict: str


def compare(
    models: Models, differences: Models, metric: str, lower_is_better: bool = False
) -> list[Comparison]:
    """The model ``p5mm`` against each other one; nothing without it."""
    rows = []
    for name, values in models.items():
        difference = differences.get(f"{MAIN} - {name}", {}).get(metric)
        if difference is not None:
            other = values[metric].value
            relative = difference.value / other if other else None
            shown = verdict(difference, lower_is_better)
            rows.append(Comparison(name, difference, relative, shown))
    return rows


def verdict(difference: Interval, lower_is_better: bool = False) -> str:
    """What an interval of a difference shows.

    Example:
        >>> verdict(Interval(0.01, -0.01, 0.03))
        'no difference shown'
    """
    if difference.low > 0:
        return WORSE if lower_is_better else BETTER
    if difference.high < 0:
        return BETTER if lower_is_better else WORSE
    return ALIKE


def headline(models: Models, comparisons: Sequence[Comparison], metric: str) -> str:
    """One sentence on the model, one on what it was compared with; its own parts are left out."""
    if MAIN not in models:
        return f"{_listed([called(name) for name in models])}, on the same cases."
    mean = models[MAIN][metric]
    reached = (
        f"{MAIN} reaches {spoken(metric)} {mean.value:.4f} "
        f"(95 % interval {mean.low:.4f} to {mean.high:.4f})."
    )
    wording = {BETTER: "better than", ALIKE: "not shown to differ from", WORSE: "worse than"}
    parts = []
    for kind, words in wording.items():
        names = [called(c.name) for c in comparisons if c.verdict == kind and not _own(c.name)]
        if names:
            parts.append(f"{words} {_listed(names)}")
    return f"{reached} It is {'; '.join(parts)}." if parts else reached


def _own(name: str) -> bool:
    """Whether a model is a part of p5mm, or p5mm with something taken away."""
    return name in (RETRIEVER, SIMILARITIES) or name.startswith(f"{MAIN}, ")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
