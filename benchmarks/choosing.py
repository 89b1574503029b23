"""How to choose what ranks: python benchmarks/choosing.py MODEL [MODEL ...].

Each MODEL is a trained model's folder. Its validation users are halved at random, --times times:
on one half the weights of the similarities, the decoder and all of them are fitted and
cross-fitted, and by each rule one of them, or none, is chosen; it is judged on the other half.
Rules: the decoder always; the decoder unless another gains a standard error over it (p5mm's); and
each in place of the one before where it gains so many standard errors. Prints NDCG@10, and how
often the decoder was chosen. Validation alone: test is not read.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from setting import append, commit, machine

from p5mm.ranking.scorer import DECODER
from p5mm.serving.folder import read_model
from p5mm.training.calibration import FOLDS, Parts, Search

Values = dict[str, NDArray[np.float64]]
ORDER = ("retriever", "similarities", "decoder", "all")
ERRORS = (0.0, 0.5, 1.0, 2.0)  # standard errors that are asked for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--times", type=int, default=60)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    names = " ".join(path.name for path in options.models)
    lines = [
        f"\n    python benchmarks/choosing.py {names} --times {options.times}",
        f"    {commit()}; {machine()}\n",
        "| model | users | retriever | " + " | ".join(_rules()) + " |",
        "|---" * (3 + len(_rules())) + "|",
        *(_row(path, options.times) for path in options.models),
    ]
    append("\n".join([*lines, ""]), options.runs)


def _rules() -> dict[str, Callable[[Values], str]]:
    rules: dict[str, Callable[[Values], str]] = {
        "decoder": lambda _: "decoder",
        "decoder unless": lambda values: _chosen(values, "decoder", 1.0),
    }
    for errors in ERRORS:
        rules[f"{errors:g} errors"] = lambda values, e=errors: _chosen(values, "retriever", e)
    return rules


def _chosen(values: Values, kept: str, errors: float) -> str:
    """What is left when each that gains enough takes the place of the one before."""
    for name in ORDER:
        gain = values[name] - values[kept]
        error = gain.std() / len(gain) ** 0.5
        kept = name if gain.mean() > 0 and gain.mean() >= errors * error else kept
    return kept


def _row(path: Path, times: int) -> str:
    search = _search(path)
    users, draws = len(search.parts.targets), np.random.default_rng(0)
    alone = search.ndcg((0.0,) * len(search.names))
    judged: dict[str, list[float]] = {rule: [] for rule in ("retriever", *_rules())}
    taken = dict.fromkeys(_rules(), 0)
    for _ in range(times):
        order = draws.permutation(users)
        values, weights = _fitted(search, order[: users // 2], draws)
        others = order[users // 2 :]
        judged["retriever"].append(alone[others].mean())
        for rule, choose in _rules().items():
            found = weights[choose(values)]
            judged[rule].append(search.ndcg(found)[others].mean())
            taken[rule] += found[search.names.index(DECODER)] > 0
    cells = [f"{np.mean(judged['retriever']):.4f}"]
    cells += [f"{np.mean(judged[rule]):.4f} ({taken[rule] / times:.0%})" for rule in _rules()]
    return f"| {path.name} | {users} | " + " | ".join(cells) + " |"


def _search(path: Path) -> Search:
    model = read_model(path)
    scorer = model.scorer.handicapped(0.0).within(model.network.items.trained_rows.numpy())
    if scorer.similarity is None:
        raise ValueError(f"{path} weighs nothing")
    names = (DECODER, *scorer.similarity.names)
    return Search(Parts.of(scorer, names, model.split.cases("valid").in_rows(model.rows)), names)


def _fitted(
    search: Search, users: NDArray[np.int64], draws: np.random.Generator
) -> tuple[Values, dict[str, tuple[float, ...]]]:
    """Cross-fitted NDCG@10 of what may rank, on some users, and its weights by all of these."""
    nothing = (0.0,) * len(search.names)
    values, weights = {"retriever": search.ndcg(nothing)[users]}, {"retriever": nothing}
    among = {"similarities": search.names[1:], "decoder": search.names[:1], "all": search.names}
    folds = draws.permutation(len(users)) % FOLDS
    for name, parts in among.items():
        found = np.zeros(len(users))
        for fold in range(FOLDS):
            best = search.best(users[folds != fold], parts)
            found[folds == fold] = search.ndcg(best)[users[folds == fold]]
        values[name], weights[name] = found, search.best(users, parts)
    return values, weights


if __name__ == "__main__":
    main()
