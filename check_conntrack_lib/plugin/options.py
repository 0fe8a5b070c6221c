"""The command line: every option, its default, and one clear sentence for a wrong one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from nagiosplugin import Range

from ..argument_types import entries, namespaces, one_of, path_or, seconds, wrong_value
from ..defaults import SAMPLE
from ..namedtuples import TYPE_CHECKING, NamedTuple
from ..snapshot import READINGS
from .converters import days, limit, seconds_or_off
from .signals import CLOUD, DROPS, FULL, SIGNALS, Option, Signal, options_of

if TYPE_CHECKING:
    import argparse
    from typing import Any

#: what --require takes besides usage, which is always required: readings (see `model.Reading`), and every namespace
REQUIRABLE = (*(name for name in READINGS if name != 'usage'), 'history', 'namespaces')
STATES = ('ok', 'warning', 'critical', 'unknown')


class UsageError(Exception):
    """A wrong command line; its text is one sentence."""


class Limits(NamedTuple):
    """Nagios ranges as text; '' is no limit."""

    warning: str
    critical: str


class Options(NamedTuple):
    """What a run was asked for; times in seconds."""

    #: by the signal's name
    limits: Mapping[str, Limits]
    #: names of the options that were given a value
    given: frozenset[str]
    #: percent; infinite: switched off
    trend: float
    horizon: float
    #: percentage points; 0: off
    clear: float
    warning_after: float
    window: float
    #: entries; 0: none
    limit: int
    require: tuple[str, ...]
    not_loaded: str
    kernel_log: str
    procfs: str
    #: a file, 'off', or '' for this user's own place
    history: str
    history_days: float
    #: 'warning' or 'off'
    settings_check: str
    #: entries at most that a diagnosis reads
    sample: int
    #: infinite: never
    baseline_every: float
    diagnose: str
    #: ('current',), ('all',), or words that mean namespaces
    netns: tuple[str, ...]
    timeout: float
    verbose: int

    def requested(self, signal: str) -> bool:
        """Was a threshold of this signal given, even the default one?"""
        return bool({f'{signal}_warning', f'{signal}_critical'} & self.given)


#: every option with a value, by its heading in the help
OPTIONS: dict[str, tuple[Option, ...]] = {
    FULL: (
        *options_of(FULL),
        Option(('--limit',), limit, 'N', '0',
               'connections that a cloud allows this host, where that is less than nf_conntrack_max: usage is of the '
               'smaller one; 0: none'),
    ),
    DROPS: (
        Option(('--window',), seconds, 'DURATION', '5m',
               'drops are counted over at least this time, and keep the state for as long'),
        *options_of(DROPS),
    ),
    CLOUD: options_of(CLOUD),
    'what is read': (
        Option(('--not-loaded',), one_of(*STATES), 'STATE', 'unknown',
                'the state where the kernel has no connection tracking: ' + ', '.join(STATES)),
        Option(('--kernel-log',), path_or('auto', 'kmsg', 'journal', 'off'), 'SOURCE', 'auto',
                'auto (kmsg, else journal), kmsg, journal, off, or a FILE of records as /dev/kmsg gives them'),
        Option(('--procfs',), str, 'DIR', '/proc', "another proc file system, such as the host's in a container"),
        Option(('--netns',), namespaces, 'WHICH', 'current',
                'network namespaces: current, all (the worst one determines the state), or NAME[,NAME...]: as '
                'ip netns shows it, or the first digits of a container id; others need root'),
        Option(('--history',), path_or('off'), 'FILE', '',
                'the SQLite file of the history, or off (default: in $NAGIOS_PLUGIN_STATE_DIRECTORY, '
                '/var/lib/check_conntrack or ~/.local/state/check_conntrack)'),
        Option(('--history-days',), days, 'DAYS', '14', 'how long samples are kept'),
        Option(('--settings-check',), one_of('warning', 'off'), 'STATE', 'warning',
                'warning or off: sysctl.d values that differ from the running kernel or are past "# expires:"'),
    ),
    'diagnosis': (
        Option(('--diagnose',), one_of('auto', 'always', 'never'), 'WHEN', 'auto',
                'name the traffic that fills the table and what it grew by: auto (when not OK), always or never; '
                'needs root'),
        Option(('--sample',), entries, 'N', f'{SAMPLE}', 'entries at most that a diagnosis reads'),
        Option(('--baseline-every',), seconds_or_off, 'DURATION', '10m',
                'how often to record the baseline while the state is OK; 0: at every run, off: never'),
    ),
    'other': (
        Option(('-t', '--timeout'), seconds, 'DURATION', '10s', 'end with UNKNOWN after this time'),
    ),
}

#: repeatable; '' is no value
REQUIRE = Option(('--require',), one_of('usage', *REQUIRABLE), 'SIGNAL', '',
                 'UNKNOWN when this signal cannot be read: ' + ', '.join(REQUIRABLE)
                 + '; repeatable (usage is always required)')


def parser() -> argparse.ArgumentParser:
    """argparse's parser of all options."""
    from . import option_parser  # see `_plain_values`

    return option_parser.parser()


