"""`obm estimate`: what files would take and cost, without sending or writing anything."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.table import Table

from batching.errors import BadInput
from batching.estimates import Estimator, LaneEstimate, total_usd
from batching.planning import BatchLimits
from batching.prices import PriceTable
from batching.requests import ReadingRules
from batching.settings import Settings
from batching.token_limits import LimitSource, TokenLimit, TokenLimitTable, capped, limit_for
from deployments.cli.surroundings import data_directory, load_settings, out, print_json, say
from storage.destination_table import reach_of
from storage.estimates import FileEstimate, estimate_file
from storage.token_caps import token_caps_in


def show_estimate(paths: Sequence[Path], *, as_json: bool) -> int:
    """Print what the files would take and cost; return 2 if none of them could be read."""
    settings = load_settings()
    for path in paths:
        if not path.is_file():
            raise BadInput(f"there is no file {path}: nothing was estimated")
    prices = PriceTable.load(settings.price_table)
    estimator = _estimator(settings, prices)
    rules = ReadingRules.of(settings, reach=reach_of(data_directory(settings), settings))
    files = []
    for path in paths:
        estimator, file = estimate_file(path, estimator, rules)
        files.append(file)
    lanes = estimator.lanes()
    if as_json:
        print_json(_as_json(files, lanes, prices))
    else:
        _print(files, lanes, prices, settings)
    return 2 if all(file.refused_because for file in files) else 0


def _estimator(settings: Settings, prices: PriceTable) -> Estimator:
    return Estimator(
        limits=BatchLimits(
            requests=settings.batch_max_requests,
            bytes=settings.batch_max_bytes,
            embedding_inputs=settings.batch_max_embedding_inputs,
        ),
        token_limit_of=_token_limits(settings),
        prices=prices,
    )


def _token_limits(settings: Settings) -> Callable[[str], TokenLimit]:
    """Return the limits known without asking; what refusals taught is left out."""
    has_table = settings.token_limit_table is not None or settings.is_openai
    table = TokenLimitTable.load(settings.token_limit_table) if has_table else None
    caps = token_caps_in(data_directory(settings))

    def limit_of(model: str) -> TokenLimit:
        limit = limit_for(model, overrides=settings.token_limits, learned=None, table=table)
        return capped(limit, model, learned=None, caps=caps)

    return limit_of


def _as_json(
    files: Sequence[FileEstimate], lanes: Sequence[LaneEstimate], prices: PriceTable
) -> dict[str, Any]:
    return {
        "files": [
            {
                "name": file.name,
                "accepted": file.accepted,
                "rejected": file.rejected,
                "refused_because": file.refused_because,
                "first_refusals": [
                    {"line": each.line, "code": each.code, "reason": each.reason}
                    for each in file.first_refusals
                ],
            }
            for file in files
        ],
        "lanes": [_lane_json(lane) for lane in lanes],
        "total": {
            "requests": sum(lane.requests for lane in lanes),
            "batches": sum(lane.batches for lane in lanes),
            "batch_usd": total_usd(lane.batch_usd for lane in lanes),
            "synchronous_usd": total_usd(lane.synchronous_usd for lane in lanes),
            "models_without_price": _unpriced(lanes),
            "prices_as_of": prices.as_of,
        },
    }


def _lane_json(lane: LaneEstimate) -> dict[str, Any]:
    return {
        "endpoint": lane.endpoint,
        "model": lane.model,
        "requests": lane.requests,
        "oversized": lane.oversized,
        "bytes": lane.bytes,
        "input_tokens": lane.input_tokens,
        "output_tokens": lane.output_tokens,
        "embedding_inputs": lane.embedding_inputs,
        "batches": lane.batches,
        "token_limit": lane.token_limit.tokens,
        "token_limit_source": lane.token_limit.source,
        "batch_usd": lane.batch_usd,
        "synchronous_usd": lane.synchronous_usd,
    }


def _unpriced(lanes: Sequence[LaneEstimate]) -> list[str]:
    return sorted({lane.model for lane in lanes if lane.batch_usd is None})


def _print(
    files: Sequence[FileEstimate],
    lanes: Sequence[LaneEstimate],
    prices: PriceTable,
    settings: Settings,
) -> None:
    for file in files:
        _print_file(file)
    if not lanes:
        return
    out().print(_table(lanes))
    for line in _remarks(lanes, prices, settings):
        say(line, style="dim")


def _print_file(file: FileEstimate) -> None:
    if file.refused_because:
        say(f"{file.name}: would not be taken in: {file.refused_because}", style="red")
        return
    say(f"{file.name}: {file.accepted:,} requests, {file.rejected:,} rejected lines")
    for each in file.first_refusals:
        say(f"  line {each.line:,}: {each.reason}", style="yellow")
    if file.rejected > len(file.first_refusals):
        more = file.rejected - len(file.first_refusals)
        say(f"  and {more:,} more rejected lines", style="yellow")


def _table(lanes: Sequence[LaneEstimate]) -> Table:
    table = Table(box=None, pad_edge=False, show_footer=len(lanes) > 1)
    total_requests = f"{sum(lane.requests for lane in lanes):,}"
    table.add_column("endpoint", footer="together")
    table.add_column("model")
    figures = (
        ("requests", total_requests),
        ("input tokens", f"{sum(lane.input_tokens for lane in lanes):,}"),
        ("output tokens", f"{sum(lane.output_tokens for lane in lanes):,}"),
        ("batches", f"{sum(lane.batches for lane in lanes):,}"),
        ("in batches", usd(total_usd(lane.batch_usd for lane in lanes))),
        ("synchronous", usd(total_usd(lane.synchronous_usd for lane in lanes))),
    )
    for heading, footer in figures:
        table.add_column(heading, footer=footer, justify="right")
    for lane in lanes:
        table.add_row(
            lane.endpoint,
            lane.model,
            f"{lane.requests:,}",
            f"{lane.input_tokens:,}",
            f"{lane.output_tokens:,}",
            f"{lane.batches:,}",
            usd(lane.batch_usd),
            usd(lane.synchronous_usd),
        )
    return table


def usd(amount: Decimal | None) -> str:
    """Return an amount for people: cents, or four digits where cents say nothing."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.4f}"


def _remarks(lanes: Sequence[LaneEstimate], prices: PriceTable, settings: Settings) -> list[str]:
    basis = (
        "Input tokens are estimated from bytes, with a safety factor of "
        f"{settings.token_safety_factor:g}; output tokens are each request's own maximum, else "
        f"OBM_ASSUMED_OUTPUT_TOKENS. Prices as of {prices.as_of or 'an unknown day'}."
    )
    remarks = [basis]
    if unpriced := _unpriced(lanes):
        remarks.append(
            f"The price of {', '.join(unpriced)} is not known, so neither is the total: "
            "OBM_PRICE_TABLE can name a table that has it."
        )
    for lane in lanes:
        if lane.oversized:
            remarks.append(
                f"{lane.oversized:,} requests for {lane.model} are above its limit of "
                f"{lane.token_limit.tokens:,} enqueued tokens and would fail; they are not priced."
            )
        elif lane.token_limit.source is LimitSource.TABLE and lane.batches > 1:
            remarks.append(
                f"{lane.model} is assumed to take {lane.token_limit.tokens:,} enqueued tokens at a "
                "time (tier 1): `obm cap set` or OBM_TOKEN_LIMITS says what your account may."
            )
    return remarks
