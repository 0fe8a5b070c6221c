"""The command line: defaults, ranges, durations, and one sentence for what is wrong."""

from __future__ import annotations

import argparse
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nagiosplugin import Range

from check_conntrack_lib.plugin import option_parser
from check_conntrack_lib.plugin.cli import main
from check_conntrack_lib.plugin.converters import range_text
from check_conntrack_lib.plugin.options import (
    OPTIONS,
    REQUIRE,
    Limits,
    UsageError,
    _plain_values,
    parse,
    parser,
    upper_threshold,
)

EVERY = [option for group in OPTIONS.values() for option in group]
FLAGS = [flag for option in (*EVERY, REQUIRE) for flag in option.flags]
VALUES = sorted({option.default for option in EVERY} | {
    '80', '@1:2', 'off', '5m', 'warning', 'auto', 'always', '/proc', '/tmp/x', 'counters', 'usage', 'a,b', 'x y', '5x',
    '-5', '-w', '--', '-', '-v', '-vv', '--help', '--unknown', '--warn', 'a=b', '='})


def test_defaults() -> None:
    options = parse([])
    assert options.limits['usage'] == Limits('85', '95')
    assert (options.trend, options.horizon, options.window) == (70, 1200, 300)
    assert options.limits['dropped'] == Limits('0', '10')
    assert options.limits['insert_failed'] == Limits('1', '10')
    assert not options.requested('insert_failed')
    assert options.limits['early_drop'] == Limits('0', '')
    assert options.limits['table_full'] == Limits('', '0')
    assert (options.require, options.not_loaded, options.kernel_log) == ((), 'unknown', 'auto')
    assert (options.procfs, options.history, options.history_days, options.timeout) == ('/proc', '', 14, 10)


def test_empty_values_mean_the_default() -> None:
    """Icinga hands over '' for a variable that is null, NRPE for a missing argument."""
    argv = [word for group in OPTIONS.values() for option in group for word in (option.flags[-1], '')]
    assert parse([*argv, '--require', '']) == parse([])


@pytest.mark.parametrize(('given_', 'text'), [
    ('85', '85'), ('85%', '85'), ('10%:90%', '10:90'), ('@10:20', '@10:20'), ('~:95', '~:95'), ('10:', '10:'),
    ('0', '0'), ('0.5', '0.5'), ('off', ''),
])
def test_ranges(given_: str, text: str) -> None:
    assert range_text(given_) == text


