import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from p5mm.bootstrap import Interval, paired
from p5mm.catalog import Catalog
from p5mm.dataset import DataConfig
from p5mm.errors import InputError
from p5mm.evaluation import evaluate
from p5mm.evaluation_page import (
    compare,
    evaluation_page,
    headline,
    pictured_catalog,
    slice_tables,
    verdict,
)
from p5mm.hits_and_misses import EACH, HISTORY, RECOMMENDED, evenly, hits_and_misses
from p5mm.model_commands import evaluation_of
from p5mm.recommender import Recommender

ODD = "p5mm, <text> zero & more"  # a model that no list knows
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Tags(HTMLParser):
    """Checks that tags close in order; keeps attributes and the visible text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(html)
        self.close()
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)


def png(colour):
    coded = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(coded, "PNG")
    return coded.getvalue()


@pytest.fixture(scope="module")
def report(toy):
    found = evaluation_of(toy, "test", None, ["item-knn", "popularity"])
    odd = {name: values * 0.5 for name, values in found.per_user["p5mm"].items()}
    return replace(
        found,
        per_user=found.per_user | {ODD: odd},
        coverage=found.coverage | {ODD: found.coverage["p5mm"]},
    )


@pytest.fixture(scope="module")
def html(report, toy):
    return evaluation_page(report, toy)


@pytest.fixture(scope="module")
def page(html):
    return Tags(html)


def rows_of(html, title):
    """Cells of the table below a headline, as texts by the first cell."""
    section = html.split(f">{title}</h")[1]
    table = section[section.index("<tbody>") : section.index("</tbody>")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in table.split("<tr")[1:]]
    return {Tags(cells[0]).text or cells[0]: cells for cells in rows}


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


def test_the_table_has_every_model_with_its_intervals_and_marks_the_best(report, html):
    rows = rows_of(html, "How good is it?")
    assert len(rows) == len(report.per_user)
    names = ["item-kNN", "popularity", "p5mm", "p5mm, retriever alone"]
    assert set(names) < set(rows)
    metrics = ["recall@5", "recall@10", "recall@20", "ndcg@10", "mrr"]
    models = report.models
    best = {m: max(of[m].value for of in models.values()) for m in metrics}
    for of, cells in zip(models.values(), rows.values(), strict=True):
        for metric, cell in zip(metrics, cells[1:], strict=False):
            one = of[metric]
            assert f"{one.value:.4f}" in cell
            assert f"{one.low:.4f} – {one.high:.4f}" in cell
            assert ("<b>" in cell) == (one.value == best[metric])


def test_unknown_models_show_up_and_are_escaped(html, page):
    assert ODD in page.text
    assert "p5mm, <text>" not in html
    assert html.count("p5mm, &lt;text&gt; zero &amp; more") >= 5  # in every table


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


def test_comparisons_are_paired_over_users(report, html):
    found = {one.name: one for one in compare(report.models, report.differences, "ndcg@10")}
    assert set(found) == set(report.per_user) - {"p5mm"}
    main = report.per_user["p5mm"]["ndcg@10"]
    for name, one in found.items():
        other = report.per_user[name]["ndcg@10"]
        assert one.difference.value == pytest.approx(main.mean() - other.mean())
        assert one.relative == pytest.approx(main.mean() / other.mean() - 1)
        check = paired(main, other, seed=7)
        assert one.difference.low == pytest.approx(check.low, abs=0.03)
    assert found[ODD].verdict == "better"
    cells = rows_of(html, "Is the difference real?")
    assert {Tags(row[1]).text for row in cells.values()} == {o.verdict for o in found.values()}


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
    html = evaluation_page(replace(report, per_user=nothing), toy)
    assert "<td><b>0.000" not in html
    assert "<td><b>0.0100</b>" in html


def test_slices_of_a_new_kind_are_shown_too(report, toy):
    users = report.protocol["users"]
    odd = {"season winter": np.arange(users) < 3, "season summer": np.arange(users) < 0}
    (table,) = slice_tables(replace(report, slices=odd), "ndcg@10")
    assert (table.title, table.cases) == ("By season", {"winter": 3})
    assert "By season" in evaluation_page(replace(report, slices=odd), toy)


def test_stories_agree_with_a_ranking_by_hand(report, toy):
    found = hits_and_misses(report, toy)
    cases = toy.split.cases("test")
    users, _ = toy.core.histories(list(toy.fitted.items))
    assert found.hit_count + found.miss_count == len(cases)
    for story in [*found.hits, *found.misses]:
        case = np.flatnonzero(cases.users == users.index(story.user_id))
        (scores,) = toy.scorer.among(toy.rows).scores(cases.histories.select(case))
        history, target = cases.histories[int(case[0])], cases.targets[case[0]]
        open_items = [i for i in np.argsort(-scores, kind="stable") if i not in history]
        assert story.recommended == [toy.fitted.items[i] for i in open_items[:RECOMMENDED]]
        assert story.history == [toy.fitted.items[i] for i in history[-HISTORY:]]
        assert story.truth == toy.fitted.items[target]
        assert story.rank == open_items.index(target) + 1
    assert all(story.truth in story.recommended for story in found.hits)
    assert all(story.truth not in story.recommended for story in found.misses)
    assert len(found.hits) == min(EACH, found.hit_count)
    assert len(found.misses) == min(EACH, found.miss_count)
    assert hits_and_misses(report, toy) == found


def test_a_hit_is_within_the_first_six_and_a_history_ends_with_its_newest(report, toy, monkeypatch):
    monkeypatch.setattr("p5mm.hits_and_misses.HISTORY", 2)
    ranks = np.resize([1.0, 5.5, 6.0, 6.5, 7.0, 49.0], report.protocol["users"])
    found = hits_and_misses(replace(report, per_user={"p5mm": {"mrr": 1 / ranks}}), toy)
    assert found.hit_count == (ranks <= RECOMMENDED).sum()
    assert {story.rank for story in found.misses} <= {6.5, 7.0, 49.0}
    cases = toy.split.cases("test")
    users, _ = toy.core.histories(list(toy.fitted.items))
    for story in found.hits:
        case = int(np.flatnonzero(cases.users == users.index(story.user_id))[0])
        assert story.history == [toy.fitted.items[i] for i in cases.histories[case][-2:]]


@given(st.integers(0, 400), st.integers(1, 12))
def test_evenly_spreads(rows, n):
    chosen = evenly(np.arange(rows), n)
    assert len(chosen) == min(rows, n)
    assert len(set(chosen.tolist())) == len(chosen)
    gaps = np.diff([*chosen, rows + chosen[0]] if rows else [])
    assert not len(gaps) or rows <= n or gaps.max() - gaps.min() <= 1


def test_pictures_are_embedded_and_the_hit_is_framed(report, toy):
    ids = toy.catalog.item_ids
    table = pa.table({"item_id": ids, "image": [png((9 * i % 256, 9, 9)) for i in range(len(ids))]})
    html = evaluation_page(report, toy, Catalog.from_table(table))
    found = hits_and_misses(report, toy)
    page = Tags(html)
    stories = [*found.hits, *found.misses, *found.lost]
    shown = {i for s in stories for i in (*s.history, *s.recommended, s.truth)}
    assert len(re.findall("<symbol ", html)) == len(shown)
    uses = [value for tag, name, value in page.attributes if (tag, name) == ("use", "href")]
    numbers = {
        f"#{value}" for tag, name, value in page.attributes if (tag, name) == ("symbol", "id")
    }
    assert set(uses) == numbers
    assert "Titles stand for pictures" not in page.text
    assert len(re.findall(r'class="tile[^"]* hit"', html)) == 2 * len(found.hits)
    missed = len(found.misses) + len(found.lost)
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
    found = pictured_catalog(toy, tmp_path)
    assert found.picture(ids[0]) is not None
    assert found.picture(ids[1]) is None
    there = with_root(toy, tmp_path)
    assert pictured_catalog(there).picture(ids[0]) == found.picture(ids[0])
    there.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    assert pictured_catalog(loaded) is loaded.catalog  # a saved model carries no path
    for root in (tmp_path / "gone", tmp_path / "images"):
        elsewhere = with_root(toy, root)
        assert pictured_catalog(elsewhere) is elsewhere.catalog
        with pytest.raises(InputError, match="--data FOLDER"):
            pictured_catalog(toy, root)


def with_root(model, root):
    config = replace(model.config, data=DataConfig(root=str(root)))
    return Recommender(
        config, model.catalog, model.log, model.content, model.network, model.tokenizer,
        model.similar, model.fitted,
    )  # fmt: skip


def test_what_the_linter_found_stands_at_the_top(report, toy):
    told = replace(report, protocol=report.protocol | {"leakage": ["numbers <tell> the order"]})
    html = evaluation_page(told, toy)
    assert html.index("numbers &lt;tell&gt; the order") < html.index("How good is it?")
    assert "warns of itself" in html


def test_other_cut_offs_and_other_models(toy):
    ranker = toy.scorer.among(toy.rows)
    cases = toy.split.cases("valid")
    report = evaluate({"mine": ranker}, cases, len(toy.rows), ks=(1, 5), split="valid")
    page = Tags(evaluation_page(report, toy))
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


def test_misses_that_the_rival_hits(report, toy):
    users = report.protocol["users"]
    ours, theirs = np.resize([1.0, 9.0, 9.0, 6.0], users), np.resize([9.0, 1.0, 9.0, 6.0], users)
    per_user = {"p5mm": report.per_user["p5mm"] | {"mrr": 1 / ours}}
    per_user |= {name: report.per_user["popularity"] | {"mrr": 1 / theirs} for name in ("x", "bpr")}
    found = hits_and_misses(replace(report, per_user=per_user), toy)
    assert found.rival == "bpr"
    assert found.lost_count == ((ours > 6) & (theirs <= 6)).sum()
    assert found.won_count == ((ours <= 6) & (theirs > 6)).sum()
    known, _ = toy.core.histories(list(toy.fitted.items))
    cases = toy.split.cases("test").users.tolist()
    lost = [cases.index(known.index(story.user_id)) for story in found.lost]
    assert len(lost) == EACH
    assert all(ours[case] > 6 and theirs[case] <= 6 for case in lost)
    assert not {s.user_id for s in found.lost} & {s.user_id for s in found.misses}
    coverage = dict.fromkeys(per_user, report.coverage["p5mm"])
    page = Tags(evaluation_page(replace(report, per_user=per_user, coverage=coverage), toy))
    assert "Missed here, found by BPR" in page.text
    assert f"{found.lost_count} users; the other way round for {found.won_count}" in page.text


def test_without_baselines_nothing_is_lost_to_anybody(report, toy):
    own = {name: report.per_user[name] for name in ("p5mm", "retriever")}
    html = evaluation_page(replace(report, per_user=own), toy)
    assert hits_and_misses(replace(report, per_user=own), toy).lost == []
    assert "Missed here" not in html
    assert list(rows_of(html, "Is the difference real?")) == ["p5mm, retriever alone"]


def test_the_weights_of_the_reranker_are_those_of_the_model(html, toy):
    rows = rows_of(html, "What the reranker believes")
    tried, weights = toy.fitted.tried, toy.fitted.weights
    assert len(rows) == len(tried)
    for name, value in tried.items():
        cells = rows["all by their weights" if name == "all" else name]
        assert cells[2] == f"{value:.4f}"
        weight = weights.get(name.removeprefix("retriever + "))
        assert cells[1] == ("" if weight is None else f"{weight:g}" if weight else "left out")
        gain = 100 * (value / tried["retriever"] - 1)
        assert cells[3] == ("–" if name == "retriever" else f"{gain:+.1f} %".replace("-", "−"))
    assert "never on those tested here" in html


def test_curves_of_one_epoch_with_its_time(report, toy):
    log = [{"epoch": 1, "loss": 2.0, "ndcg@10": 0.5, "seconds": 61.6}]
    tasks = [{"epoch": 1, "loss": 3.0, "sequential": 1.25, "score": -1.25}]
    fitted = replace(toy.fitted, log=log, task_log=tasks)
    parts = toy.config, toy.catalog, toy.log, toy.content, toy.network, toy.tokenizer, toy.similar
    html = evaluation_page(report, Recommender(*parts, fitted))
    page = Tags(html)
    assert html.count("<figure>") == 4
    assert "62 s" in page.text
    assert "Decoder: validation loss, sequential" in page.text
    assert "<title>1.25</title>" in html
