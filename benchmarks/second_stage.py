"""The T5's decoder beside a plain MLP: python benchmarks/second_stage.py MODEL [--split test].

MODEL is a trained model's folder. Its retriever is kept; what the decoder learned from is made
again, and an MLP of two layers of 64 learns from the same numbers: a candidate's facts and pooled
relations, the retriever's logit as offset, a softmax over all candidates of a request. It is the
shallow part of the decoder's logit, trained without the T5. Weights of both are fitted on
validation in the same way. Prints NDCG@10 and recall@10 with paired differences.
"""

import argparse
import copy
from pathlib import Path

import torch
from setting import append, commit, machine
from torch.nn import functional as F

from p5mm.evaluation.evaluate import evaluate
from p5mm.evaluation.report import Report
from p5mm.model.relation_reader import RelationReader, Shallow
from p5mm.ranking.scorer import DECODER
from p5mm.ranking.trained_model import TrainedModel
from p5mm.serving.folder import read_model
from p5mm.training.calibration import fit_weights
from p5mm.training.fitting import Fitting
from p5mm.training.ranking_cases import RankingCases
from p5mm.training.training_data import TrainingData

EPOCHS, BATCH, RATE, DROPOUT = 8, 128, 2e-3, 0.1
METRICS = ("ndcg@10", "recall@10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--split", choices=["valid", "test"], default="valid")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    model = read_model(options.model)
    data = TrainingData.of_split(
        model.split_users, model.fitted.items, model.rows, model.catalog.item_ids, model.split
    )
    fitting = Fitting(model.config, model.network, data, model.content)
    cases = fitting.rehearse(model.prompts)
    rankers = {
        "p5mm": model.scorer.among(model.rows),
        "similarities": model.scorer.weighing(model.fitted.similarities).among(model.rows),
        "retriever": model.scorer.alone().among(model.rows),
    }
    for seed in options.seeds:
        plain = trained(model.network.reader, cases, seed)
        rankers[f"MLP, seed {seed}"] = served(model, plain).among(model.rows)
    report = evaluate(rankers, model.split.cases(options.split), len(model.rows))
    append(_block(options, model, report), options.runs)


def trained(reader: RelationReader, cases: RankingCases, seed: int) -> Shallow:
    """An MLP that has learned to rank the cases."""
    torch.manual_seed(seed)
    plain = Shallow(reader.token.in_features, DROPOUT)
    optimizer = torch.optim.AdamW(plain.parameters(), RATE)
    steps = EPOCHS * -(-len(cases) // BATCH)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(cases)).split(BATCH):
            part = cases.take(rows)
            logits = plain(reader.numbers(part.facts, part.relations)) + part.logits
            loss = F.cross_entropy(logits, part.targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
    return plain.eval()


def served(model: TrainedModel, plain: Shallow):
    """The model's scorer with an MLP in the place of the decoder, weighed on validation."""
    network, reader = copy.copy(model.network), model.network.reader
    network.rerank = lambda _, facts, relations, lengths: plain(reader.numbers(facts, relations))
    scorer = copy.copy(model.scorer)
    object.__setattr__(scorer, "network", network)
    cases = model.split.cases("valid").in_rows(model.rows)
    weights, _, _ = fit_weights(scorer.within(model.rows), [DECODER], cases)
    print(f"weights with the MLP: {weights}", flush=True)
    return scorer.weighing(weights)


def _block(options: argparse.Namespace, model: TrainedModel, report: Report) -> str:
    lines = [
        f"\n    python benchmarks/second_stage.py {options.model.name} --split {options.split}",
        f"    {commit()}; {machine()}; weights with the decoder {model.fitted.weights}\n",
        "| model | " + " | ".join(METRICS) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for name, of in report.models.items():
        lines.append(f"| {name} | " + " | ".join(f"{of[m].value:.4f}" for m in METRICS) + " |")
    for name, of in report.differences.items():
        cells = [f"{of[m].value:+.4f} [{of[m].low:+.4f}, {of[m].high:+.4f}]" for m in METRICS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
