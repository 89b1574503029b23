import numpy as np

from p5mm.baselines.popularity import Popularity
from p5mm.data.histories import Histories
from p5mm.data.split import Cases, LeaveOneOut
from p5mm.evaluation.linter.ties import row_order_ranks, tie_findings
from p5mm.metrics.ranks import expected_ranks

ITEMS = 600


class Flat:
    """One score for all, so that row 0 seems to win."""

    def scores(self, histories):
        return np.zeros((len(histories), ITEMS), np.float32)


def first_row_wins(users: int = 200) -> Cases:
    rng = np.random.default_rng(0)
    histories = Histories.from_lists(rng.integers(50, ITEMS, (users, 4)).tolist())
    return Cases(np.arange(users), histories, rng.integers(0, 5, users))


def test_a_ranker_that_hides_behind_ties():
    findings = tie_findings("flat", Flat(), first_row_wins())
    assert {finding.level for finding in findings} == {"warning"}
    assert "'flat' gives many items one score: recall@10 is 0.0000" in findings[0].what
    assert "1.0000 with ties in the order of rows" in findings[0].what


def test_few_ties_are_no_finding():
    rng = np.random.default_rng(0)
    lists = [rng.choice(ITEMS, 5, replace=False).tolist() for _ in range(300)]
    split = LeaveOneOut(Histories.from_lists(lists))
    ranker = Popularity()
    ranker.fit(split, ITEMS)
    assert tie_findings("popularity", ranker, split.cases("test")) == []


def test_row_order_ranks_are_those_of_a_stable_sort():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 4, (50, 12)).astype(np.float32)
    seen = Histories.from_lists([rng.choice(11, 3, replace=False).tolist() for _ in range(50)])
    targets = np.full(50, 11)
    ranks = row_order_ranks(scores, targets, seen)
    for user in range(50):
        order = [i for i in np.argsort(-scores[user], kind="stable") if i not in seen[user]]
        assert ranks[user] == order.index(targets[user]) + 1
    fair = expected_ranks(scores, targets, seen)
    assert (ranks >= fair).all()  # the last row is behind all of its ties
    assert (ranks > fair).any()
