"""Which kernel this is: `uname -r`, and the upstream stable release that a distribution's kernel is built from."""

from __future__ import annotations

import re

from ..host import Host

RELEASE, VERSION = 'sys/kernel/osrelease', 'sys/kernel/version'
#: Ubuntu only (debian/rules.d, UTS_UBUNTU_RELEASE_ABI): 'Ubuntu 5.15.0-204.214-generic 5.15.199'
SIGNATURE = 'version_signature'
NUMBER = r'(\d{1,3}\.\d{1,3}\.\d{1,4})'


def stable(release: str, version: str = '', signature: str = '') -> str:
    """The upstream release, such as '5.15.103'; '' where the distribution does not say it.

    release, version: `uname -r`, `uname -v`; signature: /proc/version_signature.
    """
    match = re.fullmatch(rf'Ubuntu \S+ {NUMBER}\s*', signature) \
        or re.search(rf'\bDebian {NUMBER}[-+~]', version) \
        or re.match(rf'{NUMBER}(?=$|[^\d.])', release)
    if not match:
        return ''
    # distributions that backport keep one number for years: 5.15.0-204-generic, 5.14.0-427.el9, 5.14.21-150500.55
    frozen = match.re.pattern.startswith(NUMBER) and re.search(r'\.el\d|-1\d{5}\.|^\d+\.\d+\.0-', release)
    return '' if frozen else match[1]


def read_release(host: Host) -> str:
    """`uname -r` of the kernel that host shows; '' where that is hidden."""
    return host.read_line(RELEASE)


def read_stable(host: Host) -> str:
    """The upstream release of that kernel, '' if it is not known."""
    return stable(host.read_line(RELEASE), host.read_line(VERSION), host.read_line(SIGNATURE))
