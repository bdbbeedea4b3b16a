#!/bin/bash
# Lets a virtual Pi live through a day: bash tests/vm/pi/run.sh   (as root; --fresh builds everything anew)
#
# Needs once: apt-get install mmdebstrap qemu-system-x86 qemu-utils e2fsprogs dosfstools mtools busybox-static xz-utils cpio
# The guest is an emulated PC with Debian 13, simulated pins, camera and sound cards (build.sh), with our .deb and bundle.
# The hub and the resident are outside of it. test-output/vm/ gets journey.xml (JUnit), journal.txt, console.txt.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bash "$here/build.sh" "$@"
cd "$here/../../.."
mkdir -p test-output/vm
.venv/bin/pytest -v --exitfirst -o junit_family=xunit1 --junitxml=test-output/vm/journey.xml tests/vm/pi/journey.py
