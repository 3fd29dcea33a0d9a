"""What a result says about how it was made: the command line, and the state of the folder."""

import subprocess
import sys

from yolo_edge.ondevice.files import printable

_SECONDS = 10
_HIDDEN = "--token"


def command_line() -> list[str]:
    """The words of this process's command line; a token becomes an ellipsis, as results are handed on."""
    words = [f"{_HIDDEN}=…" if word.startswith(f"{_HIDDEN}=") else word for word in ["yolo-edge", *sys.argv[1:]]]
    return [printable("…" if before == _HIDDEN else word) for before, word in zip(["", *words], words, strict=False)]


def git_revision() -> str | None:
    """The git revision of the current folder, with "-dirty" where files had changed; None where there is none."""
    revision = _git("rev-parse", "HEAD")
    if not revision:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{revision}-dirty" if changed else revision


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - no shell
            ["git", "--no-optional-locks", *arguments],  # noqa: S607 - the git of the user
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
