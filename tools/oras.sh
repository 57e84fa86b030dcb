#!/bin/sh
# Unpacks the oras command, which nobody here wrote and Debian 12 has not, into build/oras: an interop test runs it.
set -eu
target=${1:-build/oras}
. "${0%/*}/later-debian.sh"

fetch "$target" trixie oras
