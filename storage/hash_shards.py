"""A large set of pairs of 64-bit hashes in sorted arrays: 17 bytes a pair.

It is split by the first bits of the key, so that merging new pairs needs room for one small
part at a time, and a reader in another thread sees each part before or after, never between.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import numpy as np

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
Flags = np.ndarray[Any, np.dtype[np.uint8]]

RECORDED: Final = 0
STAGED: Final = 1
_DOUBTFUL: Final = 2
_BITS: Final = 10
_SHIFT: Final = 64 - _BITS

_Shard = tuple[Hashes, Hashes, Flags]


class HashShards:
    """Pairs of key and payload, each with a flag; the lowest flag of equal pairs stays.

    One thread merges, any number of them look up.
    """

    def __init__(self) -> None:
        empty = (np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.uint8))
        self._shards: list[_Shard] = [empty] * (1 << _BITS)

    def __len__(self) -> int:
        return sum(len(keys) for keys, _, _ in self._shards)

    @property
    def bytes(self) -> int:
        """How much memory the arrays take."""
        return sum(part.nbytes for shard in self._shards for part in shard)

    def payloads_of(self, key: int) -> list[int]:
        """Return the payloads of a key."""
        keys, payloads, _ = self._shards[key >> _SHIFT]
        first, end = _places_of(keys, key)
        return [payloads.item(place) for place in range(first, end)]

    def flags_of(self, key: int) -> list[int]:
        """Return the flags of a key's payloads."""
        keys, _, flags = self._shards[key >> _SHIFT]
        first, end = _places_of(keys, key)
        return [flags.item(place) for place in range(first, end)]

    def merge(self, keys: Hashes, payloads: Hashes, flag: int) -> None:
        """Add pairs; those that are known already get the lower flag."""
        order = np.argsort(keys)
        keys, payloads = keys[order], payloads[order]
        shards = np.arange(1, 1 << _BITS, dtype=np.uint64) << np.uint64(_SHIFT)
        bounds = [0, *keys.searchsorted(shards).tolist(), len(keys)]
        for number, (first, end) in enumerate(pairwise(bounds)):
            if first < end:
                flags = np.full(end - first, flag, np.uint8)
                added = (keys[first:end], payloads[first:end], flags)
                self._shards[number] = _merged(self._shards[number], added)

    def doubt_recorded(self) -> None:
        """Mark everything recorded as doubtful until it is merged again."""
        for number, (keys, payloads, flags) in enumerate(self._shards):
            doubted = np.where(flags == RECORDED, np.uint8(_DOUBTFUL), flags)
            self._shards[number] = (keys, payloads, doubted)

    def drop_doubtful(self) -> None:
        """Forget what was not merged again since it was doubted."""
        for number, shard in enumerate(self._shards):
            kept = shard[2] != _DOUBTFUL
            if not kept.all():
                self._shards[number] = _taken(shard, kept)


def _places_of(keys: Hashes, key: int) -> tuple[int, int]:
    first = end = int(keys.searchsorted(np.uint64(key)))
    while end < len(keys) and keys.item(end) == key:
        end += 1
    return first, end


def _merged(known: _Shard, added: _Shard) -> _Shard:
    both = (
        np.concatenate((known[0], added[0])),
        np.concatenate((known[1], added[1])),
        np.concatenate((known[2], added[2])),
    )
    order = np.argsort(both[0], kind="stable")  # two sorted runs are merged in one pass
    ordered = _taken(both, order)
    return _without_equal_pairs(ordered)


def _without_equal_pairs(shard: _Shard) -> _Shard:
    """Drop pairs that stand twice: of each, the one with the lowest flag stays."""
    keys, payloads, flags = shard
    follows = np.zeros(len(keys), bool)
    follows[1:] = keys[1:] == keys[:-1]
    if not follows.any():
        return shard
    in_group = follows.copy()
    in_group[:-1] |= follows[1:]
    places = np.flatnonzero(in_group)
    ordered = places[np.lexsort((flags[places], payloads[places], keys[places]))]
    equal = np.zeros(len(ordered), bool)
    equal[1:] = (keys[ordered[1:]] == keys[ordered[:-1]]) & (
        payloads[ordered[1:]] == payloads[ordered[:-1]]
    )
    kept = np.ones(len(keys), bool)
    kept[ordered[equal]] = False
    return _taken(shard, kept)


def _taken(shard: _Shard, places: "np.ndarray[Any, Any]") -> _Shard:
    return shard[0][places], shard[1][places], shard[2][places]


def as_hashes(values: Iterable[int]) -> Hashes:
    """Return numbers as an array of 64-bit hashes."""
    return np.fromiter(values, np.uint64)
