#!/bin/sh
# Unpacks runtimes of later Debian suites, and Kubernetes' definition of the CRI protocol, into folders of this project:
#   build/runtimes/trixie  containerd 1.7, api.proto
#   build/runtimes/sid     containerd 2.x
#   build/runtimes/crun    a crun for their bundles: Debian 12's own takes those of containerd 1.6 at most
# The node tests run on them beside the system's own.
set -eu
target=${1:-build/runtimes}
. "${0%/*}/later-debian.sh"

fetch "$target/trixie" trixie containerd golang-github-kubernetes-cri-api-dev
fetch "$target/sid" sid containerd
fetch "$target/crun" trixie crun libc6 libcap2 libseccomp2 libsystemd0 libyajl2
