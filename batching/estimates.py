"""What requests would take and cost, added up before anything is sent."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from batching.planning import BatchLimits
from batching.prices import Price, PriceTable
from batching.provider import TokenUsage
from batching.requests import ReadRequest
from batching.token_limits import TokenLimit

_NOTHING = TokenUsage(input_tokens=0, output_tokens=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneEstimate:
    """What the requests for one endpoint and model take; money is None where no price is known."""

    endpoint: str
    model: str
    requests: int
    oversized: int
    """How many of them no batch can hold, because one alone is above the token limit."""
    bytes: int
    input_tokens: int
    output_tokens: int
    embedding_inputs: int
    batches: int
    token_limit: TokenLimit
    batch_usd: Decimal | None
    synchronous_usd: Decimal | None


class Estimator:
    """Adds up requests lane by lane, cutting batches as a submission at once would."""

    def __init__(
        self,
        *,
        limits: BatchLimits,
        token_limit_of: Callable[[str], TokenLimit],
        prices: PriceTable,
    ) -> None:
        self._limits = limits
        self._token_limit_of = token_limit_of
        self._prices = prices
        self._lanes: dict[tuple[str, str], _Lane] = {}

    def add(self, request: ReadRequest) -> None:
        """Count one more request behind those of its lane."""
        lane = self._lanes.get((request.url, request.model))
        if lane is None:
            lane = self._lanes[request.url, request.model] = self._new_lane(request.model)
        lane.add(request)

    def lanes(self) -> list[LaneEstimate]:
        """Return what was added up, by endpoint and model."""
        return [lane.estimate(url, model) for (url, model), lane in sorted(self._lanes.items())]

    def copy(self) -> "Estimator":
        """Return an estimator that goes on from here by itself."""
        twin = Estimator(
            limits=self._limits, token_limit_of=self._token_limit_of, prices=self._prices
        )
        twin._lanes = {key: lane.copy() for key, lane in self._lanes.items()}
        return twin

    def _new_lane(self, model: str) -> "_Lane":
        limit = self._token_limit_of(model)
        return _Lane(self._limits, limit, self._prices.price_of(model))


class _Lane:
    """The sums of one lane and the batch that is being filled."""

    def __init__(self, limits: BatchLimits, token_limit: TokenLimit, price: Price | None) -> None:
        self._limits = limits
        self._token_limit = token_limit
        self._price = price
        self._long_above = price.long_above_tokens if price else None
        self._requests = self._oversized = self._batches = 0
        self._bytes = self._embedding_inputs = 0
        # Long requests have their own price, so they have their own sums.
        self._input = [0, 0]
        self._output = [0, 0]
        self._open = [0, 0, 0, 0]

    def copy(self) -> "_Lane":
        twin = _Lane(self._limits, self._token_limit, self._price)
        twin.__dict__.update(self.__dict__)
        twin._input, twin._output = [*self._input], [*self._output]
        twin._open = [*self._open]
        return twin

    def add(self, request: ReadRequest) -> None:
        self._requests += 1
        if self._is_too_large(request.tokens):
            self._oversized += 1
            return
        is_long = self._long_above is not None and request.tokens > self._long_above
        self._bytes += request.wire_bytes
        self._embedding_inputs += request.embedding_inputs
        self._input[is_long] += request.tokens
        self._output[is_long] += request.output_tokens
        self._put_into_batch(request)

    def _is_too_large(self, tokens: int) -> bool:
        limit = self._token_limit
        return limit.certain and limit.tokens is not None and tokens > limit.tokens

    def _put_into_batch(self, request: ReadRequest) -> None:
        size = (1, request.wire_bytes, request.embedding_inputs, request.tokens)
        filled = [before + more for before, more in zip(self._open, size, strict=True)]
        if not self._batches or self._is_over(filled):
            self._batches += 1
            self._open = [*size]
        else:
            self._open = filled

    def _is_over(self, filled: list[int]) -> bool:
        requests, size, inputs, tokens = filled
        limits, token_limit = self._limits, self._token_limit.tokens
        return (
            requests > limits.requests
            or size > limits.bytes
            or inputs > limits.embedding_inputs
            or (token_limit is not None and tokens > token_limit)
        )

    def estimate(self, endpoint: str, model: str) -> LaneEstimate:
        return LaneEstimate(
            endpoint=endpoint,
            model=model,
            requests=self._requests,
            oversized=self._oversized,
            bytes=self._bytes,
            input_tokens=sum(self._input),
            output_tokens=sum(self._output),
            embedding_inputs=self._embedding_inputs,
            batches=self._batches,
            token_limit=self._token_limit,
            batch_usd=self._cost_usd(batch=True),
            synchronous_usd=self._cost_usd(batch=False),
        )

    def _cost_usd(self, *, batch: bool) -> Decimal | None:
        if self._price is None:
            return None
        short, long = (
            TokenUsage(input_tokens=incoming, output_tokens=outgoing)
            for incoming, outgoing in zip(self._input, self._output, strict=True)
        )
        usual = replace(self._price, long_above_tokens=None)
        return usual.cost_usd(short, batch=batch) + (
            self._price.cost_usd(long, batch=batch) if long != _NOTHING else Decimal(0)
        )


def total_usd(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum, or None as soon as one amount is not known."""
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def synchronous_usd(
    price: Price | None, usage: TokenUsage, batch_usd: Decimal | None
) -> Decimal | None:
    """Return what tokens that cost so much in batches would have cost synchronously."""
    if price is None or batch_usd is None:
        return None
    usual = replace(price, long_above_tokens=None)
    in_batches = usual.cost_usd(usage)
    if not in_batches:
        return batch_usd
    # A share, not the price itself: the cost paid knows which requests were long, sums do not.
    return batch_usd * usual.cost_usd(usage, batch=False) / in_batches
