#!/bin/sh
# The .deb with Debian's own tools: build.sh SDIST WHEEL PAGES OUTPUT-DIRECTORY. What is built goes into the libraries by
# their hashes in requirements.lock, so it needs PyPI; nothing is compiled, but on the kind of machine that it is for.
set -eu
sdist=$(realpath "$1") wheel=$(realpath "$2") pages=$(realpath "$3") output=$(realpath "$4")
for tool in dpkg-buildpackage dh dh_python3; do
    command -v $tool >/dev/null || {
        echo "no .deb: $tool is missing; apt-get install dpkg-dev debhelper dh-python python3-pip" >&2
        exit 1
    }
done
version=$(basename "$sdist" .tar.gz) version=${version#auditsink-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xzf "$sdist" -C "$work"
cd "$work/auditsink-$version"
cp -r config/debian debian
cp "$wheel" debian/
cp -r "$pages" pages
: "${SOURCE_DATE_EPOCH:=$(stat -c %Y PKG-INFO)}"
export SOURCE_DATE_EPOCH
{
    printf 'auditsink (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n' "$version"
    printf ' -- The auditsink authors <auditsink@packages.invalid>  %s\n' "$(date -R -u -d "@$SOURCE_DATE_EPOCH")"
} > debian/changelog
dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
mv "$work"/auditsink_*.deb "$output"
