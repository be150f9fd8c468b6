"""How commands fail: one clear sentence and what to do, never a traceback."""

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

WRONG_USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
_DEBUG_VARIABLE = "OBM_DEBUG"


class PlainSpokenGroup(TyperGroup):
    """A group of commands whose errors end as sentences on standard error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; say what went wrong and end with the exit code for it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_standard_output()
            raise typer.Exit(BROKEN_PIPE) from None
        except Exception as error:
            sentence = _sentence_of(error)
            if sentence is None and not _is_unexpected(error):
                raise
            if os.environ.get(_DEBUG_VARIABLE):
                traceback.print_exc()
            say_wrong(sentence or _unexpected(error))
            raise typer.Exit(WRONG_USAGE if sentence else 1) from None


def say_wrong(sentence: str) -> None:
    """Print what went wrong on standard error."""
    typer.secho(f"obm: {sentence}", fg=typer.colors.RED, err=True)


def _sentence_of(error: Exception) -> str | None:
    """Return what to tell a person about an error that is his to correct, or None."""
    from batching.errors import BatchManagerError  # noqa: PLC0415 - only when something is wrong

    if isinstance(error, BatchManagerError):
        return str(error)
    if isinstance(error, PermissionError):
        return (
            f"this user may not use {error.filename or 'a file'}: change its permissions, run as "
            "the user who owns it, or set OBM_DATA_DIR to another folder"
        )
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return None


def _is_unexpected(error: Exception) -> bool:
    """Tell a defect of ours from the ways in which the command library ends a command."""
    return not type(error).__module__.startswith(("typer", "click"))


def _unexpected(error: Exception) -> str:
    words = str(error).splitlines()
    return (
        f"unexpected {type(error).__name__}: {words[0] if words else 'without a message'}; this "
        f"is a defect: run the command again with {_DEBUG_VARIABLE}=1 and report what it prints"
    )


def _forget_standard_output() -> None:
    """Let what is still buffered go nowhere: the reader has left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
