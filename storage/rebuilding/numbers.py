"""Numbers of jobs and destinations: result files speak of them, so they are kept if they can be."""

from batching.destinations import parse_destination, target_of
from batching.jobs import slug
from storage.ledger import Transaction, now
from storage.segment_records import JobOfSegment
from storage.sources import free_names


def job_number(transaction: Transaction, job: JobOfSegment) -> int:
    """Return the number of a job in this ledger; begin the job if there is none of its name."""
    known = transaction.value("SELECT job_id FROM jobs WHERE name = ?", job.name)
    if known is not None:
        return int(known)
    number = _free_or_next(transaction, "jobs", "job_id", job.job_id)
    name, folder = job.name, job.slug
    if transaction.value("SELECT count(*) FROM jobs WHERE slug = ?", folder):
        taken = {row["name"] for row in transaction.rows("SELECT name FROM jobs")}
        name = next(free_names(name, taken))
        folder = slug(name)
    transaction.execute(
        "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, false, ?, ?, ?, NULL, NULL)",
        number, name, folder, job.label, job.endless, job.delivery_config,
        job.max_wait_seconds, job.created_at,
    )  # fmt: skip
    transaction.record_move("job", name, "open", reason="found again", actor="rebuild")
    return number


def destination_number(transaction: Transaction, wanted: int, config: str) -> int:
    """Return the number of a destination in this ledger; record it if it is not there."""
    known = transaction.value("SELECT destination_id FROM destinations WHERE config = ?", config)
    if known is not None:
        return int(known)
    number = _free_or_next(transaction, "destinations", "destination_id", wanted)
    destination = parse_destination(config)
    target = target_of(destination)
    transaction.execute(
        "INSERT INTO destinations VALUES (?, ?, ?, ?, ?, NULL, NULL)",
        number, config, destination.type, target, now(),
    )  # fmt: skip
    transaction.execute(
        "INSERT INTO targets (target, kind, openings) SELECT $1, $2, 0 "
        "WHERE NOT EXISTS (SELECT 1 FROM targets WHERE target = $1)",
        target, destination.type,
    )  # fmt: skip
    return number


def _free_or_next(transaction: Transaction, table: str, column: str, wanted: int) -> int:
    if not transaction.value(f"SELECT count(*) FROM {table} WHERE {column} = ?", wanted):
        return wanted
    return int(transaction.value(f"SELECT max({column}) + 1 FROM {table}"))
