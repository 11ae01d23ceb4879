"""Is a nodule rated malignant? What its size, its ratings and its note can tell, out of fold.

Every nodule is judged by a logistic regression that has not seen its patient; how strongly it is
held back is chosen within the training patients. AUC: how often a suspicious nodule gets the higher
score of a pair. Nodules of which the readers could not tell are left out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nodule_notes import WORDS, Rated
from real_nodules_2d import FOLDS, fold_of
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seg_lib.models.language_model import load_language_model
from seg_lib.models.text_encoder import TextEncoder, tokenize_notes

FIRST = "diameter, nothing fitted"  # what all others are compared with
VOLUME = "volume of the true mask, nothing fitted"
LEAK = "leak, what must not be done: ratings with Malignancy"
STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


def ratings_of(rated: Sequence[Rated]) -> np.ndarray:
    """(N, 7): the ratings as numbers, calcification as absent or not; NaN where there is none."""
    table = [[float(each.ratings.get(name, np.nan)) for name in WORDS] for each in rated]
    table = np.array(table)
    kind = list(WORDS).index("calcification")  # its values are kinds and have no order
    absent = (table[:, kind] == len(WORDS["calcification"])).astype(float)
    table[:, kind] = np.where(np.isnan(table[:, kind]), np.nan, absent)
    return table


@torch.no_grad()
def states_of(folder: str, notes: Sequence[str]) -> dict[str, np.ndarray]:
    """What a frozen language model makes of the notes, (N, width): at <SEG>, and as the mean."""
    tokenizer, llama = load_language_model(folder)
    tokens, _ = tokenize_notes(tokenizer, list(notes), llama.config.max_position_embeddings - 2)
    reader = TextEncoder(llama, prompts=1, prompt_length=0, pooled="tokens", order="note_first")
    states, mask = reader(tokens)
    told = mask[:, :-1, None] * states[:, :-1]  # without <SEG>, which comes last
    return {
        "at <SEG>": states[:, -1].numpy(),
        "mean": (told.sum(1) / mask[:, :-1].sum(1, keepdim=True)).numpy(),
    }


def regression() -> GridSearchCV:
    """A logistic regression on standardised columns; gaps get the median of the training."""
    steps = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    )
    grid = {"logisticregression__C": STRENGTHS}
    return GridSearchCV(steps, grid, scoring="neg_log_loss", cv=StratifiedGroupKFold(4))


def out_of_fold(
    columns: np.ndarray,
    truth: np.ndarray,
    known: Sequence[Rated],
    beside: np.ndarray | None = None,
) -> np.ndarray:
    """(N,) log-odds of every nodule from a regression without its patient.

    Args:
        columns: (N, F).
        truth: (N,) 0 or 1.
        known: N nodules, for their patients.
        beside: (N, 1): a second regression sees this column and the score of the first one, so that
            it does not drown among many columns.
    """
    scores, patients = np.full(len(truth), np.nan), np.array([each.patient for each in known])
    for fold in range(FOLDS):
        train, test = fold_of(known, fold)
        own = patients[train]
        model = regression().fit(columns[train], truth[train], groups=own)
        scores[test] = model.decision_function(columns[test])
        if beside is not None:
            how = {"groups": own, "cv": model.cv, "method": "decision_function"}
            seen = cross_val_predict(model.best_estimator_, columns[train], truth[train], **how)
            both = np.column_stack([seen, beside[train]])
            second = regression().fit(both, truth[train], groups=own)
            scores[test] = second.decision_function(np.column_stack([scores[test], beside[test]]))
    return scores


def won(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(positives, negatives): 1 where the positive has the higher score, 0.5 where both are equal.

    Args:
        scores: (N,), or (S, N) of several seeds, over which the mean is taken.
        truth: (N,) 0 or 1.
    """
    scores = np.atleast_2d(scores)
    gap = scores[:, truth == 1, None] - scores[:, None, truth == 0]
    return (0.5 * (np.sign(gap) + 1)).mean(0)


