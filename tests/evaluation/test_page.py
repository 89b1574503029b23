import io
import re
from dataclasses import replace
from functools import partial
from html import escape

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from p5mm.config import DataConfig
from p5mm.data.catalog import Catalog
from p5mm.errors import InputError
from p5mm.evaluation.comparison import compare, headline, verdict
from p5mm.evaluation.evaluate import evaluate
from p5mm.evaluation.hits_and_misses import hits_and_misses
from p5mm.evaluation.model_report import evaluate_model
from p5mm.evaluation.page import evaluation_page, pictured_catalog
from p5mm.evaluation.sections import slice_tables
from p5mm.metrics.intervals import Interval, paired
from p5mm.serving.folder import read_model, write_model

ODD = "p5mm, <text> zero & more"  # a model that no list knows


def png(colour):
    coded = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(coded, "PNG")
    return coded.getvalue()


@pytest.fixture(scope="module")
def report(toy):
    measured = evaluate_model(toy, "test", None, ["item-knn", "popularity"])
    odd = {name: values * 0.5 for name, values in measured.per_user["p5mm"].items()}
    return replace(
        measured,
        per_user=measured.per_user | {ODD: odd},
        coverage=measured.coverage | {ODD: measured.coverage["p5mm"]},
    )


@pytest.fixture(scope="module")
def html(report, toy):
    return evaluation_page(report, toy)


@pytest.fixture(scope="module")
def page(html, page_of):
    return page_of(html)


@pytest.fixture(scope="module")
def rows_of(page_of):
    return partial(cells_of, page_of)


def cells_of(page_of, html, title):
    """Cells of the table below a headline, as texts by the first cell."""
    section = html.split(f">{title}</h")[1]
    table = section[section.index("<tbody>") : section.index("</tbody>")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in table.split("<tr")[1:]]
    return {page_of(cells[0]).text or cells[0]: cells for cells in rows}


def test_every_part_is_there(page):
    for words in (
        "How good is it?", "Is the difference real?", "Hits and misses", "For whom, and for what?",
        "What the retriever leaves to the reranker", "By length of the history", "none found",
        "By popularity of the hidden item", "How it learned", "Retriever: training loss",
        "Retriever: NDCG@10 on validation", "How much of the catalog", "Coverage@20",
        "leave-one-out by time", "the last item was hidden",
    ):  # fmt: skip
        assert words in page.text, words


def test_nothing_is_loaded_from_outside_and_nothing_runs(html, page):
    loading = {"src", "href", "xlink:href", "srcset", "poster", "action"}
    links = [value for _, name, value in page.attributes if name in loading]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "default-src 'none'" in html
    for word in ("<script", "url(", "@import", "http://", "https://"):
        assert word not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_the_table_has_every_model_with_its_intervals_and_marks_the_best(report, html, rows_of):
    rows = rows_of(html, "How good is it?")
    assert len(rows) == len(report.per_user)
    assert set(rows) == {
        "item-kNN", "popularity", "p5mm", "p5mm, no decoder",
        "p5mm, retriever alone", escape(ODD),
    }  # fmt: skip

    metrics = ["recall@5", "recall@10", "recall@20", "ndcg@10", "mrr"]
    models = report.models
    best = {m: max(of[m].value for of in models.values()) for m in metrics}
    for of, cells in zip(models.values(), rows.values(), strict=True):
        assert len(cells) == 1 + len(metrics) + 1  # name, metrics, the bar
        for metric, cell in zip(metrics, cells[1:-1], strict=True):
            mean = of[metric]
            assert f"{mean.value:.4f}" in cell
            assert f"{mean.low:.4f} – {mean.high:.4f}" in cell
            assert ("<b>" in cell) == (mean.value == best[metric])


def test_unknown_models_show_up_and_are_escaped(html, page):
    assert ODD in page.text
    assert "p5mm, <text>" not in html
    # How good, the differences, two ways of slicing, coverage: once in each.
    assert html.count("p5mm, &lt;text&gt; zero &amp; more") == 5


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "better"),
        (-0.01, 0.03, "no difference shown"),
        (0.0, 0.03, "no difference shown"),
        (0.0, 0.0, "no difference shown"),
        (-0.03, -0.01, "worse"),
    ],
)
def test_verdicts(low, high, words):
    assert verdict(Interval((low + high) / 2, low, high)) == words


