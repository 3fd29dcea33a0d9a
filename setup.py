"""What setup.cfg cannot say: the description that package indexes show, README.md without what only a checkout has."""

import re
from pathlib import Path

from setuptools import setup

_FENCE = re.compile(r"(?ms)(^```.*?^```$)")
_REMARK = re.compile(r"<!--.*?-->\n")
_PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:)[^)]+\)\n\n?")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")


def for_an_index(readme: str) -> str:
    """Relative links and pictures lead nowhere on an index: the names of files stay, and where they are is said."""
    parts = _FENCE.split(readme)
    parts[::2] = [_LINK.sub(r"\1", _PICTURE.sub("", _REMARK.sub("", part))) for part in parts[::2]]
    return "".join(parts) + "\nFiles and folders that are named here are in the source distribution.\n"


setup(
    long_description=for_an_index(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
