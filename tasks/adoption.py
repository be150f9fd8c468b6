"""What is in a batch that the ledger does not know: its wire ids say it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from batching.errors import BadInput, NotFound, RequestRefused
from batching.provider import ProviderBatch
from batching.stopping import check_stop
from batching.wire import RequestRef, decode_wire_id
from tasks.resources import resources


class _Line(msgspec.Struct):
    custom_id: str


_decode = msgspec.json.Decoder(_Line).decode


def members_of(found: ProviderBatch) -> pl.DataFrame:
    """Return the requests (segment, row_index) of a batch, by the wire ids in its files.

    The input file names all of them; where it is gone, output and error file name those that
    were answered. BadInput says why nobody can tell.
    """
    problems: list[str] = []
    refs: set[RequestRef] = set()
    for file_ids in ((found.input_file_id,), (found.output_file_id, found.error_file_id)):
        for file_id in filter(None, file_ids):
            try:
                refs.update(_refs_in(file_id))
            except (NotFound, RequestRefused) as error:
                problems.append(str(error))
        if refs:
            break
    if not refs:
        why = "; ".join(problems) or "none of its lines has a wire id of this installation"
        raise BadInput(f"the requests of batch {found.id} cannot be told: {why}.")
    rows = [(ref.segment, ref.row) for ref in refs]
    schema = {"segment": pl.Int32, "row_index": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("segment", "row_index")


def _refs_in(file_id: str) -> Iterator[RequestRef]:
    directory = resources().directory
    with tempfile.TemporaryDirectory(dir=directory.temporary) as folder:
        path = Path(folder) / "lines.jsonl"
        resources().provider.download(file_id, path)
        with path.open("rb") as lines:
            for line in lines:
                check_stop()
                ref = _ref(line)
                if ref is not None:
                    yield ref


def _ref(line: bytes) -> RequestRef | None:
    try:
        return decode_wire_id(resources().installation, _decode(line).custom_id)
    except (msgspec.DecodeError, RecursionError):
        return None
