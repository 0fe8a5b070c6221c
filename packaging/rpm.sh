#!/bin/sh
#
# packaging/rpm.sh [DIR [PYTHON [DIST]]]: builds the RPM into DIR (dist), in a copy, so that the checkout stays clean.
# PYTHON is the interpreter of the hosts, 3.9 or later: /usr/bin/python3 (EL 9, Fedora, SLES 15 with python3 >= 3.9),
# /usr/bin/python3.9 with DIST .el8 (EL 8 with python39). Needs rpm-build and python3 with nagiosplugin and shtab.

set -eu

checkout=$(dirname "$(dirname "$(readlink -f "$0")")")
mkdir -p "${1:-dist}"
target=$(readlink -f "${1:-dist}")
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

cd "$checkout"
version=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" check_conntrack_lib/__init__.py)
mkdir "$made/SOURCES"
tar -c --exclude=__pycache__ --exclude=.git* --exclude=.*_cache --exclude=.venv --exclude=.hypothesis \
	--exclude=./dist --exclude=./build --exclude=./tests --exclude=*.egg-info \
	--transform "s|^\.|check-conntrack-$version|" -z -f "$made/SOURCES/check-conntrack-$version.tar.gz" .
rpmbuild -bb --define "_topdir $made" --define "version_of_checkout $version" --define "python ${2:-/usr/bin/python3}" \
	--define "dist ${3:-%{nil}}" packaging/check-conntrack.spec > "$made/log" 2>&1 || {
	cat "$made/log" >&2
	exit 1
}
cp "$made"/RPMS/noarch/*.rpm "$target"
ls "$target"/*.rpm
