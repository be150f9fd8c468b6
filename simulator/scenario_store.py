"""The scenarios in force: which, for which batches, and how often they were used."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from simulator.records import AppliedScenario, ParameterValue
from simulator.scenarios import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.database import Database
    from simulator.scenarios import ScenarioChoice


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario in force, maybe only for some models or for the next few batches."""

    name: str
    parameters: dict[str, ParameterValue]
    model: str | None = None
    next_batches: int | None = None
    from_command_line: bool = False


_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(Rule).decode


class ScenarioStore:
    """Scenarios in the order in which they were set; used by the event loop alone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rules = self._load()

    def _load(self) -> dict[int, Rule]:
        rows = self._database.execute("SELECT id, rule FROM scenario_rules ORDER BY id")
        return {row[0]: _decode(row[1]) for row in rows}

    def add(
        self,
        choices: Sequence[ScenarioChoice],
        *,
        model: str | None = None,
        next_batches: int | None = None,
        from_command_line: bool = False,
    ) -> None:
        """Put scenarios in force."""
        with self._database.transaction() as connection:
            for choice in choices:
                rule = Rule(
                    name=choice.name,
                    parameters=dict(choice.parameters),
                    model=model,
                    next_batches=next_batches,
                    from_command_line=from_command_line,
                )
                connection.execute("INSERT INTO scenario_rules (rule) VALUES (?)", (_encode(rule),))
        self._rules = self._load()

    def replace_command_line(self, choices: Sequence[ScenarioChoice]) -> None:
        """Put the scenarios of the command line in the place of those of the last start."""
        wanted = [(choice.name, dict(choice.parameters)) for choice in choices]
        present = {
            number: (rule.name, rule.parameters)
            for number, rule in self._rules.items()
            if rule.from_command_line
        }
        # The same again after a restart: what they have used up stays used up.
        if list(present.values()) == wanted:
            return
        for number in present:
            self._database.execute("DELETE FROM scenario_rules WHERE id = ?", (number,))
        self.add(choices, from_command_line=True)

    def clear(self) -> None:
        """Take all scenarios out of force; batches keep those they were created with."""
        self._database.execute("DELETE FROM scenario_rules")
        self._rules = {}

    def listing(self) -> list[dict[str, object]]:
        """Return the scenarios in force."""
        return [{"id": number, **msgspec.to_builtins(rule)} for number, rule in self._rules.items()]

    def for_calls(self, *names: str) -> Iterator[AppliedScenario]:
        """Yield the scenarios of these names that concern calls."""
        for number, rule in self._rules.items():
            if rule.name in names:
                yield _applied(number, rule)

    def for_batch(self, model: str | None) -> tuple[AppliedScenario, ...]:
        """Return the scenarios that hold for a new batch of this model."""
        return tuple(
            _applied(number, rule)
            for number, rule in self._rules.items()
            if BY_NAME[rule.name].on_batches and _concerns(rule, model)
        )

    def use_up(self, applied: Sequence[AppliedScenario]) -> None:
        """Note that a batch was created with these scenarios."""
        for each in applied:
            rule = self._rules[each.rule]
            if rule.next_batches is not None:
                self._count_down(each.rule, rule, rule.next_batches - 1)

    def take(self, rule: int, subject: str, times: int) -> bool:
        """Return whether a scenario still holds for this subject (0 times: always); count it."""
        if not times:
            return True
        changed = self._database.execute(
            "INSERT INTO scenario_uses VALUES (?, ?, 1)"
            " ON CONFLICT (rule, subject) DO UPDATE SET times = times + 1 WHERE times < ?",
            (rule, subject, times),
        )
        return changed.rowcount > 0

    def _count_down(self, number: int, rule: Rule, left: int) -> None:
        if left > 0:
            self._rules[number] = msgspec.structs.replace(rule, next_batches=left)
            statement = "UPDATE scenario_rules SET rule = ? WHERE id = ?"
            self._database.execute(statement, (_encode(self._rules[number]), number))
        else:
            del self._rules[number]
            self._database.execute("DELETE FROM scenario_rules WHERE id = ?", (number,))


def _concerns(rule: Rule, model: str | None) -> bool:
    return rule.model is None or fnmatchcase(model or "", rule.model)


def _applied(number: int, rule: Rule) -> AppliedScenario:
    return AppliedScenario(rule=number, name=rule.name, parameters=rule.parameters)