def parse(argv: Sequence[str]) -> Options:
    """Options from the arguments after the program's name. Raises UsageError, or SystemExit(3) after help."""
    every = [option for options in OPTIONS.values() for option in options]
    given = _plain_values(argv, every)
    if given is None:
        given = vars(parser().parse_args(argv))
    for option in every:
        if given[option.name] == []:  # argparse takes the '--' out of '--warning=--'
            raise UsageError(f'argument {"/".join(option.flags)}: expected one argument')
    value = {option.name: option.convert(option.default) if given[option.name] is None else given[option.name]
             for option in every}
    if not os.path.isdir(value['procfs']):
        raise UsageError(f"--procfs: '{value['procfs']}' is not a directory")
    return Options(
        limits={signal.name: _limits(signal, value) for signal in SIGNALS
                if signal.options and signal.state is None},
        given=frozenset(option.name for option in every if given[option.name] is not None),
        require=tuple(reading for reading in given['require'] if reading), verbose=given['verbose'],
        **{name: value[name] for name in Options._fields if name in value})


def _plain_values(argv: Sequence[str], every: Sequence[Option]) -> dict[str, Any] | None:
    """What argparse would make of a command line that has nothing but `--option value` and `--option=value`, all valid.

    None: it has something else, or something wrong, and is for argparse. That takes as long as a tenth of a run: it is
    not even imported for what Icinga and NRPE hand over every minute.
    """
    options = {flag: option for option in (*every, REQUIRE) for flag in option.flags}
    values: dict[str, Any] = {**dict.fromkeys(option.name for option in every), REQUIRE.name: [], 'verbose': 0}
    words = iter(argv)
    for word in words:
        flag, equals, text = word.partition('=') if word.startswith('--') else (word, '', '')
        option = options.get(flag)
        text = text if equals else next(words, '-')
        if option is None or text.startswith('-'):
            return None
        try:
            value = option.convert(text) if text else None
        except wrong_value():
            return None
        if option is REQUIRE:
            values[option.name].append(value)
        else:
            values[option.name] = value
    return values


def _limits(signal: Signal, value: dict[str, Any]) -> Limits:
    """The thresholds of a signal. Raises UsageError where WARNING is above CRITICAL."""
    pair = Limits(*(value[option.name] for option in signal.options))
    warning, critical = upper_threshold(pair.warning), upper_threshold(pair.critical)
    if warning is not None and critical is not None and warning > critical:
        first, second = (option.flags[-1] for option in signal.options)
        raise UsageError(f'{first} {pair.warning} is above {second} {pair.critical}')
    return pair


def upper_threshold(text: str) -> float | None:
    """The number that a range alerts above, where it is that simple; None for any other range."""
    limits = Range(text)
    return limits.end if text and not limits.invert and limits.start <= 0 and limits.end != float('inf') else None