@pytest.mark.parametrize('text', [
    '8x', '10:5', '1:2:3', ':', '@', '@:', '%', 'nan', '1e6', '--', ' 85', '85 ', '8,5', '\u0668\u0665', '1_0', 'Off',
    '85\n', '9' * 400, '|', '\x1b[2J',
])
@pytest.mark.parametrize('option', ['-w', '--dropped-critical'])
def test_wrong_ranges(option: str, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = main([option, text])
    out, err = capfd.readouterr()
    assert status == 3
    assert out.startswith('CONNTRACK UNKNOWN - argument ')
    assert out.count('\n') == 1
    assert '|' not in out
    assert out.rstrip('\n').isprintable()
    assert err == ''


@given(st.text(alphabet='0123456789@:~.%-', max_size=12))
def test_whatever_passes_is_a_range(text: str) -> None:
    try:
        parsed = range_text(text)
    except argparse.ArgumentTypeError:
        return
    upper_threshold(parsed)
    Range(parsed).match(50)


@pytest.mark.parametrize(('argv', 'says'), [
    (['-w', '97'], '--warning 97 is above --critical 95'),
    (['--dropped-warning', '20'], '--dropped-warning 20 is above --dropped-critical 10'),
    (['--early-drop-warning', '5', '--early-drop-critical', '1'],
     '--early-drop-warning 5 is above --early-drop-critical 1'),
    (['--procfs', '/nonexistent'], "--procfs: '/nonexistent' is not a directory"),
    (['--window', '0'], "argument --window: '0' is not a duration above 0, e.g. 300, 90s, 5m, 1h, 14d"),
    (['--window', '-5'], "argument --window: '-5' is not a duration above 0, e.g. 300, 90s, 5m, 1h, 14d"),
    (['--window', '5w'], "argument --window: '5w' is not a duration above 0, e.g. 300, 90s, 5m, 1h, 14d"),
    (['--warning-after', 'off'], "argument --warning-after: 'off' is not a duration from 0 to an hour, e.g. 90s, 3m"),
    (['--warning-after', '61m'], "argument --warning-after: '61m' is not a duration from 0 to an hour, e.g. 90s, 3m"),
    (['--trend', 'x'], "argument --trend: 'x' is not a percentage from 0 to 100, e.g. 70, or off"),
    (['--trend', '170'], 'argument --trend: 170 is above 100 percent'),
    (['--history-days', '0'], "argument --history-days: '0' is not a number of days, e.g. 14"),
    (['--netns', 'all,blue'], "argument --netns: 'all' cannot be combined with names"),
    (['--require', 'all'],
     "argument --require: invalid value 'all', choose from usage, counters, kernel-log, history, namespaces"),
    (['--not-loaded', 'fine'],
     "argument --not-loaded: invalid value 'fine', choose from ok, warning, critical, unknown"),
    (['--netns', 'a,,b'], "argument --netns: 'a,,b' is neither current, nor all, nor names of network namespaces"),
    (['--warn', '80'], 'unrecognized arguments: --warn 80; did you mean --warning?'),
    (['80'], 'unrecognized arguments: 80'),
    (['-w'], 'argument -w/--warning: expected one argument'),
    (['--horizon=5m', '--window'], 'argument --window: expected one argument'),
])
def test_one_sentence_says_what_is_wrong(argv: list[str], says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(argv)
    assert str(error.value) == says


@pytest.mark.parametrize('option', [option.flags[0] for group in OPTIONS.values() for option in group])
def test_two_dashes_are_no_value(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Some argparse turn them into an empty list."""
    assert main([f'{option}=--', '--history', 'off'] if option != '--history' else ['--history=--']) == 3
    out = capfd.readouterr().out
    # since Python 3.13 it is a word, and may name a directory or a namespace that is not there
    assert out.startswith('CONNTRACK UNKNOWN - ')
    assert 'internal error' not in out


@pytest.mark.parametrize('argv', [['-w', '95', '-c', '95'], ['-w', '@90:100', '-c', '50'], ['-w', '99', '-c', 'off']])
def test_lines_that_do_fit(argv: list[str]) -> None:
    parse(argv)


def test_insert_failed_is_requested_even_by_the_default_value() -> None:
    assert parse(['--insert-failed-warning', '1']).requested('insert_failed')
    assert not parse(['--insert-failed-warning', '']).requested('insert_failed')


@pytest.mark.parametrize(('text', 'seconds'), [('300', 300), ('90s', 90), ('5m', 300), ('1h', 3600), ('14d', 1209600),
                                               ('0.5s', 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert parse(['--window', text]).window == seconds


@pytest.mark.parametrize('text', ['14', '14d', '14.0'])
def test_days(text: str) -> None:
    assert parse(['--history-days', text]).history_days == 14


@pytest.mark.parametrize(('text', 'line'), [('85', 85), ('0:85', 85), ('~:85', 85), ('10:', None), ('@10:20', None),
                                            ('10:85', None), ('', None)])
def test_plain_lines_for_performance_data(text: str, line: float | None) -> None:
    assert upper_threshold(text) == line


def test_the_help_is_two_columns_on_110() -> None:
    lines = option_parser.parser().format_help().splitlines()
    assert max(map(len, lines)) == 110
    assert {len(line) - len(line.lstrip()) for line in lines if line.startswith(' ' * 20)} == {36}
    assert lines[0] == 'usage: check_conntrack [options]'


@pytest.mark.parametrize('argv', [['-h'], ['--help'], ['-V'], ['--version']])
def test_help_and_version_exit_3(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 3
    assert 'check_conntrack' in capfd.readouterr().out
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), 'no alarm is left to who called'


@pytest.mark.parametrize(('text', 'means'), [
    ('', ('current',)), ('current', ('current',)), ('all', ('all',)), ('a, b,a', ('a', 'b'))])
def test_namespaces(text: str, means: tuple[str, ...]) -> None:
    assert parse(['--netns', text]).netns == means


WORDS = st.one_of(st.sampled_from(FLAGS), st.sampled_from(VALUES),
                  st.builds('{}={}'.format, st.sampled_from(FLAGS), st.sampled_from(VALUES)))


@given(st.lists(WORDS, max_size=6))
def test_a_plain_command_line_means_what_argparse_makes_of_it(argv: list[str]) -> None:
    values = _plain_values(argv, EVERY)
    if values is not None:
        assert values == vars(parser().parse_args(argv))


@pytest.mark.parametrize('argv', [
    [], ['-w', '80', '--critical', '90'], ['--warning=80'], ['-w', '80', '-w', '', '--trend='],
    ['--require', 'counters', '--require=history', '--require', ''], ['--history', '/tmp/a=b'],
    [word for option in EVERY for word in (option.flags[0], option.default)],
])
def test_what_services_hand_over_is_plain(argv: list[str]) -> None:
    values = _plain_values(argv, EVERY)
    assert values is not None
    assert values == vars(parser().parse_args(argv))


@pytest.mark.parametrize('argv', [['-v'], ['-h'], ['-w80'], ['-w'],
                                  ['-w', '-5:'], ['-w', '8x'], ['--warn', '80'], ['80'],
                                  ['--', '-w', '80'], ['-w=80']])
def test_everything_else_is_for_argparse(argv: list[str]) -> None:
    assert _plain_values(argv, EVERY) is None
