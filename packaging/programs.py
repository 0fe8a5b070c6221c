"""The programs of this project and their parsers, which are what the manual and the completion are made from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from check_conntrack_lib import __version__  # noqa: E402
from check_conntrack_lib.doctor import cli  # noqa: E402
from check_conntrack_lib.plugin import options  # noqa: E402

VERSION = __version__
SECTION = 8
#: also called by these names
ALIASES = {'check_conntrack': ['check_conntrack.py', 'check_conntrack.pyz'],
           'conntrack-doctor': ['conntrack-doctor.pyz']}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Each program's parser by the program's name."""
    # only the verbs that it is given bring their options
    return {'check_conntrack': options.parser(), 'conntrack-doctor': cli.parser(list(cli.VERBS))}


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A program's sub commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def summary(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What the help says of each sub command, in a few words."""
    return {choice.dest: choice.help or '' for action in parser._actions
            if isinstance(action, argparse._SubParsersAction) for choice in action._choices_actions}
