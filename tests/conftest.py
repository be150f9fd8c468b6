"""What holds for all tests."""

from datetime import datetime


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes and moments by their argument: they differ each time that tests are collected."""
    return argname if isinstance(val, bytes | datetime) else None
