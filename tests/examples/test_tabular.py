import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5mm.data.catalog import Catalog
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError
from p5mm.testing import check_encoder

KNOWN = {"categories": {"kind": ["tea", "cup"], "year": ["1999"]}, "numbers": {"price": [10, 5]}}
ROWS = [
    {"kind": "tea", "year": 1999, "price": 12},
    {"kind": "cup", "year": None, "price": "7.5"},
    {"kind": "unheard of", "year": 2001, "price": -3.0},
    {"kind": "tea", "year": None, "price": None},
]
BROKEN = [
    {"kind": "tea", "year": None, "price": "cheap"},
    {"kind": "tea", "year": None, "price": float("nan")},
    {"kind": "tea", "year": None, "price": "1e999"},
    {"kind": "tea", "year": None, "price": [1]},
    {"kind": "unheard of", "year": None, "price": None},
    7,
]


@pytest.fixture(scope="module")
def tabular(example):
    return example("tabular")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "columns.json"
    path.write_text(json.dumps(KNOWN))
    return str(path)


def test_it_keeps_the_contract(tabular, file):
    check_encoder(
        tabular.TabularEncoder(file), ROWS, BROKEN, again=lambda: tabular.TabularEncoder(file)
    )


def test_another_file_is_another_encoder(tabular, file, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(KNOWN | {"numbers": {"price": [10, 6]}}))
    encoders = [tabular.TabularEncoder(str(path)) for path in (file, other)]
    assert encoders[0].fingerprint != encoders[1].fingerprint


def test_a_cosine_is_the_mean_likeness_of_what_both_have(tabular, file):
    encoder = tabular.TabularEncoder(file)

    def like(a, b):
        first, second = encoder.encode([encoder.load(a), encoder.load(b)])
        return float(first @ second)

    tea = {"kind": "tea", "price": 10}
    assert like(tea, tea) == pytest.approx(1)
    assert like(tea, {"kind": "cup", "price": 10}) == pytest.approx(0.5)
    assert like({"price": -90}, {"price": 110}) == pytest.approx(-1)
    near, far = (like(tea, {"kind": "tea", "price": price}) for price in (11, 18))
    assert 1 > near > far > 0.5
    assert like(tea, {"kind": "tea"}) == pytest.approx(1 / np.sqrt(2))


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.text(max_size=3)), min_size=1))
def test_what_is_learned_of_numbers_is_their_mean_and_deviation(tabular, cells):
    texts = [None if cell is None else str(cell) for cell in cells]
    catalog = Catalog.from_table(
        pa.table(
            {"item_id": [str(row) for row in range(len(cells))], "v": pa.array(texts, "string")}
        )
    )
    numbers = []
    for text in texts:
        try:
            value = float(text or "nan")
        except ValueError:
            continue
        numbers += [value] if np.isfinite(value) else []
    if not numbers:
        with pytest.raises(InputError, match="no cell of 'v' is a number"):
            tabular.learn(catalog, [], ["v"])
        return
    mean, deviation = tabular.learn(catalog, [], ["v"])["numbers"]["v"]
    assert mean == pytest.approx(np.mean(numbers))
    assert deviation == pytest.approx(np.std(numbers) or 1)


@pytest.mark.parametrize(
    "text",
    [
        "missing", "", "[]", "{}", '{"categories": {}, "numbers": {}}',
        '{"categories": {"a": ["x", "x"]}, "numbers": {}}',
        '{"categories": {"a": [1]}, "numbers": {}}',
        '{"categories": {}, "numbers": {"p": [1, 0]}}',
        '{"categories": {}, "numbers": {"p": [NaN, 1]}}',
        '{"categories": {}, "numbers": {"p": ["1", 1]}}',
        '{"categories": {}, "numbers": {"p": [1]}}',
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_columns_is_refused(tabular, tmp_path, text):
    if text != "missing":
        (tmp_path / "c.json").write_text(text)
    with pytest.raises(InputError, match=r"c.json is no file of columns.*it must be"):
        tabular.TabularEncoder(str(tmp_path / "c.json"))


def test_from_a_table_to_recommendations(tabular, shop, why_broken, capsys, tmp_path):
    def cells(group, number):
        price = "" if number == 2 else 10.0**group + number / 10
        return ["thing", ("tea", "cup", "pot")[group], price]

    made = shop(["title", "kind", "price"], cells, ["thing", "tea", "cheap"])
    columns = tmp_path / "columns.json"
    command = [
        sys.executable,
        tabular.__file__,
        str(tmp_path / "catalog.csv"),
        "--out",
        str(columns),
    ]
    learn = [*command, "--categories", "kind", "--numbers", "price"]
    done = subprocess.run(learn, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    spec = f"tabular:TabularEncoder:{columns}"
    assert why_broken(made.index(spec)) == "the price 'cheap' is no number"
    for group in range(3):
        assert {hit[:2] for hit in made.like(f"g{group}n0", capsys)[:3]} == {f"g{group}"}
    text = (tmp_path / "catalog.csv").read_text()
    (tmp_path / "catalog.csv").write_text(text.replace("g0n0,thing,tea,1.0", "g0n0,thing,pot,100"))
    assert "1 changed, 0 removed, 12 untouched" in made.again(spec, capsys=capsys)
    assert made.like("g0n0", capsys)[0][:2] == "g2"
    (tmp_path / "catalog.csv").write_text(text)
    model = made.train(spec)
    assert model.model.content.present["tabular"].sum() == 12
    new = Catalog.from_table(pa.table({"item_id": ["new"], "kind": ["cup"], "price": ["10"]}))
    grown = model.add_items(new, FeatureStore(tmp_path / "store"), trust=[spec])
    assert {hit[:2] for hit in grown.similar_items(["new"], k=3)["item_id"].to_pylist()} == {"g1"}
    for more, told in [(["--numbers", "prize"], "did you mean 'price'"), ([], "name a column")]:
        wrong = subprocess.run([*command, *more], capture_output=True, text=True)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert told in wrong.stderr
