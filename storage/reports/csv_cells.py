"""Text in CSV files that spreadsheets open: nothing that a sender wrote is run as a formula."""

from typing import Final

import polars as pl

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_FORMULA: Final = r"^[=+\-@\t\r]"


def plain_cell(text: str) -> str:
    """Return the text, with an apostrophe before it if a spreadsheet would take it for a formula.

    Numbers are not given to this: `-5` as a number stays one.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def plain_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with all its columns of text like `plain_cell`."""
    texts = pl.col(pl.String)
    is_formula = texts.str.contains(_FORMULA)
    return frame.with_columns(
        pl.when(is_formula).then(pl.lit("'") + texts).otherwise(texts).name.keep()
    )
