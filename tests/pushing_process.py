"""The program that is killed while it pushes: everything that is due in a data directory."""

import sys
from pathlib import Path

from batching.settings import Settings
from tasks.pushing import push_results
from tasks.resources import Resources, using

if __name__ == "__main__":
    settings = Settings(
        _env_file=None, data_dir=Path(sys.argv[1]), webhook_allow_private="127.0.0.0/8"
    )
    with using(Resources(settings)):
        push_results()
