import io
import re
import xml.etree.ElementTree as ElementTree

import pytest
from PIL import Image

from p5mm.demo.report import ReportData, render
from p5mm.pages.chart import HEIGHT, WIDTH, line_chart
from p5mm.pages.stories import NewItem, Search, Shopper


def png(colour: str) -> bytes:
    coded = io.BytesIO()
    Image.new("RGB", (200, 120), colour).save(coded, "PNG")
    return coded.getvalue()


def mean(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


@pytest.fixture
def data() -> ReportData:
    return ReportData(
        title="Shop & <friends>",
        about="What it is.",
        simulated="Drawn from a stated model.",
        facts=[("3", "items")],
        shoppers=[
            Shopper("ann", ["a", "b"], ["c", "d"], truth="c"),
            Shopper("bob", ["c", "broken"], ["a", "b"], truth="d"),
        ],
        searches=[Search("text", "red <b>fruit</b>", ["a", "b"]), Search("item", "a", ["b"])],
        models={
            "p5mm": {"ndcg@10": mean(0.2), "recall@10": mean(0.3)},
            "sasrec": {"ndcg@10": mean(0.1), "recall@10": mean(0.4)},
            "oracle": {"ndcg@10": mean(0.5), "recall@10": mean(0.6)},
        },
        training_log=[
            {"epoch": 1, "loss": 3.0, "ndcg@10": 0.1, "seconds": 1.0},
            {"epoch": 2, "loss": float("nan"), "ndcg@10": 0.2, "seconds": 1.0},
        ],
        new_items=[NewItem("n", ["a", "b"], [Shopper("cat", ["a"], [])])],
        new_items_note="A new one.",
        quarantine=[("x", "truncated"), ("y", "truncated"), ("<i>z</i>", "no such file")],
        timings=[("draw", 1.0), ("train", 9.0)],
        titles={"a": "Apple", "d": "<script>alert(1)</script>", "c": 'quote " & tag'},
        pictures={"a": png("red"), "b": png("blue"), "n": png("green"), "broken": b"not a picture"},
        credits=["Licence: https://creativecommons.org/licenses/by-sa/4.0/"],
    )


def test_every_part_is_there_and_tags_close(data, page_of):
    page = page_of(render(data))
    text = page.text
    for words in (
        "These shoppers are simulated. Drawn from a stated model.",
        "3 items",
        "ann hit took, oldest to newest",
        "bob missed took, oldest to newest",
        "by text “red <b>fruit</b>”",
        "oracle: knows the truth 0.600 0.590 – 0.610 0.500 0.490 – 0.510",
        "NDCG@10 on validation, by epoch",
        "Training loss, by epoch",
        "A new one.",
        "nearest sold items",
        "2 × truncated x, y",
        "1 × no such file <i>z</i>",
        "train 9.0 s all 10 s",
        "Licence: https://creativecommons.org/licenses/by-sa/4.0/",
    ):
        assert words in text, words


def test_nothing_is_loaded_from_outside(data, page_of):
    page = page_of(render(data))
    loading = ("src", "href", "xlink:href", "srcset", "poster", "action")
    links = [v for _, name, v in page.attributes if name in loading]
    pictures, tiles = 3, 12  # a, b, n; each opens large besides
    assert len(links) == pictures + tiles + pictures
    assert all(v.startswith(("data:", "#")) for v in links)
    html = render(data)
    assert "url(" not in html
    assert "@import" not in html
    assert "<script" not in html
    assert "default-src 'none'" in html


def test_texts_are_escaped(data):
    html = render(data)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "Shop &amp; &lt;friends&gt;" in html
    assert "red &lt;b&gt;fruit" in html
    assert "<i>z</i>" not in html


EVIL = "\"'><img src=x onerror=alert(1)>\r\n\u202e{{ 7 }}\x1b[2J"
SHOWN = "\"'><img src=x onerror=alert(1)> \ufffd{{ 7 }}\ufffd[2J"


def test_every_text_of_a_stranger_is_escaped_and_stays_on_its_line(data, page_of):
    shopper = Shopper(EVIL, [EVIL, "a"], [EVIL], truth=EVIL)
    evil = ReportData(
        title=EVIL,
        about=EVIL,
        simulated=EVIL,
        facts=[(EVIL, EVIL)],
        shoppers=[shopper],
        shoppers_note=EVIL,
        searches=[Search(EVIL, EVIL, [EVIL]), Search("text", EVIL, ["a"])],
        models={EVIL: data.models["p5mm"]},
        new_items=[NewItem("a", [EVIL], [shopper])],
        new_items_note=EVIL,
        quarantine=[(EVIL, EVIL)],
        timings=[(EVIL, 1.0)],
        titles={"a": EVIL},
        pictures=data.pictures,
        credits=[EVIL],
    )
    html = render(evil)
    page = page_of(html)
    assert page.text.count(SHOWN) >= 20
    for tag, name in (("button", "title"), ("svg", "aria-label"), ("span", "title")):
        assert SHOWN in page.find(tag, name)
    assert "<img" not in html
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not set("\r\x1b\u202e") & set(html)


def test_each_picture_is_embedded_once_and_every_use_resolves(data, page_of):
    page = page_of(render(data))
    assert len(page.find("image", "href")) == 3  # a, b, n; the broken one is a tile of text
    symbols = {f"#{number}" for number in page.find("symbol", "id")}
    uses = page.find("use", "href")
    assert len(uses) > 3
    assert set(uses) <= symbols


def test_every_tile_has_a_name(data, page_of):
    page = page_of(render(data))
    assert "Apple" in page.find("svg", "aria-label")
    assert "broken" in page.find("span", "title")


def test_the_truth_is_framed_where_it_was_recommended(data):
    html = render(data)
    ann, bob = html.split('<section class="card">')[1:3]
    assert len(re.findall(r'class="tile[^"]* hit"', ann)) == 2
    assert not re.findall(r'class="tile[^"]* hit"', bob.split("</section>")[0])
    assert 'miss"' in bob.split("</section>")[0]


def test_the_best_is_bold_and_the_oracle_does_not_compete(data):
    bold = re.findall(r"<td><b>([\d.]+)</b>", render(data))
    assert sorted(bold) == ["0.200", "0.400"]


def test_an_empty_report_still_renders(page_of):
    page = page_of(render(ReportData("Nothing yet", "No data.")))
    assert "every picture that the catalog names could be read" in page.text
    assert not page.find("use", "href")


def test_the_chart_stays_in_its_box_and_is_valid_svg():
    chart = line_chart(range(1, 15), [6 - 0.3 * i for i in range(14)])
    assert chart is not None
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y, _ in chart.points)
    assert [y for _, y, _ in chart.points] == sorted(y for _, y, _ in chart.points)
    ElementTree.fromstring(f'<polyline points="{chart.line}"/>')
    assert [label for _, label in chart.x_ticks] == ["5", "10"]


@pytest.mark.parametrize("ys", [[0.0], [2.0, 2.0], [0.0, 0.0, 0.0], [1e-9, 5e6]])
def test_charts_of_flat_and_wide_values(ys):
    chart = line_chart(range(len(ys)), ys)
    assert chart is not None
    assert all(0 <= y <= HEIGHT for _, y, _ in chart.points)


def test_no_chart_without_finite_values():
    assert line_chart([1, 2], [float("nan"), float("inf")]) is None
