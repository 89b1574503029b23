"""Numpy says of pairs what torch says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.data.histories import Histories

HISTORIES = st.lists(st.lists(st.integers(0, 40), max_size=12), min_size=1, max_size=4)


@given(HISTORIES, st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_relations_facts_and_similarities_are_those_of_torch(by_torch, by_onnx, lists, seed):
    rng = np.random.default_rng(seed)
    histories = Histories.from_lists(lists)
    ratings = rng.choice([1, 5, np.nan], size=len(histories.items)).astype(np.float32)
    histories = Histories(histories.items, histories.offsets, ratings)
    candidates = rng.integers(0, 41, size=(len(lists), 6))
    ours, theirs = by_onnx.scorer.evidence, by_torch.model.scorer
    asked = torch.from_numpy(candidates)
    related = ours.relations(histories, candidates)
    np.testing.assert_allclose(related, theirs.relations(histories, asked), atol=1e-5)
    logits = rng.normal(size=candidates.shape).astype(np.float32)
    facts = theirs.relations.facts(torch.from_numpy(logits), histories, asked)
    np.testing.assert_allclose(ours.facts(logits, histories, candidates), facts, atol=1e-5)
    together = theirs.similarity("neighbours", histories, asked)
    np.testing.assert_allclose(ours.together(histories, candidates), together, atol=1e-5)
    for name in ours.content:
        alike = theirs.similarity(f"content.{name}", histories, asked)
        np.testing.assert_allclose(ours.likeness(name, histories, candidates), alike, atol=1e-5)


def test_queries_are_those_of_torch(by_torch, by_onnx):
    histories = by_torch.model.histories
    wanted = by_torch.model.scorer.encode(histories).last
    assert by_onnx.scorer.read(histories) == pytest.approx(wanted.numpy(), abs=1e-5)
