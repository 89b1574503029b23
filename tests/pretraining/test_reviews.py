"""Reviews: read by the T5, answered with a headline and with stars."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F

from p5mm.commands.bases.review import reviewed
from p5mm.commands.main import main
from p5mm.data.tables import read_table
from p5mm.errors import InputError
from p5mm.model.base import read_base
from p5mm.model.tokenizer import EOS, PAD, START, tokens_of
from p5mm.pretraining import reading as module
from p5mm.pretraining.pretrain import pretrain
from p5mm.pretraining.reading import BATCH, HEADLINE, READ, STARS, Reading, read_words
from p5mm.pretraining.review_table import ReviewTable
from p5mm.pretraining.reviews import Reviews
from p5mm.ranking.writing import WRITTEN

TASKS = {HEADLINE: 1.0, STARS: 1.0}
THINGS = ("drum", "flute", "harp", "cello", "organ")
FEELINGS = {"broken": 1.0, "fair": 3.0, "lovely": 5.0}


def rows(count=400):
    """A headline is the thing that the review is about; its stars are the feeling."""
    rng = np.random.default_rng(0)
    found = []
    for n in range(count):
        thing, feeling = str(rng.choice(THINGS)), str(rng.choice(list(FEELINGS)))
        text = f"i bought this {thing} last year and it is {feeling} indeed"
        found.append((text, f"my {thing}", FEELINGS[feeling], n))
    return found


def table(count=400):
    names = ["reviewText", "summary", "overall", "unixReviewTime"]
    columns = [list(column) for column in zip(*rows(count), strict=True)]
    return pa.table(dict(zip(names, columns, strict=True)))


@pytest.fixture(scope="module")
def base(toys):
    config = toys.toy_config(epochs=60, patience=60, tasks=TASKS, learning_rate=4e-3)
    return pretrain({"toy": toys.toy_dataset()}, config, reviews=ReviewTable.from_table(table()))


def test_a_table_is_read_by_the_names_that_amazon_gives_in_order_of_time():
    given = table(30)
    turned = given.take(pa.array(np.random.default_rng(1).permutation(30)))
    made = ReviewTable.from_table(turned)
    assert made.texts == given["reviewText"].to_pylist()
    assert made.headlines == given["summary"].to_pylist()
    assert made.ratings.tolist() == given["overall"].to_pylist()
    assert made.levels == (1.0, 3.0, 5.0)
    parts = [made.part(name) for name in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [24, 3, 3]
    assert [text for part in parts for text in part.texts] == made.texts


def test_few_reviews_and_what_they_lack():
    made = ReviewTable.from_table(pa.table({"review": ["good", None], "headline": ["", "x"]}))
    assert made.texts == ["good", ""]
    assert made.headlines == [None, "x"]
    assert np.isnan(made.ratings).all()
    assert made.levels == ()
    assert [len(made.part(name)) for name in ("train", "valid", "test")] == [2, 0, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"text": ["a"]}, "review"),
        ({"review": pa.array([], pa.string())}, "is empty; give at least one row"),
        ({"review": ["a"], "rating": ["many"]}, "rating"),
        ({"review": [["a"]]}, "write it as a string column"),
        ({"review": ["a", "b"], "rating": [1.0, np.inf]}, "the rating in row 2 is beyond"),
        ({"review": ["a"], "rating": ["1e300"]}, "the rating in row 1 is beyond"),
    ],
)
def test_tables_that_cannot_be_used(given, message):
    with pytest.raises(InputError, match=message):
        ReviewTable.from_table(pa.table(given))


def test_more_levels_than_have_a_name():
    many = pa.table({"review": ["a"] * 11, "rating": np.arange(11) / 2})
    with pytest.raises(InputError, match="11 different ratings"):
        _ = ReviewTable.from_table(many).levels


def test_words_are_cut_and_closed(base):
    reading = Reading(base.t5, base.tokenizer, base.levels)
    spelled = tokens_of(reading.tokenizer, ["drum <pad> bad</s> good", "drum  bad good"], READ)
    assert (spelled[0] != PAD).sum() >= (spelled[1] != PAD).sum()
    assert not (spelled == EOS).any()
    assert (spelled[0, : (spelled[0] != PAD).sum()] != PAD).all()
    long = " ".join(["drum"] * 100_000)
    words = tokens_of(reading.tokenizer, ["my drum", "", None, long, "\U0001f600\U0001f600"], READ)
    assert words.shape == (5, READ)
    assert not words[1:3].any()
    assert (words[3] != PAD).all()
    assert (words[4] != PAD).any()
    closed = tokens_of(reading.tokenizer, ["my drum", None, long], WRITTEN, closed=True)
    first = closed[0][closed[0] != PAD]
    assert first[-1] == EOS
    assert base.tokenizer.decode(first[:-1].tolist()).strip() == "my drum"
    assert not closed[1].any()
    assert EOS not in closed[2]


@torch.no_grad()
def test_padding_and_neighbours_change_nothing(base):
    reading = Reading(base.t5, base.tokenizer, base.levels)
    texts = ["a lovely harp", "", "i bought this drum last year and it is broken indeed " * 3]
    together = reading.star_logits(
        read_words(reading.t5, tokens_of(reading.tokenizer, texts, READ))
    )
    for row, text in enumerate(texts):
        alone = reading.star_logits(
            read_words(reading.t5, tokens_of(reading.tokenizer, [text], READ))
        )
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_losses_are_those_of_each_answer_after_its_prompt(base):
    reading = Reading(base.t5, base.tokenizer, base.levels)
    given = ReviewTable(["a lovely harp", "broken"], ["my harp", None], np.array([5, np.nan], "f4"))
    reviews = Reviews.of(given, reading, TASKS)
    losses = reviews.losses(torch.arange(2))
    encoded = read_words(reading.t5, reviews.words[:1])
    prompt, total, count = reading.asked(HEADLINE), 0.0, 0
    assert prompt[0] == START
    words = [word for word in reviews.headlines[0].tolist() if word != PAD]
    for place, word in enumerate(words):
        x = base.t5.shared(torch.tensor([*prompt, *words[:place]]))[None, None]
        seen = encoded.seen_until(encoded.lengths[:, None])
        states = base.t5.decoder(x, x.shape[2], encoded.memory, seen)
        total += float(F.cross_entropy(base.t5.token_logits(states[0, 0, -1]), torch.tensor(word)))
        count += 1
    assert float(losses[HEADLINE]) == pytest.approx(total / count, rel=1e-4)
    stars = reading.star_logits(encoded)
    assert float(losses[STARS]) == pytest.approx(float(F.cross_entropy(stars, torch.tensor([2]))))
    assert set(Reviews.of(given, reading, {STARS: 1.0}).losses(torch.arange(2))) == {STARS}
    assert not reviews.losses(torch.tensor([1]))


def test_it_writes_the_headlines_and_stars_of_reviews_that_it_has_not_read(base):
    test = ReviewTable.from_table(table()).part("test")
    reading = Reading(base.t5, base.tokenizer, base.levels)
    right = np.mean([a == b for a, b in zip(reading.headlines(test.texts), test.headlines,
                                            strict=True)])  # fmt: skip
    assert right > 0.5  # of five things
    errors = reading.stars(test.texts) - test.ratings
    assert np.sqrt(np.mean(errors**2)) < 0.5  # the mean's is 1.6
    assert base.words == (HEADLINE, STARS)
    assert base.levels == (1.0, 3.0, 5.0)


def test_a_headline_that_never_ends_is_cut(base, endless, written_by):
    found = written_by(module)
    Reading(base.t5, base.tokenizer, base.levels).headlines(["a lovely harp", "a drum"])
    assert [len(tokens) for tokens in found[0].texts()] == [WRITTEN] * 2


def test_a_base_keeps_what_it_has_learned_and_is_asked_by_the_command(base, tmp_path, capsys):
    base.write(tmp_path / "base")
    read = read_base(tmp_path / "base")
    assert (read.words, read.levels) == (base.words, base.levels)
    given = pa.table({"item_id": ["a", "b", "c"], "review": ["this harp is lovely", " ", "a drum"]})
    pq.write_table(given, tmp_path / "some.parquet")
    command = ["review", str(tmp_path / "base"), str(tmp_path / "some.parquet"), "--out"]
    assert main([*command, str(tmp_path / "out.parquet")]) == 0
    assert "3 rows" in capsys.readouterr().err
    made = read_table(tmp_path / "out.parquet").to_pydict()
    assert made["item_id"] == ["a", "b", "c"]
    assert made["headline"][1] is None
    assert made["stars"][1] is None
    (headline,) = Reading(base.t5, base.tokenizer, base.levels).headlines(["a drum"])
    assert made["headline"][2] == headline
    assert all(1 <= stars <= 5 for stars in made["stars"] if stars is not None)
    own = given.append_column("headline", [["x", "y", "z"]])
    pq.write_table(own, tmp_path / "own.parquet")
    assert main([*command, str(tmp_path / "own.parquet")]) == 2  # what a person wrote stays
    assert read_table(tmp_path / "own.parquet").equals(own)
    assert main([*command, str(tmp_path / "out.parquet"), "--beams", "0"]) == 2
    assert "--beams is 0" in capsys.readouterr().err
    for out in ("out.csv", "out.jsonl"):
        assert main([*command, str(tmp_path / out)]) == main([*command, str(tmp_path / out)]) == 0


def test_a_base_that_has_read_no_reviews_says_so(base):
    with pytest.raises(InputError, match="has read no reviews"):
        reviewed(replace(base, words=("title",)), pa.table({"review": ["a"]}), 1, "reviews")
    one = reviewed(replace(base, words=(STARS,)), pa.table({"review": ["", " "]}), 1, "reviews")
    assert one.to_pydict() == {"stars": [None, None]}


def test_reviews_of_which_nothing_is_asked(toys):
    config = toys.toy_config(epochs=1, tasks={"title": 1.0})
    reviews = ReviewTable.from_table(table(20))
    with pytest.raises(InputError, match="nothing is learned of them"):
        pretrain({"toy": toys.toy_dataset()}, config, reviews=reviews)
    with pytest.raises(InputError, match=r"task in train\.tasks of a pretraining"):
        pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=1, tasks={"odd": 1.0}))


def test_tasks_of_reviews_wait_for_reviews(toys):
    base = pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=1, tasks=TASKS))
    assert base.words == ()


def test_other_reviews_do_not_go_on_with_a_pretraining(toys, tmp_path):
    def run(count, epochs):
        config = toys.toy_config(epochs=epochs, tasks=TASKS)
        reviews = ReviewTable.from_table(table(count))
        return pretrain({"toy": toys.toy_dataset()}, config, None, tmp_path / "c", reviews)

    run(40, 1)
    with pytest.raises(InputError, match="an unfinished training with other settings"):
        run(50, 1)


def test_what_has_no_answer_is_not_claimed(toys):
    config = toys.toy_config(epochs=1, tasks=TASKS)
    rated = pa.table({"review": ["good", "bad"] * 20, "rating": [5, 1] * 20})
    base = pretrain({"toy": toys.toy_dataset()}, config, reviews=ReviewTable.from_table(rated))
    assert (base.words, base.levels) == ((STARS,), (1.0, 5.0))
    bare = ReviewTable.from_table(rated.select(["review"]))
    with pytest.raises(InputError, match="nothing is learned of them"):
        pretrain({"toy": toys.toy_dataset()}, config, reviews=bare)
    many = pa.table({"review": ["a"] * 20, "headline": ["b"] * 20, "rating": np.arange(20) / 2})
    config = toys.toy_config(epochs=1, tasks={HEADLINE: 1.0})
    base = pretrain({"toy": toys.toy_dataset()}, config, reviews=ReviewTable.from_table(many))
    assert (base.words, base.levels) == ((HEADLINE,), ())


@torch.no_grad()
def test_the_loss_of_held_out_reviews_is_the_mean_of_what_has_an_answer(base):
    reading = Reading(base.t5, base.tokenizer, base.levels)
    full = ReviewTable.from_table(table(BATCH))
    blank = ReviewTable(full.texts, [None] * BATCH, np.full(BATCH, np.nan, "f4"))
    both = ReviewTable(
        full.texts + blank.texts,
        full.headlines + blank.headlines,
        np.concatenate([full.ratings, blank.ratings]),
    )
    alone, beside = (Reviews.of(t, reading, TASKS).held_out() for t in (full, both))
    assert beside == pytest.approx(alone, rel=1e-5)
    assert set(alone) == {HEADLINE, STARS}


def test_other_levels_do_not_go_on_with_a_pretraining(toys, tmp_path):
    def run(scale):
        given = table(40)
        ratings = pa.array(np.array(given["overall"]) * scale)
        given = given.set_column(given.column_names.index("overall"), "overall", ratings)
        config = toys.toy_config(epochs=1, tasks=TASKS)
        reviews = ReviewTable.from_table(given)
        pretrain({"toy": toys.toy_dataset()}, config, None, tmp_path / "c", reviews)

    run(1)
    with pytest.raises(InputError, match="an unfinished training with other settings"):
        run(2)
