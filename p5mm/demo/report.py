"""The report: one HTML file that a person enjoys, pictures inside, nothing loaded from outside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from p5mm.data.pictures import Picture
from p5mm.pages.chart import log_chart
from p5mm.pages.page import render_page
from p5mm.pages.stories import NewItem, Search, Shopper

METRICS = ("recall@5", "recall@10", "recall@20", "ndcg@10")


@dataclass(frozen=True)
class ReportData:
    """Everything the report shows, as plain data.

    Attributes:
        title: The headline.
        about: One paragraph: what this is.
        simulated: How the shoppers were made, if they are not real people; else None.
        facts: Numbers of the headline: ``(number, of what)``.
        shoppers_note: How these shoppers were chosen.
        models: ``{name: {metric: {"value", "low", "high"}}}`` as ``p5mm evaluate --json`` has it;
            one called "oracle" knows the truth and does not compete.
        training_log: One mapping an epoch: ``epoch``, ``loss``, ``ndcg@10``.
        new_items_note: One paragraph on the new items as a whole.
        quarantine: ``(item_id, reason)`` of pictures that could not be read.
        timings: ``(step, seconds)``.
        titles: Short names of the items shown; an item without one shows its id.
        pictures: Pictures of the items shown; an item without one becomes a tile of text.
        credits: Lines of the footer: licences and sources.
    """

    title: str
    about: str
    simulated: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    shoppers: Sequence[Shopper] = ()
    shoppers_note: str = ""
    searches: Sequence[Search] = ()
    models: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    training_log: Sequence[Mapping[str, float]] = ()
    new_items: Sequence[NewItem] = ()
    new_items_note: str = ""
    quarantine: Sequence[tuple[str, str]] = ()
    timings: Sequence[tuple[str, float]] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    credits: Sequence[str] = ()


def render(data: ReportData) -> str:
    """The report as HTML; every picture is in it once, and every text is escaped."""
    return render_page(
        "report.html.j2",
        title=data.title,
        shown=_shown(data),
        titles=data.titles,
        pictures=data.pictures,
        credits=data.credits,
        data=data,
        metrics=[name for name in METRICS if any(name in m for m in data.models.values())],
        best=_best(data.models),
        top=_top(data.models),
        ndcg=log_chart(data.training_log, "ndcg@10"),
        loss=log_chart(data.training_log, "loss"),
        reasons=_reasons(data.quarantine),
    )


def _shown(data: ReportData) -> Iterator[str]:
    """Ids of all items that the report shows, again and again."""
    new_shoppers = [shopper for new in data.new_items for shopper in new.shoppers]
    for shopper in [*data.shoppers, *new_shoppers]:
        yield from (
            *shopper.history,
            *shopper.recommended,
            *([shopper.truth] if shopper.truth else []),
        )
    for search in data.searches:
        yield from (search.hits if search.kind == "text" else [search.query, *search.hits])
    for new in data.new_items:
        yield from (new.item_id, *new.nearest)


def _best(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """The highest value of each metric among the models that compete."""
    competing = [metrics for name, metrics in models.items() if name != "oracle"]
    return {
        metric: max((m[metric]["value"] for m in competing if metric in m), default=float("nan"))
        for metric in METRICS
    }


def _top(models: Mapping[str, Mapping[str, Mapping[str, float]]]) -> float:
    """The right end of the bars: the highest bound of NDCG@10."""
    highs = [m["ndcg@10"]["high"] for m in models.values() if "ndcg@10" in m]
    return max(highs, default=0.0) or 1.0


def _reasons(quarantine: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Item ids by the reason they were put aside for."""
    reasons: dict[str, list[str]] = {}
    for item, reason in quarantine:
        reasons.setdefault(reason, []).append(item)
    return reasons
