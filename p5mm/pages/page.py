"""Pages of HTML that are whole in themselves: one look, pictures inside, nothing from outside."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from p5mm.data.pictures import Picture
from p5mm.errors import shown
from p5mm.pages.thumbnails import thumbnail

PICTURE = 240
"""Pixels of the longer side of a picture inside a page: a tile shows it small, a click large."""
LABELS = {
    "retriever": "p5mm, retriever alone",
    "similarities": "p5mm, no decoder",
    "sasrec": "SASRec",
    "bpr": "BPR",
    "item-knn": "item-kNN",
    "oracle": "oracle: knows the truth",
    "p5mm, held-out": "p5mm, unseen prompt",
}
METRICS = {
    "recall@": "Recall@",
    "hit@": "HR@",
    "ndcg@": "NDCG@",
    "mrr": "MRR",
    "rmse": "RMSE",
    "mae": "MAE",
}


def render_page(
    template: str,
    *,
    title: str,
    shown: Iterable[str],
    titles: Mapping[str, str],
    pictures: Mapping[str, Picture],
    credits: Sequence[str],
    **values: Any,
) -> str:
    """A page as HTML; every picture is in it once, every text is one line and escaped.

    Args:
        template: File of the package that extends ``page.html.j2``.
        title: The headline.
        shown: Ids of the items on the page, in any order.
        titles: Short names of items; an item without one shows its id.
        pictures: Pictures of items; an item without one becomes a tile of text.
        credits: Lines of the footer.
        **values: What else the template asks for.
    """
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"called": called, "spoken": spoken, "signed": signed}
    return environment.get_template(template).render(
        title=title,
        thumbnails=_thumbnails(shown, pictures),
        titles=titles,
        credits=credits,
        **values,
    )


def called(model: str) -> str:
    """A model as papers print it; a name that is not known stays as it is."""
    return LABELS.get(model, model)


def spoken(metric: str) -> str:
    """A metric as papers print it.

    Example:
        >>> spoken("ndcg@10")
        'NDCG@10'
    """
    for short, name in METRICS.items():
        metric = metric.replace(short, name)
    return metric


def signed(value: float, digits: int = 4) -> str:
    """A number with its sign; the minus is as wide as the plus.

    Example:
        >>> signed(-0.01)
        '−0.0100'
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def _plain(value: Any) -> Any:
    """What a template prints: texts on one line; what is HTML already stays."""
    return shown(value) if type(value) is str else value


def _source(template: str) -> str:
    return files("p5mm.pages").joinpath("templates", template).read_text(encoding="utf-8")


def _thumbnails(
    shown: Iterable[str], pictures: Mapping[str, Picture]
) -> dict[str, tuple[int, str]]:
    """A number and a data URI for each item shown that has a picture."""
    uris: dict[str, tuple[int, str]] = {}
    for item in dict.fromkeys(shown):
        picture = thumbnail(pictures.get(item), PICTURE, enlarge=False)
        if picture is not None:
            coded = io.BytesIO()
            picture.save(coded, "WEBP", quality=70)
            text = base64.b64encode(coded.getvalue()).decode("ascii")
            uris[item] = (len(uris), f"data:image/webp;base64,{text}")
    return uris
