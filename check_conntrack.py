#!/usr/bin/env python3
"""check_conntrack: a Nagios and Icinga plugin for the Linux connection tracking table."""

import gc
import os
import sys

OUT_OF_MEMORY = b'CONNTRACK UNKNOWN - out of memory\n'

# a run is over before there is anything to collect
gc.disable()

# also from a symbolic link in the plugin directory, and whatever PYTHONSAFEPATH says
HERE = os.path.dirname(os.path.realpath(__file__))
if HERE not in sys.path[:1]:  # once: every import looks into it first
    sys.path.insert(0, HERE)


def load():
    """The plugin; without Python 3.9 or a library, one UNKNOWN line and exit status 3."""
    if sys.version_info < (3, 9):
        print('CONNTRACK UNKNOWN - needs Python 3.9 or later, this is %d.%d' % sys.version_info[:2])
        sys.exit(3)
    try:
        from check_conntrack_lib.plugin.cli import program
    except ImportError as error:
        if error.name == 'nagiosplugin':
            # another python3 may stand before the distribution's in the PATH
            leave('the Python library nagiosplugin is not installed for %s (%d.%d): '
                  'apt install python3-nagiosplugin is for /usr/bin/python3; else %s -m pip install nagiosplugin'
                  % (sys.executable or 'this Python', sys.version_info[0], sys.version_info[1],
                     sys.executable or 'python3'))
        leave('incomplete installation: %s' % error)
    except KeyboardInterrupt:
        leave('stopped by SIGINT')
    except Exception as error:
        # too little memory, or a library that cannot be loaded
        leave('cannot be loaded: %s %s' % (type(error).__name__, error))
    return program


def leave(reason):
    """One UNKNOWN line, and out: also where there is no memory for more."""
    text = ''.join(c if c.isprintable() and c != '|' else '?' for c in reason[:400])
    os.write(1, ('CONNTRACK UNKNOWN - %s\n' % text).encode('ascii', 'replace'))
    os._exit(3)


def main():
    """The console script."""
    try:
        load()()
    except (MemoryError, SystemError):
        # there is no memory for a text, and so not for a handler either
        os.write(1, OUT_OF_MEMORY)
        os._exit(3)


if __name__ == '__main__':
    main()
