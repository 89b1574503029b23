"""Words: tf-idf cosines, equal to scikit-learn's counts and to the naive sum."""

import numpy as np
import scipy.sparse as sp
import torch

from p5mm.evidence.words import Words

TEXTS = [
    "Red lipstick, matte red", "red nail polish", None, "", "Matte foundation №5 ünïcode",
    "lipstick lipstick lipstick", "the the the", "👄👄", "the red one",
]  # fmt: skip


def test_the_vectors_are_those_of_counts_by_scikit_learn():
    from sklearn.feature_extraction.text import CountVectorizer

    counts = CountVectorizer(token_pattern=r"\w+").fit_transform(t or "" for t in TEXTS).toarray()
    rare = np.log(len(TEXTS) / (counts > 0).sum(axis=0))
    wanted = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * rare
    wanted /= np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-12)
    matrix = Words.of(TEXTS).matrix
    np.testing.assert_allclose((matrix @ matrix.T).toarray(), wanted @ wanted.T, atol=1e-6)


def test_a_cosine_is_that_of_the_weighted_sum():
    words, rng = Words.of(TEXTS), np.random.default_rng(0)
    weights = sp.random(4, len(TEXTS), 0.5, "csr", np.float32, rng)
    candidates = torch.from_numpy(rng.integers(len(TEXTS), size=(4, 6)))
    dense = words.matrix.toarray()
    wanted = weights.toarray() @ dense
    wanted /= np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-12)
    naive = np.einsum("bmv,bv->bm", dense[candidates.numpy()], wanted)
    found = words(weights, candidates)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), naive, atol=1e-6)
    for row in range(4):  # a batch equals one at a time
        one = words(weights[row : row + 1], candidates[row : row + 1])
        torch.testing.assert_close(one[0], found[row])


def test_without_words_nothing_is_alike():
    words = Words.of([None, "", "!?", None])
    found = words(sp.identity(4, np.float32, "csr"), torch.arange(4).expand(4, 4))
    assert torch.equal(found, torch.zeros(4, 4))


def test_what_every_text_has_says_nothing():
    words = Words.of(["toy car", "toy doll", "toy car red"])
    found = words(sp.identity(3, np.float32, "csr"), torch.tensor([[1, 2], [0, 2], [0, 1]]))
    assert found[0, 0] == 0
    assert found[0, 1] > 0.3


def test_no_candidates():
    found = Words.of(TEXTS)(
        sp.identity(len(TEXTS), np.float32, "csr")[:2], torch.zeros(2, 0).long()
    )
    assert found.shape == (2, 0)
