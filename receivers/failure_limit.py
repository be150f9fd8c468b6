"""How often somebody may fail to say who he is."""

import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_MOST_FAILURES: Final = 10
_WINDOW_SECONDS: Final = 60.0
_MOST_ADDRESSES: Final = 10_000
_NEIGHBOURHOOD_BITS: Final = 64


@dataclass(slots=True)
class _Window:
    ends_at: float
    failures: int = 0


class FailureLimit:
    """Counts failures by client address; remembers a bounded number of addresses."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def count(self, address: str) -> float:
        """Count one more failure; return how many seconds to wait, 0 while it is not too many."""
        now, key = time.monotonic(), _neighbourhood(address)
        window = self._windows.get(key)
        if window is None or window.ends_at <= now:
            self._windows.pop(key, None)
            window = self._windows[key] = _Window(now + _WINDOW_SECONDS)
            if len(self._windows) > _MOST_ADDRESSES:
                self._windows.popitem(last=False)
        window.failures += 1
        return window.ends_at - now if window.failures > _MOST_FAILURES else 0.0


def _neighbourhood(address: str) -> str:
    """Return what counts as one client: somebody with IPv6 has a whole network to himself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(ipaddress.ip_network((int(parsed), _NEIGHBOURHOOD_BITS), strict=False))
