"""A 5-gram model over the model's own tokens: what counting alone gives on the same files.

Interpolated modified Kneser-Ney, with discounts estimated from counts of counts. It learns from the training split and
reads a file as the model does: every token from the tokens before it, then the file's end.

Method: Chen and Goodman 1998, section 3, https://dash.harvard.edu/handle/1/25104739
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir_coder.training.mixture import Corpus


@dataclass(frozen=True)
class _Order:
    """The n-grams of one length. An n-gram's number is its place here, its context's number the place one order below.

    keys: (ngrams,) int64 rising, the context's number × (vocabulary + 1) + the last token. share: (ngrams,) discounted
    share of the last token in its context. rest: (contexts,) what the discounts leave to the order below.
    """

    keys: np.ndarray
    share: np.ndarray
    rest: np.ndarray


class NgramModel:
    """Probabilities of tokens given the `order - 1` tokens before them; they add up to 1 over the vocabulary."""

    def __init__(self, corpus: Corpus, *, vocab_size: int, eos: int, order: int = 5):
        """Count a corpus. eos: the token that stands for a file's end."""
        self.vocab_size = vocab_size
        self.eos = eos
        self.order = order
        self._start = vocab_size  # stands before every file and is never predicted
        self._width = vocab_size + 1
        stream = self._stream(corpus)
        contexts = np.zeros(len(stream), dtype=np.int64)  # number of what stands before each position
        numbers = contexts  # of the n-gram that ends at each position
        keys: list[np.ndarray] = []
        counts: list[np.ndarray] = []
        for n in range(order):
            shorter = numbers
            unique, first, numbers, times = np.unique(
                contexts * self._width + stream, return_index=True, return_inverse=True, return_counts=True
            )
            predicted = unique % self._width != self._start
            if n:  # all but the longest n-grams count once for every token seen before them, not for every time
                counts[-1] = np.bincount(shorter[first[predicted]], minlength=len(keys[-1]))
            keys.append(unique)
            counts.append(np.where(predicted, times, 0))
            contexts = np.concatenate([[0], numbers[:-1]])
        num_contexts = [1, *(len(each) for each in keys)]
        self._orders = [_smoothed(*each, self._width) for each in zip(keys, counts, num_contexts)]

    def token_bits(self, corpus: Corpus) -> np.ndarray:
        """(tokens + files,) float64: -log2 p of each token, file by file, each followed by that of the file's end."""
        stream = self._stream(corpus)
        contexts = np.zeros(len(stream), dtype=np.int64)  # number of what stands before each position, -1 if unseen
        probability = np.full(len(stream), 1 / self.vocab_size)
        for order in self._orders:
            known = contexts >= 0
            keys = contexts * self._width + stream
            places = np.searchsorted(order.keys, keys).clip(max=len(order.keys) - 1)
            found = known & (order.keys[places] == keys)
            probability[known] *= order.rest[contexts[known]]
            probability[found] += order.share[places[found]]
            contexts = np.concatenate([[-1], np.where(found, places, -1)[:-1]])
        return -np.log2(probability[stream != self._start])

    def file_bits(self, corpus: Corpus) -> np.ndarray:
        """(files,) float64: bits that each file takes, its end included."""
        ends_before = np.arange(len(corpus.starts) - 1)
        return np.add.reduceat(self.token_bits(corpus), corpus.starts[:-1] + ends_before)

    def _stream(self, corpus: Corpus) -> np.ndarray:
        """All files in one run, each as `order - 1` starts, its tokens, and the end."""
        sizes = np.diff(corpus.starts)
        shift = self.order * np.arange(len(sizes)) + self.order - 1
        stream = np.full(len(corpus.tokens) + self.order * len(sizes), self._start, dtype=np.int64)
        stream[np.arange(len(corpus.tokens)) + np.repeat(shift, sizes)] = corpus.tokens
        stream[corpus.starts[1:] + shift] = self.eos
        return stream


def _smoothed(keys: np.ndarray, counts: np.ndarray, num_contexts: int, width: int) -> _Order:
    contexts = keys // width
    totals = np.bincount(contexts, weights=counts, minlength=num_contexts)
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    taken = np.bincount(contexts, weights=discounts, minlength=num_contexts)
    is_empty = totals == 0  # nothing was ever predicted after it
    totals[is_empty] = 1
    return _Order(keys, (counts - discounts) / totals[contexts], np.where(is_empty, 1.0, taken / totals))


def _discounts(counts: np.ndarray) -> np.ndarray:
    """What is taken off an n-gram seen 0, 1, 2, and 3 or more times (equation 26 of Chen and Goodman)."""
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (found[1:] > 0).all():
            return found
    return np.array([0, 0.5, 1.0, 1.5])  # too little text to estimate them
