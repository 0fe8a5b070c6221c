#!/bin/sh
#
# packaging/rpm.sh [DIR [TARGET]]: builds the RPM into DIR (dist), in a copy, so that the checkout stays clean. TARGET is
# el8 (needs python39 there), sles15 (needs python311 there), or the path of the hosts' interpreter, 3.9 or later; without
# it /usr/bin/python3: EL 9 and 10, Fedora, SLES 16. Needs rpm-build and python3 with nagiosplugin
# and shtab.

set -eu

command -v rpmbuild > /dev/null || {
	echo "$0: no rpmbuild here: dnf install rpm-build, and pip install nagiosplugin shtab;" \
		'on Debian: apt install rpm python3-nagiosplugin python3-shtab' >&2
	exit 1
}

checkout=$(dirname "$(dirname "$(readlink -f "$0")")")
mkdir -p "${1:-dist}"
target=$(readlink -f "${1:-dist}")
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

case ${2:-} in
	el8) set -- --define 'rhel 8' --define 'dist .el8' ;;
	sles15) set -- --define 'suse_version 1500' --define 'dist .sles15' ;;
	*) set -- --define "python ${2:-/usr/bin/python3}" ;;
esac

cd "$checkout"
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" check_conntrack_lib/__init__.py)
mkdir "$made/SOURCES"
tar -c --exclude=__pycache__ --exclude=.git* --exclude=.*_cache --exclude=.venv --exclude=.hypothesis \
	--exclude=./dist --exclude=./build --exclude=./tests --exclude=*.egg-info \
	--transform "s|^\.|check-conntrack-$version|" -z -f "$made/SOURCES/check-conntrack-$version.tar.gz" .
rpmbuild -bb --define "_topdir $made" --define "version_of_checkout $version" "$@" \
	packaging/check-conntrack.spec > "$made/log" 2>&1 || {
	cat "$made/log" >&2
	exit 1
}
cp "$made"/RPMS/noarch/*.rpm "$target"
ls "$target"/*.rpm
