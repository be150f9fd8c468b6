"""The steps of the flows again and again, as `obm up` runs them: batches wait until they fill."""

import time
from contextlib import closing

from plain_pipeline import plain_flows

from batching.settings import Settings
from storage.accounts import make_probes_due
from tasks.lookout import flows_with_work
from tasks.resources import Resources, using

PAUSE_SECONDS = 0.2


def main() -> None:
    """Run until killed, with the settings of the environment."""
    resources = Resources(Settings(_env_file=None))
    with using(resources), closing(resources):
        make_probes_due(resources.ledger)
        while True:
            busy = flows_with_work(resources, max_age_seconds=0.0)
            for name, run in plain_flows().items():
                if name in busy:
                    run()
            if not busy:
                time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
