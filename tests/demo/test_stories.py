import numpy as np

from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.demo.stories import new_item_stories, places, shopper_stories, unseen_scores

ITEMS = [f"i{row}" for row in range(6)]
USERS = ["ann", "bob", "cat", "dan"]
LOG = Histories.from_lists([[0, 1, 5], [1, 2, 0], [3, 4, 5], [2, 1, 4]])


class Highest:
    """Item numbers are scores: the last item is everybody's best."""

    def scores(self, histories):
        return np.tile(np.arange(6, dtype=np.float32), (len(histories), 1))


def test_stories_show_hits_and_misses_in_the_order_of_the_cases():
    stories = shopper_stories(Highest(), LeaveOneOut(LOG).cases("test"), USERS, ITEMS, n=2, k=1)
    assert [s.user_id for s in stories] == ["ann", "bob"]
    assert stories[0].recommended == [stories[0].truth] == ["i5"]
    assert stories[1].history == ["i1", "i2"]
    assert stories[1].recommended == ["i5"]
    assert stories[1].truth == "i0"


def test_hits_make_up_for_missing_misses():
    stories = shopper_stories(Highest(), LeaveOneOut(LOG).cases("test"), USERS, ITEMS, n=4, k=6)
    assert [s.user_id for s in stories] == USERS


def test_what_was_taken_is_never_offered():
    scores = unseen_scores(Highest(), LOG)
    assert scores[0].tolist() == [-np.inf, -np.inf, 2, 3, 4, -np.inf]


def test_places_count_the_items_before():
    assert places(unseen_scores(Highest(), LOG), np.array([3, 4]))[:2].tolist() == [[1, 0], [2, 1]]


def test_new_items_go_to_those_who_have_them_highest():
    ranks = np.array([[3], [0], [2], [1]])
    (story,) = new_item_stories([("i3", ["i2"])], ranks, LOG, USERS, ITEMS, shoppers=2)
    assert story.item_id == "i3"
    assert [s.user_id for s in story.shoppers] == ["bob", "dan"]
    assert story.shoppers[0].history == ["i1", "i2", "i0"]
