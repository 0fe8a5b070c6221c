#!/bin/sh
#
# packaging/deb.sh [DIR]: builds the Debian packages into DIR (dist), in a copy, so that the checkout stays clean.
# What it needs is in `needs`.

set -eu

needs='build-essential debhelper dh-python fakeroot python3-nagiosplugin python3-shtab'
command -v dpkg-buildpackage > /dev/null || {
	echo "$0: no dpkg-buildpackage here: apt install $needs" >&2
	exit 1
}

checkout=$(dirname "$(dirname "$(readlink -f "$0")")")
mkdir -p "${1:-dist}"
target=$(readlink -f "${1:-dist}")
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

mkdir "$made/check-conntrack"
cd "$checkout"
tar -c --exclude=__pycache__ --exclude=.git* --exclude=.*_cache --exclude=.venv --exclude=.hypothesis \
	--exclude=./dist --exclude=./build --exclude=./tests --exclude=*.egg-info . | tar -x -C "$made/check-conntrack"
cd "$made/check-conntrack"
dpkg-buildpackage --build=binary --no-sign > "$made/log" 2>&1 || {
	cat "$made/log" >&2
	exit 1
}
cp "$made"/*.deb "$target"
ls "$target"/*.deb
