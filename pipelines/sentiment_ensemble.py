"""Average the sentiment that several networks predict, and compare the ensemble with its best member.

    python pipelines/sentiment_ensemble.py --data reviews.csv --backbones hf:BERT hf:ROBERTA hf:XLNET

The data is a table with a column of texts and one of labels, or a folder of tables train, dev and test. On
the frozen rows of each network, logistic regression is fitted to the training sentences. Their probabilities
are averaged, with equal weights and with those that suit the out-of-fold probabilities of the training
sentences best. The best member is the one with the lowest log loss on these, so the test sentences choose
nothing; McNemar's test compares both averages with it.

With MiniLM-L6, paraphrase-MiniLM-L3 (as ``onnx:FILE``) and an int8 MiniLM-L6 on ``--limit 2000`` of SST-2
(1,621 sentences to train on, 379 to test) expect 0.813, 0.794 and 0.810, and 0.815 for their average (p = 1).
Relatives of one network err on the same sentences, and the weights leave out the third.
"""

import argparse

import numpy as np

from featx import extract, load_dataset
from featx.data.splits import make_split
from featx.methods.ensembles import blend_weights
from featx.methods.probes import fit_probe, held_out_probabilities
from featx.metrics import mcnemar_exact, proportion_interval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--backbones", nargs="+", required=True, help="two networks of texts or more")
parser.add_argument("--data", required=True, help="a table with texts and labels, or a folder of such tables")
parser.add_argument("--text", help="the column of texts (default: text, sentence, review or the like)")
parser.add_argument("--limit", type=int, help="a stratified subset of this many texts")
parser.add_argument("--classifier", default="logreg", help="a probe (default: logreg)")
parser.add_argument("--seed", type=int, default=0)


def log_loss(probabilities, labels):
    return -np.log(probabilities[np.arange(len(labels)), labels].clip(1e-12)).mean()


if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data, text=args.text, limit=args.limit)
    split = make_split(dataset.labels, splits=dataset.splits, groups=dataset.groups)
    known, truth = dataset.labels[split.train], dataset.labels[split.test]
    groups = None if dataset.groups is None else dataset.groups[split.train]
    held_out, tested = [], []
    for backbone in args.backbones:
        rows = extract(dataset, backbone=backbone, verbose=True).embeddings
        probe = fit_probe(args.classifier, rows[split.train], known, groups=groups, seed=args.seed)
        at, out_of_fold = held_out_probabilities(
            probe, rows[split.train], known, groups=groups, seed=args.seed
        )
        held_out.append(out_of_fold)
        tested.append(probe.predict_proba(rows[split.test]))
    weights = blend_weights(held_out, known[at])
    best = int(np.argmin([log_loss(one, known[at]) for one in held_out]))
    members = dict(zip(args.backbones, tested, strict=True))
    averages = {
        "averaged": np.mean(tested, axis=0),
        f"weighted ({', '.join(f'{weight:.2f}' for weight in weights)})": np.tensordot(weights, tested, 1),
    }
    reference = tested[best].argmax(axis=1) == truth
    print(f"{len(known)} texts to train on, {len(truth)} to test; best member: {args.backbones[best]}")
    for name, probabilities in {**members, **averages}.items():
        right = probabilities.argmax(axis=1) == truth
        p = f", p = {mcnemar_exact(right, reference).p_value:.2g}" if name in averages else ""
        print(f"{name}: test accuracy {proportion_interval(right)}{p}")