def auc_draws(pairs: np.ndarray, weights: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(draws,) AUC where nodule i counts ``weights[:, i]`` times."""
    up, down = weights[:, truth == 1], weights[:, truth == 0]
    return ((up @ pairs) * down).sum(1) / (up.sum(1) * down.sum(1))


def compare(
    scores: dict[str, np.ndarray], truth: np.ndarray, patients: np.ndarray, n_resamples: int = 2000
) -> dict[str, Any]:
    """AUC of every method and its difference from ``FIRST``, with intervals over drawn patients."""
    names, index = np.unique(patients, return_inverse=True)
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(len(names), np.full(len(names), 1 / len(names)), n_resamples)
    weights = drawn[:, index].astype(float)
    weights = weights[[bool(w @ truth) and bool(w @ (1 - truth)) for w in weights]]
    pairs = {name: won(found, truth) for name, found in scores.items()}
    draws = {name: auc_draws(found, weights, truth) for name, found in pairs.items()}
    table = {}
    for name, found in pairs.items():
        low, high = np.quantile(draws[name], [0.025, 0.975])
        each = [float(won(one, truth).mean()) for one in np.atleast_2d(scores[name])]
        table[name] = {"auc": float(found.mean()), "low": low, "high": high, "by_seed": each}
        if name != FIRST:
            low, high = np.quantile(draws[name] - draws[FIRST], [0.025, 0.975])
            gap = float(found.mean() - pairs[FIRST].mean())
            table[name]["minus"] = {"difference": gap, "low": low, "high": high}
    return table


def malignancy(
    rated: Sequence[Rated], volumes_ml: Sequence[float], notes: Sequence[str], llamas: Sequence[str]
) -> dict[str, Any]:
    """The whole comparison; one language model a seed.

    Args:
        rated: N nodules.
        volumes_ml: N, of the true masks.
        notes: N.
        llamas: folders of language models.
    """
    kept = [i for i, each in enumerate(rated) if each.malignant is not None]
    known = [rated[i] for i in kept]
    truth = np.array([int(each.malignant) for each in known])
    plain = by_ratings(known, truth)
    scores = {FIRST: plain.pop(FIRST), VOLUME: np.array([volumes_ml[i] for i in kept])} | plain
    by_seed: dict[str, list] = {}
    for folder in llamas:
        for where, columns in states_of(folder, [notes[i] for i in kept]).items():
            alone = out_of_fold(columns, truth, known)
            both = out_of_fold(columns, truth, known, sizes_of(known))
            by_seed.setdefault(f"note, {where}", []).append(alone)
            by_seed.setdefault(f"note, {where}, and diameter", []).append(both)
    scores |= {name: np.array(found) for name, found in by_seed.items()}
    leak = np.array([[float(each.malignancy)] for each in known])
    scores[LEAK] = out_of_fold(np.hstack([ratings_of(known), leak]), truth, known)
    called = np.array([each.diagnosis for each in rated])
    return described(known, truth, scores) | {
        "left_out": len(rated) - len(kept),
        "otherwise": int((truth != [each.diagnosis for each in known]).sum()),
        "diagnosis": described(rated, called, by_ratings(rated, called)),
    }


def by_ratings(known: Sequence[Rated], truth: np.ndarray) -> dict[str, np.ndarray]:
    """Scores by the size alone, by the ratings alone, and by both."""
    size, ratings = sizes_of(known), ratings_of(known)
    return {
        FIRST: size[:, 0],
        "ratings": out_of_fold(ratings, truth, known),
        "ratings and diameter": out_of_fold(np.hstack([ratings, size]), truth, known),
    }


def sizes_of(known: Sequence[Rated]) -> np.ndarray:
    """(N, 1): logarithms of the diameters."""
    return np.log([[each.diameter_mm] for each in known])


def described(
    known: Sequence[Rated], truth: np.ndarray, scores: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The table, and how many nodules it is made of."""
    patients = np.array([each.patient for each in known])
    about = {"n": len(known), "malignant": int(truth.sum()), "patients": len(set(patients))}
    return about | {"table": compare(scores, truth, patients)}