def test_comparisons_are_paired_over_users(report, html, page_of, rows_of):
    comparisons = {
        comparison.name: comparison
        for comparison in compare(report.models, report.differences, "ndcg@10")
    }
    assert set(comparisons) == set(report.per_user) - {"p5mm"}
    main = report.per_user["p5mm"]["ndcg@10"]
    for name, comparison in comparisons.items():
        other = report.per_user[name]["ndcg@10"]
        assert comparison.difference.value == pytest.approx(main.mean() - other.mean())
        assert comparison.relative == pytest.approx(main.mean() / other.mean() - 1)
        check = paired(main, other, seed=7)
        assert comparison.difference.low == pytest.approx(check.low, abs=0.03)
    assert comparisons[ODD].verdict == "better"
    cells = rows_of(html, "Is the difference real?")
    assert {page_of(row[1]).text for row in cells.values()} == {
        o.verdict for o in comparisons.values()
    }


def test_the_headline_says_what_was_shown_and_leaves_out_parts_of_the_model():
    models = {name: {"ndcg@10": Interval(0.2, 0.1, 0.3)} for name in ("p5mm", "bpr", "x", "y")}
    models |= {"retriever": models["x"], "p5mm, text zero": models["x"]}
    differences = {
        "p5mm - bpr": {"ndcg@10": Interval(0.1, 0.05, 0.2)},
        "p5mm - x": {"ndcg@10": Interval(0.1, 0.05, 0.2)},
        "p5mm - y": {"ndcg@10": Interval(-0.1, -0.2, -0.05)},
        "p5mm - retriever": {"ndcg@10": Interval(0, 0, 0)},
        "p5mm - p5mm, text zero": {"ndcg@10": Interval(0, 0, 0)},
    }
    said = headline(models, compare(models, differences, "ndcg@10"), "ndcg@10")
    assert said == (
        "p5mm reaches NDCG@10 0.2000 (95 % interval 0.1000 to 0.3000). "
        "It is better than BPR and x; worse than y."
    )


def test_slices_have_the_means_of_the_report(report, html):
    tables = slice_tables(report, "ndcg@10")
    assert [t.title for t in tables] == [
        "By length of the history", "By popularity of the hidden item",
    ]  # fmt: skip
    means = {label.replace("-", "–"): of for label, of in report.slice_means("ndcg@10").items()}
    seen = 0
    for table, group in zip(tables, ("history", "target taken"), strict=True):
        assert sum(table.cases.values()) == report.protocol["users"]
        for part, cases in table.cases.items():
            expected = means[f"{group} {part}"]
            assert cases == expected["cases"]
            for name, of in table.models.items():
                assert of[part].value == pytest.approx(expected[name])
                assert of[part].low <= of[part].value <= of[part].high
            assert table.best[part] == pytest.approx(max(expected[n] for n in table.models))
            assert f"<small>{cases} cases</small>" in html
            seen += 1
    assert seen == len(means)


def test_where_nobody_finds_anything_nobody_is_the_best(report, toy):
    nothing = {name: {m: v * 0 for m, v in of.items()} for name, of in report.per_user.items()}
    for of in nothing.values():
        of["mrr"] += 0.01
    html = evaluation_page(replace(report, per_user=nothing, tasks={}), toy)
    assert "<td><b>0.000" not in html
    assert "<td><b>0.0100</b>" in html


def test_slices_of_a_new_kind_are_shown_too(report, toy):
    users = report.protocol["users"]
    odd = {"season winter": np.arange(users) < 3, "season summer": np.arange(users) < 0}
    (table,) = slice_tables(replace(report, slices=odd), "ndcg@10")
    assert (table.title, table.cases) == ("By season", {"winter": 3})
    assert "By season" in evaluation_page(replace(report, slices=odd), toy)


