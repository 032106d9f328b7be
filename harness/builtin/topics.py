"""Topics: what the two halves of a review have in common, found from its words alone. Torch-free; sees no label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Sentences = Sequence[Sequence[int]]
CHUNK = 2000
# Of a rare word little is known; its coordinates would be the largest of all.
FURTHEST = 3.0


def word_topics(reviews: Sequence[Sentences], words: int, topics: int) -> Floats:
    """Coordinates of words along the directions that tell most about a review's other half.

    Correspondence analysis of which words stand in a first half when which others stand in the second one. Words of
    one sentence are never counted together, so what is found belongs to the review and not to a turn of phrase.

    Args:
        reviews: word ids of each review's sentences; a review of one sentence says nothing here.
        words: size of the vocabulary.
        topics: how many directions, the most telling first.

    Returns:
        Shape (words, topics), along each topic of mean 0 and mean square 1 over running text (before rare words are
        drawn in to three); zeros for words that do not occur.

    References: Deerwester et al., "Indexing by Latent Semantic Analysis", 1990; Greenacre, "Theory and Applications of
    Correspondence Analysis", 1984
    """
    halved = [review for review in reviews if len(review) > 1]
    together = np.zeros((words, words))
    for start in range(0, len(halved), CHUNK):
        chunk = halved[start : start + CHUNK]
        first = _which_words([review[: (len(review) + 1) // 2] for review in chunk], words)
        second = _which_words([review[(len(review) + 1) // 2 :] for review in chunk], words)
        together += first.T @ second
    share = together + together.T
    share /= share.sum()
    word_share = share.sum(axis=1)
    root = np.sqrt(word_share)
    scale = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    # Subtracting what independent halves would show takes away the first axis, on which all words are alike.
    values, axes = np.linalg.eigh(scale[:, None] * share * scale - np.outer(root, root))
    strongest = np.argsort(-values)[:topics]
    coordinates: Floats = axes[:, strongest] * scale[:, None]
    return coordinates.clip(-FURTHEST, FURTHEST)


def _which_words(reviews: Sequence[Sentences], words: int) -> npt.NDArray[np.float32]:
    """1 where a word occurs in a review, shape (reviews, words)."""
    found = np.zeros((len(reviews), words), dtype=np.float32)
    for row, review in zip(found, reviews, strict=True):
        for sentence in review:
            row[list(sentence)] = 1
    return found


def text_topics(coordinates: Floats, ids: Sequence[int]) -> Floats:
    """Where a text stands along each topic: the mean over its different words, shape (topics,)."""
    return np.asarray(coordinates[sorted(set(ids))].mean(axis=0))
