"""The data directory: every folder and file that the product keeps, by name."""

from dataclasses import dataclass
from pathlib import Path

from batching.errors import ConfigurationError
from storage.durable import disk_errors, make_folder


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The one folder that holds all state; every path in it is named here and nowhere else."""

    root: Path

    @property
    def inbox(self) -> Path:
        """Users and receivers put request files here."""
        return self.root / "staging" / "inbox"

    @property
    def receiving(self) -> Path:
        """What receivers are writing at this moment; handed over to the inbox when complete."""
        return self.root / "staging" / "receiving"

    @property
    def claimed(self) -> Path:
        """Files being taken in, as `<source_id>__<name>`."""
        return self.root / "staging" / "claimed"

    @property
    def archive(self) -> Path:
        """Users' files that were taken in."""
        return self.root / "staging" / "archive"

    @property
    def rejected(self) -> Path:
        """Lines and files that were not accepted, with their reasons."""
        return self.root / "staging" / "rejected"

    @property
    def segments(self) -> Path:
        """Accepted requests, immutable Parquet."""
        return self.root / "segments"

    @property
    def batches(self) -> Path:
        """Manifests, input, output and error files of batches."""
        return self.root / "batches"

    @property
    def results(self) -> Path:
        """Results, one immutable Parquet file a batch."""
        return self.root / "results"

    @property
    def outbox(self) -> Path:
        """Results that were delivered as files."""
        return self.root / "outbox"

    @property
    def ledger(self) -> Path:
        """The state of everything, without bodies."""
        return self.root / "ledger.duckdb"

    @property
    def ledger_lock(self) -> Path:
        """Locked around every use of the ledger; never deleted."""
        return self.root / "ledger.lock"

    @property
    def locks(self) -> Path:
        """One lock file a flow; never deleted."""
        return self.root / "locks"

    @property
    def snapshots(self) -> Path:
        """Readers' copies of the ledger."""
        return self.root / "snapshots"

    @property
    def backups(self) -> Path:
        """Earlier copies of the ledger, kept by upkeep."""
        return self.root / "backups"

    @property
    def health(self) -> Path:
        """What each role says about itself."""
        return self.root / "health"

    @property
    def tokens(self) -> Path:
        """The API tokens, their secrets hashed."""
        return self.root / "tokens.json"

    @property
    def web_sessions(self) -> Path:
        """Who is logged in to the dashboard, the cookies hashed."""
        return self.root / "web-sessions.json"

    @property
    def intake_pause(self) -> Path:
        """Exists while intake over REST is paused; says since when, by whom and why."""
        return self.root / "intake-paused.json"

    @property
    def prefect(self) -> Path:
        """The embedded Prefect server's own files."""
        return self.root / "prefect"

    @property
    def temporary(self) -> Path:
        """Where the ledger puts what does not fit into its memory; empty between steps."""
        return self.root / "temporary"

    @property
    def spill(self) -> Path:
        """Where a large query of the ledger puts what does not fit into memory."""
        return self.root / "snapshots" / "spill"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that must exist before work begins."""
        return (
            self.inbox,
            self.receiving,
            self.claimed,
            self.archive,
            self.rejected,
            self.segments,
            self.batches,
            self.results,
            self.outbox,
            self.locks,
            self.snapshots,
            self.backups,
            self.health,
            self.prefect,
            self.temporary,
        )

    def create(self) -> None:
        """Make every folder; raise ConfigurationError naming the one that cannot be used."""
        for folder in self.folders:
            _create_writable(folder)


def _create_writable(folder: Path) -> None:
    probe = folder / ".writable.tmp"
    try:
        with disk_errors(folder):
            make_folder(folder)
            probe.touch()
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data directory cannot be used: {folder}: {error.strerror}; "
            "set OBM_DATA_DIR to a folder that this user may write"
        ) from error
