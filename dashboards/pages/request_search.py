"""What somebody searches requests by: qualifiers and parts of ids, read from the one search box.

`state:failed model:gpt-4o-mini invoice-2024` is two qualifiers and a part of the custom_id. The
address may hold the same filters as parameters of their own; what is typed comes first.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from batching.lifecycle import DeliveryState, RequestState
from dashboards.places import Place
from storage.request_filter import RequestFilter

QUALIFIERS: Final[Mapping[str, str]] = {
    "state": "State:", "batch": "Batch:", "job": "Job:", "model": "Model:",
    "endpoint": "Endpoint:", "dest": "Destination:", "delivery": "Delivery:", "error": "Error:",
    "age": "Age:",
}  # fmt: skip
"""What can be typed before a colon, and what it is called when it is shown back."""
PARAMETERS: Final[Mapping[str, str]] = {**QUALIFIERS, "since": "Since:", "until": "Until:"}
"""The same as parameters of an address, and what only stands there."""

_KINDS: Final = frozenset({"file", "webhook", "rabbitmq", "named"})
_TOKEN: Final = re.compile(r'(?:([a-z]+):)?("[^"]*"|\S+)', re.IGNORECASE)
_AGE: Final = re.compile(r"([<>]?)(\d{1,6})\s*(s|m|min|h|d|w)", re.IGNORECASE)
_SECONDS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One piece of what was typed: a qualifier with its value, or a part of an id."""

    name: str | None
    value: str

    @property
    def text(self) -> str:
        """How it is typed."""
        value = f'"{self.value}"' if re.search(r"\s", self.value) or not self.value else self.value
        return value if self.name is None else f"{self.name}:{value}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What is searched by: the filter, and what could not be understood of it."""

    wanted: RequestFilter
    problems: Sequence[str] = field(default=())


def read_terms(text: str) -> list[Term]:
    """Return the pieces of what was typed; a colon after an unknown word is part of an id."""
    return list(_terms(text))


def written(terms: Sequence[Term]) -> str:
    """Return the pieces as they are typed."""
    return " ".join(term.text for term in terms)


def search_of(place: Place, at: datetime) -> Search:
    """Return what an address asks for; ages are counted back from the moment `at`."""
    terms = read_terms(place.get("q"))
    given = {name: place.get(name) for name in PARAMETERS if place.get(name)}
    given |= {term.name: term.value for term in terms if term.name is not None}
    problems: list[str] = []
    read = _Reader(given=given, at=at.replace(second=0, microsecond=0), problems=problems)
    part = " ".join(term.value for term in terms if term.name is None)
    since, until = read.times()
    kind, target = read.destination()
    wanted = RequestFilter(
        state=read.one_of("state", RequestState), batch_id=read.number("batch"),
        job=given.get("job"), model=given.get("model"), endpoint=given.get("endpoint"),
        destination=kind, target=target, error_code=given.get("error"),
        delivery_state=read.one_of("delivery", DeliveryState), custom_id_part=part or None,
        since=since, until=until,
    )  # fmt: skip
    return Search(wanted=wanted, problems=tuple(problems))


def without(place: Place, *names: str) -> Place:
    """Return the place without these qualifiers, typed or as parameters, on its first page."""
    terms = [term for term in read_terms(place.get("q")) if term.name not in names]
    return place.having(q=written(terms) or None, **dict.fromkeys(names))


def _terms(text: str) -> Iterator[Term]:
    for match in _TOKEN.finditer(text):
        name, value = (match[1] or "").lower(), match[2]
        if name in QUALIFIERS:
            yield Term(name=name, value=value.strip('"'))
        else:
            yield Term(name=None, value=match[0] if match[1] else value.strip('"'))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    """Reads the values of qualifiers; what is wrong with one is told, and it is left out."""

    given: Mapping[str, str]
    at: datetime
    problems: list[str]

    def one_of(self, name: str, known: type[RequestState | DeliveryState]) -> str | None:
        value = self.given.get(name)
        if value is None or value in {one.value for one in known}:
            return value
        names = ", ".join(one.value for one in known)
        self.problems.append(f"{name}:{value} is unknown; there are {names}.")
        return None

    def number(self, name: str) -> int | None:
        value = self.given.get(name)
        if value is None:
            return None
        if value.isascii() and value.isdigit() and int(value) <= _LARGEST:
            return int(value)
        self.problems.append(f"{name}:{value} is not a number.")
        return None

    def destination(self) -> tuple[str | None, str | None]:
        value = self.given.get("dest")
        return (value, None) if value in _KINDS else (None, value)

    def times(self) -> tuple[datetime | None, datetime | None]:
        since, until = self._moment("since"), self._moment("until")
        age = self.given.get("age")
        if age is None:
            return since, until
        match = _AGE.fullmatch(age)
        if match is None:
            self.problems.append(f"age:{age} is unknown; say age:<24h (newer) or age:>2d (older).")
            return since, until
        then = self._back(match)
        return (since, then) if match[1] == ">" else (then, until)

    def _moment(self, name: str) -> datetime | None:
        value = self.given.get(name)
        if value is None:
            return None
        match = _AGE.fullmatch(value)
        if match is not None:
            return self._back(match)
        try:
            found = datetime.fromisoformat(value)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.problems.append(f"{name}:{value} is no time; say 24h, or 2026-05-01.")
            return None

    def _back(self, match: re.Match[str]) -> datetime:
        seconds = int(match[2]) * _SECONDS[match[3].lower()]
        return self.at - timedelta(seconds=min(seconds, 100 * 365 * 86_400))
