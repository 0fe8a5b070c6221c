"""What the values of an option are, for the completions: words, files, directories."""

from __future__ import annotations

import argparse
import re

from programs import parsers


def accepts(action: argparse.Action, text: str) -> bool:
    """Would the parser take this value?"""
    if action.choices is not None:
        return text in action.choices
    try:
        action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError, TypeError):
        return False
    return True


def words(action: argparse.Action, epilog: str) -> list[str]:
    """The words among its values: those in the help that it accepts, if it does not accept just anything."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if accepts(action, 'no-such-word'):
        return []
    return [word for word in dict.fromkeys(re.findall(r'\b[a-z][a-z-]+\b', f'{action.help} {epilog}'))
            if accepts(action, word)]


def known_words() -> dict[str, list[str]]:
    """By option: one of the same name takes the same words, also where its parser lets everything pass."""
    return {action.option_strings[-1]: words(action, str(parser.epilog)) for parser in parsers().values()
            for action in parser._actions if action.option_strings and action.nargs != 0}


def takes_directory(action: argparse.Action) -> bool:
    return 'DIR' in str(action.metavar or action.dest).upper()


def takes_file(action: argparse.Action) -> bool:
    return bool(accepts(action, '/dev/null') and not isinstance(action.choices, (list, tuple))
                and re.search(r'FILE|PATH|SOURCE', str(action.metavar or action.dest).upper()))
