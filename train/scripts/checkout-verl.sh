#!/usr/bin/env bash
# Fetches the submodule train/verl and puts it on the release that requirements.txt pins: `make verl`.
# From then on the scripts use it instead of the installed wheel. Without network, the wheel of the same version serves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=$(sed -nE 's/^verl==([0-9.]+).*/\1/p' requirements.txt)
git submodule update --init train/verl || {
    printf 'make verl: train/verl could not be fetched from %s; the installed verl %s is used instead\n' \
        "$(git config -f .gitmodules submodule.train/verl.url)" "$version" >&2
    exit 1
}
git -C train/verl fetch --depth 1 origin "refs/tags/v$version:refs/tags/v$version" || {
    printf 'make verl: the tag v%s is not there upstream; train/verl stays at %s\n' \
        "$version" "$(git -C train/verl describe --tags --always)" >&2
    exit 1
}
git -C train/verl checkout --quiet "v$version"
printf 'make verl: train/verl is at v%s\n' "$version"
