"""What a benchmark found: figures, each beside its target and its floor."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number."""

    measure: str
    name: str
    value: float
    unit: str
    target: float | None = None
    """What the product promises; None for a number that is only told."""
    more_is_better: bool = False
    floor: float | None = None
    """The same for the least that any such program must do, measured in the same run."""

    @property
    def is_met(self) -> bool | None:
        """Whether the promise is kept; None if there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.more_is_better else self.value <= self.target

    @property
    def ratio(self) -> float | None:
        """How many times worse than the floor it is."""
        if not self.floor or not self.value:
            return None
        return self.floor / self.value if self.more_is_better else self.value / self.floor
