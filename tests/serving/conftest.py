"""The toy shop behind its public face."""

import pytest

from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.recommender import Recommender


@pytest.fixture(scope="session")
def plain(fitted: TrainedModel) -> Recommender:
    """The toy shop's recommender as it was trained."""
    return Recommender(fitted)


@pytest.fixture(scope="session")
def shop(toy: TrainedModel) -> Recommender:
    """The toy shop's recommender, reranking."""
    return Recommender(toy)
