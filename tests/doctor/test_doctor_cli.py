"""The doctor's command line: every way out is one line, a known status, and no traceback."""

import os
import subprocess
import sys

import proctree
import pytest

from check_conntrack_lib.doctor import cli


@pytest.mark.parametrize(('argv', 'said'), [
    ([], 'the following arguments are required: VERB (see conntrack-doctor --help)'),
    (['heal'], "argument VERB: invalid choice: 'heal'"),
    (['export', '--every', '5'], '--every needs --textfile'),
    (['export', '--every', 'soon', '--textfile', 'x'], "argument --every: 'soon' is not a duration, such as 300"),
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


def test_a_full_disk_is_one_line(tmp_path):
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
