"""What a board sends: all that the browser has not confirmed, and nothing twice beyond that."""

from __future__ import annotations

import pytest

from dashboards.components import board as boards
from dashboards.components.board import Board


@pytest.fixture
def board() -> Board:
    laid_out = Board(layout="<i></i>", tiles={"a": "1", "b": "1"})
    laid_out.confirmed = laid_out.content["number"]
    return laid_out


def test_what_is_shown_first_comes_with_its_layout() -> None:
    first = Board(layout="<i></i>", tiles={"a": "1"})
    assert first.content == {"number": 1, "layout": "<i></i>", "tiles": {"a": "1"}}


def test_only_what_differs_is_sent(board: Board) -> None:
    board.fill({"a": "1", "b": "2"})
    assert board.content == {"number": 2, "tiles": {"b": "2"}}
    board.fill({"a": "1", "b": "2"})
    assert board.content["number"] == 2
    assert (board.shown("a"), board.shown("b"), board.shown("c")) == ("1", "2", "")


def test_a_change_holds_all_before_it_that_was_not_confirmed(board: Board) -> None:
    board.fill({"a": "2"})
    board.fill({"b": "2"})
    assert board.content["tiles"] == {"a": "2", "b": "2"}
    board.confirmed = 2  # of the first of the two alone
    board.fill({"b": "3"})
    assert board.content["tiles"] == {"a": "2", "b": "3"}
    board.confirmed = 4
    board.fill({"b": "4"})
    assert board.content["tiles"] == {"b": "4"}


def test_another_layout_is_sent_until_it_is_confirmed(board: Board) -> None:
    board.lay_out("<b></b>", {"c": "1"})
    board.fill({"c": "2"})
    assert board.content == {"number": 3, "layout": "<b></b>", "tiles": {"c": "2"}}
    board.confirmed = 3
    board.fill({"c": "3"})
    assert board.content == {"number": 4, "tiles": {"c": "3"}}


def test_what_is_never_confirmed_is_sent_once_more(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(boards.time, "monotonic", lambda: now)
    board.fill({"a": "2"})
    now = 4.0
    board.send_again()
    assert board.content["number"] == 2
    now = 6.0
    board.send_again()
    assert board.content == {"number": 3, "tiles": {"a": "2"}}
    board.confirmed = 3
    now = 60.0
    board.send_again()
    assert board.content["number"] == 3
