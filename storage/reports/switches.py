"""The settings page: what is paused or could be, and what each lane may have at the provider."""

from collections.abc import Mapping, Sequence
from typing import Any

from batching.token_limits import LimitSource, cap_of
from storage.ledger import Transaction
from storage.reports.overview import enqueued_by_lane
from storage.reports.terms import Terms
from storage.token_caps import read_token_caps


def lane_switches(reader: Transaction) -> list[dict[str, Any]]:
    """Return each lane with whether it is paused and how many requests wait in it."""
    return reader.rows(
        """
        SELECT lane_id, account, endpoint, model, paused, coalesce(pending, 0) AS pending
        FROM lanes LEFT JOIN (SELECT lane_id, count(*) AS pending FROM requests
            WHERE state = 'pending' GROUP BY lane_id) USING (lane_id)
        ORDER BY model, endpoint, lane_id
        """
    )


def target_switches(reader: Transaction) -> list[dict[str, Any]]:
    """Return each pushed target with since when it is paused and how many results wait for it."""
    return reader.rows(
        """
        SELECT target, kind, paused_at, coalesce(pending, 0) AS pending
        FROM targets LEFT JOIN (SELECT target, count(*) AS pending
            FROM deliveries JOIN destinations USING (destination_id)
            WHERE state = 'pending' GROUP BY target) USING (target)
        ORDER BY target
        """
    )


def held_back(reader: Transaction) -> dict[str, int]:
    """Return how many `lanes`, `jobs` and `targets` somebody has paused."""
    found = reader.row(
        "SELECT (SELECT count(*) FROM lanes WHERE paused) AS lanes, "
        "(SELECT count(*) FROM jobs WHERE paused) AS jobs, "
        "(SELECT count(*) FROM targets WHERE paused_at IS NOT NULL) AS targets"
    )
    return found or {}


def lane_limits(reader: Transaction, *, terms: Terms) -> list[dict[str, Any]]:
    """Return what `enqueued_by_lane` says of each lane, and what it has learned, and when."""
    learned = {
        row["lane_id"]: row
        for row in reader.rows(
            "SELECT lane_id, learned_limit, learned_at, cautious_tokens FROM lanes"
        )
    }
    return [lane | learned[lane["lane_id"]] for lane in enqueued_by_lane(reader, terms=terms)]


def token_caps_report(reader: Transaction, *, terms: Terms) -> list[dict[str, Any]]:
    """Return the token caps that operators have set, with their use now, by model.

    A cap counts for each lane by itself: `enqueued_tokens` and `used_share` are those of the
    fullest one. `lowered_to` is what the provider has named since, if that is less.
    """
    caps = reader.rows("SELECT model, tokens, set_at, set_by FROM token_caps ORDER BY model")
    lanes = _by_cap(lane_limits(reader, terms=terms), [cap["model"] for cap in caps])
    return [cap | _use(lanes.get(cap["model"], [])) for cap in caps]


def cap_forecast(reader: Transaction, prefix: str, tokens: int, *, terms: Terms) -> dict[str, Any]:
    """Return the `lanes` that a cap would count for, and what it would fail.

    `requests_above` are those pending that alone need more than the cap.
    """
    known = {**read_token_caps(reader), prefix: tokens}
    lanes = _by_cap(lane_limits(reader, terms=terms), list(known)).get(prefix, [])
    above = reader.value(
        "SELECT count(*) FROM requests WHERE state = 'pending' AND tokens > ? "
        "AND list_contains(?, lane_id)",
        tokens, [lane["lane_id"] for lane in lanes],
    )  # fmt: skip
    return {"lanes": lanes, "requests_above": above}


def _by_cap(
    lanes: Sequence[Mapping[str, Any]], prefixes: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    known = dict.fromkeys(prefixes, 0)
    for lane in lanes:
        prefix = cap_of(lane["model"], known)
        if prefix is not None:
            found.setdefault(prefix, []).append(lane)
    return found


def _use(lanes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    learned = [lane for lane in lanes if lane["limit_source"] == LimitSource.LEARNED]
    return {
        "lanes": len(lanes),
        "enqueued_tokens": max((lane["enqueued_tokens"] for lane in lanes), default=0),
        "used_share": max((lane["used_share"] or 0.0 for lane in lanes), default=0.0),
        "lowered_to": min((lane["token_limit"] for lane in learned), default=None),
    }
