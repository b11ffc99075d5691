"""The command line: arguments, exit codes, a sentence for a user's mistake. Heavy packages are imported inside the commands."""

from __future__ import annotations

import signal
import sys

from goodteacher.cli import looking, reproducing, starting, training, using  # noqa: F401 - their commands register with the app
from goodteacher.cli.options import app

INTERRUPTED = 130


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2, Ctrl-C is 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(standalone_mode=True)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:  # typer turns KeyboardInterrupt into this
            print(
                "goodteacher: stopped; finished runs and checkpoints are kept; the same command goes on.",
                file=sys.stderr,
            )
        raise
    except Exception as error:
        from goodteacher.base.errors import GoodteacherError

        # A file or folder that cannot be read or written, wherever it was met, is no mistake of ours.
        met = isinstance(error, OSError) and error.filename is not None
        if not isinstance(error, GoodteacherError) and not met:
            raise
        # A name that is no text in UTF-8 is shown with its bytes written out.
        said = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
        print(f"goodteacher: {said}", file=sys.stderr)
        sys.exit(2)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
