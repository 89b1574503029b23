"""What a ranker is: anything that scores the whole catalog for a batch of histories."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from p5mm.data.histories import Histories


@runtime_checkable
class Ranker(Protocol):
    """Anything that scores the whole catalog for a batch of histories."""

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32, higher is better; a row depends on its own history only."""