def test_pictures_are_embedded_and_the_hit_is_framed(report, toy, page_of):
    ids = toy.catalog.item_ids
    table = pa.table({"item_id": ids, "image": [png((9 * i % 256, 9, 9)) for i in range(len(ids))]})
    html = evaluation_page(report, toy, Catalog.from_table(table))
    chosen = hits_and_misses(report, toy)
    page = page_of(html)
    stories = [*chosen.hits, *chosen.misses, *chosen.lost]
    shown = {i for s in stories for i in (*s.history, *s.recommended, s.truth)}
    assert len(re.findall("<symbol ", html)) == len(shown)
    uses = [value for tag, name, value in page.attributes if (tag, name) == ("use", "href")]
    numbers = {
        f"#{value}" for tag, name, value in page.attributes if (tag, name) == ("symbol", "id")
    }
    assert set(uses) == numbers
    assert "Titles stand for pictures" not in page.text
    assert len(re.findall(r'class="tile[^"]* hit"', html)) == 2 * len(chosen.hits)
    missed = len(chosen.misses) + len(chosen.lost)
    assert len(re.findall(r'class="tile[^"]* miss"', html)) == missed


def test_without_pictures_there_are_titles_and_a_line_that_says_so(report, toy, page):
    assert "Titles stand for pictures: a saved model keeps no picture files" in page.text
    assert re.search(r"ring\d step\d", page.text)
    bare = Catalog.from_table(pa.table({"item_id": toy.catalog.item_ids}))
    assert "the data has no pictures of these items" in evaluation_page(report, toy, bare)


