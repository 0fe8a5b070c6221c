"""The message for a misspelt option or word, with the closest one that exists. Imported only then."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator


def corrected(message: str, parser: argparse.ArgumentParser) -> str:
    """argparse's message, with 'did you mean' where an option or a verb is close to what was typed."""
    if message.startswith('unrecognized arguments: '):
        typed = next((word for word in message.split()[2:] if word.startswith('-')), '').partition('=')[0]
        known = list(_options(parser))
    elif 'invalid choice: ' in message:
        typed = message.partition("invalid choice: '")[2].partition("'")[0]
        known = [name for action in parser._actions if isinstance(action, argparse._SubParsersAction)
                 for name in action.choices]
        message = f"unknown verb '{typed}'" if known else message
    else:
        return message
    # '--warn' for '--warning': the beginning counts for more than the length
    close = [word for word in known if len(typed) > 3 and word.startswith(typed)] \
        or difflib.get_close_matches(typed, known, 1, 0.6)
    return f'{message}; did you mean {close[0]}?' if typed and close else message


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield from (flag for flag in action.option_strings if flag.startswith('--'))
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _options(one)
