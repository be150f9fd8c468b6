"""The process that pushes what waits in a data directory, then tells what that took.

`python -m benchmarks.push_process DATA [RABBITMQ_URL]` prints a `Pushed` as JSON.
"""

import os
import sys
from pathlib import Path

import msgspec

from benchmarks.processes import peak_megabytes, spent_by
from benchmarks.push_ledger import Pushed, resources_of

_LAST_ATTEMPTS = """
    SELECT target, count(*) AS results, max(attempted_at) AS ended
    FROM attempts JOIN deliveries USING (delivery_id) JOIN destinations USING (destination_id)
    WHERE deliveries.state = 'delivered' GROUP BY target
"""


def main() -> None:
    """Push everything that is due and write down what it took."""
    rabbitmq_url = sys.argv[2] if len(sys.argv) > 2 else None
    with resources_of(Path(sys.argv[1]), rabbitmq_url) as chosen:
        from storage.ledger import now  # noqa: PLC0415 - after the allocators are told
        from tasks.pushing import push_results  # noqa: PLC0415 - imports prefect

        chosen.ledger.installation()
        before, began = peak_megabytes(os.getpid()), now()
        spent = spent_by(push_results)
        with chosen.ledger.transaction() as reader:
            rows = reader.rows(_LAST_ATTEMPTS)
    pushed = Pushed(
        delivered=sum(row["results"] for row in rows),
        spent=spent,
        seconds_to={row["target"]: (row["ended"] - began).total_seconds() for row in rows},
        megabytes_before=before,
    )
    sys.stdout.buffer.write(msgspec.json.encode(pushed))


if __name__ == "__main__":
    main()