def test_the_catalog_is_opened_again_where_the_data_still_is(toy, toys, tmp_path):
    names = ["user_id", "item_id", "timestamp", "rating"]
    columns = [list(column) for column in zip(*toys.toy_rows(), strict=True)]
    pq.write_table(pa.table(columns, names=names), tmp_path / "interactions.parquet")
    ids = toy.catalog.item_ids
    pq.write_table(
        pa.table({"item_id": ids, "image": [f"{i}.png" for i in ids]}), tmp_path / "catalog.parquet"
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{ids[0]}.png").write_bytes(png("red"))
    catalog = pictured_catalog(toy, tmp_path)
    assert catalog.picture(ids[0]) is not None
    assert catalog.picture(ids[1]) is None
    there = with_root(toy, tmp_path)
    assert pictured_catalog(there).picture(ids[0]) == catalog.picture(ids[0])
    write_model(there, tmp_path / "model")
    loaded = read_model(tmp_path / "model")
    assert pictured_catalog(loaded) is loaded.catalog  # a saved model carries no path
    for root in (tmp_path / "gone", tmp_path / "images"):
        elsewhere = with_root(toy, root)
        assert pictured_catalog(elsewhere) is elsewhere.catalog
        with pytest.raises(InputError, match="--data FOLDER"):
            pictured_catalog(toy, root)


def with_root(model, root):
    config = replace(model.config, data=DataConfig(root=str(root)))
    return replace(model, config=config)


def test_what_the_linter_found_stands_at_the_top(report, toy):
    warned = replace(report, protocol=report.protocol | {"leakage": ["numbers <give> the order"]})
    html = evaluation_page(warned, toy)
    assert html.index("numbers &lt;give&gt; the order") < html.index("How good is it?")
    assert "warns of itself" in html


def test_other_cut_offs_and_other_models(toy, page_of):
    ranker = toy.scorer.among(toy.rows)
    cases = toy.split.cases("valid")
    report = evaluate({"mine": ranker}, cases, len(toy.rows), ks=(1, 5), split="valid")
    page = page_of(evaluation_page(report, toy))
    assert "NDCG@5" in page.text
    assert "NDCG@10 and its interval" not in page.text
    assert "mine, on the same cases" in page.text
    assert "Hits and misses" not in page.text
    assert "the item before the last was hidden" in page.text


def test_a_report_of_other_cases_is_refused(report, toy):
    fewer = {
        name: {metric: values[:5] for metric, values in of.items()}
        for name, of in report.per_user.items()
    }
    with pytest.raises(InputError, match="has 5 cases"):
        evaluation_page(replace(report, per_user=fewer, slices={}), toy)


def test_without_baselines_nothing_is_lost_to_anybody(report, toy, rows_of):
    own = {name: report.per_user[name] for name in ("p5mm", "retriever")}
    html = evaluation_page(replace(report, per_user=own), toy)
    assert hits_and_misses(replace(report, per_user=own), toy).lost == []
    assert "Missed here" not in html
    assert list(rows_of(html, "Is the difference real?")) == ["p5mm, retriever alone"]


def test_the_weights_of_the_reranker_are_those_of_the_model(html, toy, rows_of):
    rows = rows_of(html, "What the reranker believes")
    tried, served = toy.fitted.tried, toy.fitted.weights
    told = {"with similarities": "similarities", "with the decoder": "decoder", "with both": "all"}
    assert set(rows) == {"retriever", *told}
    for name, cells in rows.items():
        value = tried[told.get(name, name)]
        assert cells[2] == f"{value:.4f}"
        gain = 100 * (value / tried["retriever"] - 1)
        assert cells[3] == ("–" if name == "retriever" else f"{gain:+.1f} %".replace("-", "−"))
    assert rows["with both"][1] == ", ".join(f"{n} {w:g}" for n, w in served.items() if w)
    assert "never on those tested here" in html


def test_curves_of_one_epoch_with_its_time(report, toy, page_of):
    log = [{"epoch": 1, "loss": 2.0, "ndcg@10": 0.5, "seconds": 61.6}]
    tasks = [{"epoch": 1, "loss": 3.0, "sequential": 1.25, "score": -1.25}]
    fitted = replace(toy.fitted, log=log, task_log=tasks)
    html = evaluation_page(report, replace(toy, fitted=fitted))
    page = page_of(html)
    assert html.count("<figure>") == 4
    assert "62 s" in page.text
    assert "Decoder: validation loss, sequential" in page.text
    assert "<title>1.25</title>" in html


def test_the_tasks_have_their_sections(report, toy, html, rows_of, page_of):
    direct, rating = report.tasks["direct"], report.tasks["rating"]
    for title, task, best in (
        ("Which of a hundred would it pick?", direct, max),
        ("How would the user rate it?", rating, min),
    ):
        rows = rows_of(html, title)
        assert len(rows) == len(task.models)
        assert "p5mm, unseen prompt" in rows
        for of, cells in zip(task.models.values(), rows.values(), strict=True):
            for metric, cell in zip(task.metrics, cells[1 : 1 + len(task.metrics)], strict=True):
                mean = of[metric]
                assert f"{mean.value:.4f}" in cell
                assert f"{mean.low:.4f} – {mean.high:.4f}" in cell
                others = [means[metric].value for means in task.models.values()]
                assert ("<b>" in cell) == (mean.value == best(others))
    text = page_of(html).text
    assert "direct: decoder's weight" in text
    assert "in RMSE, user by user; below 0 p5mm errs less" in text


def test_an_error_below_that_of_others_is_better():
    below, above = Interval(-0.2, -0.3, -0.1), Interval(0.2, 0.1, 0.3)
    assert [verdict(d, lower_is_better=True) for d in (below, above)] == ["better", "worse"]
    assert [verdict(d) for d in (below, above)] == ["worse", "better"]


def test_a_report_without_tasks_has_no_such_sections(report, toy):
    html = evaluation_page(replace(report, tasks={}), toy)
    assert "Which of a hundred" not in html
    assert "How would the user rate it" not in html


def test_titles_and_ids_of_strangers_are_text_on_one_line(report, toy, page_of):
    evil = "\"><img src=x onerror=alert(1)>'\r\n\u202e{{ 7 * 7 }}\x1b[2J &amp;"
    shown = "\"><img src=x onerror=alert(1)>' \ufffd{{ 7 * 7 }}\ufffd[2J &amp;"
    table = toy.catalog.table
    titles = pa.array([evil] * len(table))
    column = table.schema.get_field_index("title")
    catalog = Catalog.from_table(table.set_column(column, "title", titles))
    html = evaluation_page(report, replace(toy, catalog=catalog))
    parsed = page_of(html)
    assert shown in parsed.text
    assert shown in parsed.find("span", "title")
    assert "<img" not in html
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert not set("\r\x1b\u202e") & set(html)
