"""Run a command that does not outlive the process which asked for it.

`python -m deployments.parent_bound <signal> <parent pid> <command> …` asks the kernel for the
signal at the parent's death and then becomes the command. A wrapper instead of code between
fork and exec: that would run in a copy of a threaded process, where anything may be locked.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def bind_to_parent(death_signal: int, parent_pid: int) -> None:
    """Have the kernel send the signal when the parent dies; leave if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(f"process {parent_pid}, which wanted this command, has ended")


def main() -> None:
    """Become the command that the arguments name."""
    death_signal, parent_pid, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    bind_to_parent(death_signal, parent_pid)
    # A shell starts background jobs with SIGINT ignored, and exec would keep that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606 - the command is our own list, no shell


if __name__ == "__main__":
    main()
