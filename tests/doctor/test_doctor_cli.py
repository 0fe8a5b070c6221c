"""The doctor's command line: every way out is one line, a known status, and no traceback."""

import os
import re
import shlex
import subprocess
import sys

import proctree
import pytest

from check_conntrack_lib.doctor import cli, common_options
from check_conntrack_lib.doctor.export import LISTEN_NEEDS


@pytest.mark.parametrize(('argv', 'said'), [
    (['heal'], "unknown verb 'heal' (see conntrack-doctor --help)"),
    (['traige'], "unknown verb 'traige'; did you mean triage?"),
    (['triage', '--histroy', '/x'], 'did you mean --history? (see conntrack-doctor triage --help)'),
    (['triage', '--kernel-log', 'nonsense'], "'nonsense' is neither auto, kmsg, journal, off nor a path"),
    (['triage', '--history', '/nonexistent'], '--history: /nonexistent: No such file or directory'),
    (['export', '--textfile', 'x.txt'], '--textfile: x.txt must end in .prom'),
    (['export', '--every', '5'], '--every needs --textfile'),
    (['export', '--every', 'soon', '--textfile', 'x'], "argument --every: 'soon' is not a duration above 0, e.g. 300"),
    (['export', '--textfile', '/tmp/x.txt'], '--textfile: /tmp/x.txt must end in .prom'),
    (['triage', '--kernel-log', 'nonsense'], "argument --kernel-log: 'nonsense' is neither auto, kmsg, journal, off"),
    (['tune', '--monitoring', '192.0.2.1'], '--monitoring needs --lifeline'),
    (['tune', '--lifeline', '--monitoring', 'gw.example'], "argument --monitoring: 'gw.example' is not an address"),
    (['tune', '--lifeline', '--procfs', '/'], '--lifeline is for the running host'),
    (['export', '--listen', 'nowhere'], "argument --listen: 'nowhere' is not an address such as :9318"),
    (['export', '--listen', ':99999'], "':99999' is not an address"),
    (['export', '--listen', '--json'], 'argument --json: not allowed with argument --listen'),
    (['export', '--procfs', '/nonexistent'], "--procfs: '/nonexistent' is not a directory"),
    (['export', '--bad\x1b[31m\n'], 'unrecognized arguments: --bad?[31m?'),
])
def test_bad_input_is_one_line_and_exit_2(argv, said, capsys):
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.startswith('conntrack-doctor: ')
    assert said in err
    assert err.count('\n') == 1


def test_help_names_every_verb_and_each_verb_has_help(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(['--help'])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for verb in cli.VERBS:
        assert f'    {verb} ' in said
        with pytest.raises(SystemExit):
            cli.main([verb, '--help'])
        assert f'usage: conntrack-doctor {verb} ' in capsys.readouterr().out


def test_only_the_asked_verb_is_imported():
    code = 'import sys; from check_conntrack_lib.doctor import cli; cli.parser([]); ' \
           'print(*(n for n in sys.modules if "nagiosplugin" in n or n.startswith("check_conntrack_lib.doctor.")))'
    said = subprocess.run([sys.executable, '-c', code], cwd=proctree.ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == 'check_conntrack_lib.doctor.cli\n'


def test_a_closed_pipe_is_quiet(tmp_path):
    proctree.make(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(proctree.command('export', '--json', '--procfs', tmp_path, '--kernel-log', 'off'),
                          cwd=proctree.ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=30)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b'')


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    """Python holds back what is printed, and writes it once more when it ends."""
    monkeypatch.delenv('PYTHONUNBUFFERED', raising=False)
    proctree.make(tmp_path)
    with open('/dev/full', 'w') as full:
        done = subprocess.run(proctree.command('export', '--json', '--procfs', tmp_path, '--kernel-log', 'off'),
                              cwd=proctree.ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (2, 'conntrack-doctor: No space left on device\n')


def test_a_missing_library_is_one_line_that_says_what_to_install():
    code = 'import sys; sys.modules["prometheus_client"] = None; from check_conntrack_lib.doctor import cli; ' \
           'sys.exit(cli.main(["export"]))'
    done = subprocess.run([sys.executable, '-c', code], cwd=proctree.ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (
        2, '', 'conntrack-doctor: export needs the Python library prometheus_client: apt install '
               'python3-prometheus-client, or pip install prometheus_client\n')
    listen = subprocess.run([sys.executable, '-c', code.replace('"export"', '"export", "--listen"')],
                            cwd=proctree.ROOT, capture_output=True, text=True, timeout=30)
    assert (listen.returncode, listen.stderr) == (2, f'conntrack-doctor: {LISTEN_NEEDS}\n')


def test_without_a_verb_there_is_a_short_help(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.splitlines()[0] == 'conntrack-doctor VERB [options]'
    assert [line.split()[0] for line in err.splitlines()[1:-1]] == list(cli.VERBS)


@pytest.mark.parametrize('verb', cli.VERBS)
def test_help_of_a_verb_ends_with_examples_that_parse(verb, capsys):
    with pytest.raises(SystemExit):
        cli.main(['help', verb])
    shown = capsys.readouterr().out
    examples = re.findall(r'^  (?:sudo )?conntrack-doctor (.*)$', shown.partition('\nexamples:\n')[2], re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        argv = shlex.split(example.partition('>')[0])
        assert cli.parser(argv).parse_args(argv).verb == verb


@pytest.mark.parametrize('option', ['-V', '--version'])
def test_version(option, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([option])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith('conntrack-doctor ')


@pytest.mark.parametrize(('choice', 'environment', 'terminal', 'wanted'), [
    ('auto', {}, True, True), ('auto', {'NO_COLOR': '1'}, True, False), ('auto', {'NO_COLOR': ''}, True, True),
    ('auto', {}, False, False), ('always', {'NO_COLOR': '1'}, False, True), ('never', {}, True, False)])
def test_colours_as_no_color_org_says(choice, environment, terminal, wanted, monkeypatch):
    monkeypatch.delenv('NO_COLOR', raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(common_options, 'on_terminal', lambda: terminal)
    assert common_options.colours(choice) is wanted


def test_one_option_has_one_converter_and_one_text_in_all_verbs():
    known: dict[str, tuple[object, ...]] = {}
    for verb in cli.VERBS:
        for action in cli.parser([verb])._subparsers._group_actions[0].choices[verb]._actions:
            for flag in set(action.option_strings) & {'--history', '--procfs', '--kernel-log', '--sample', '--exact',
                                                      '--timeout', '--color'}:
                kind = getattr(action.type, '__qualname__', None), action.metavar, action.help
                assert known.setdefault(flag, kind) == kind, (verb, flag)
