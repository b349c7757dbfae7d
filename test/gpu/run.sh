#!/usr/bin/env bash
# Runs the packed checks on this machine's GPU, from any folder: bash gpu-pack/run.sh [options], as README.md has them.
# Writes report.txt, report.json and log.txt into $OUT, else into gpu-results in the current folder. Installs nothing.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GPU_PACK_STARTED=$(date +%s)
GPU_PACK_OUT=${OUT:-$PWD/gpu-results}
mkdir -p "$GPU_PACK_OUT" || exit 1
GPU_PACK_OUT=$(cd "$GPU_PACK_OUT" && pwd)
GPU_PACK_HOME=$(mktemp -d) || exit 1 # below $TMPDIR
ATTENTION_COMMAND=$$ # what this starts ends with this
export GPU_PACK_STARTED GPU_PACK_OUT GPU_PACK_HOME ATTENTION_COMMAND

children=()
# On a signal the conductor ends too, after it has told what it has so far. Everything else simply ends.
end() {
  for child in "${children[@]}"; do kill "$child" 2> /dev/null; done
  wait
  rm -rf "$GPU_PACK_HOME"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Python has lzma where tar lacks xz.
extract=(tar -xJf)
if python3 -c 'import lzma' 2> /dev/null; then
  extract=(python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[3])')
fi
unpack() { # an archive into a folder
  [ -e "$here/$1" ] || return 0
  mkdir -p "$2"
  timeout 180 "${extract[@]}" "$here/$1" -C "$2" &
  children+=($!)
}
unpack runtime.tar.xz "$GPU_PACK_HOME"
unpack program.tar.xz "$GPU_PACK_HOME/program"
unpack cases.tar.xz "$GPU_PACK_HOME/cases"
for child in "${children[@]}"; do
  wait "$child" || { echo "An archive could not be unpacked: Python 3 with lzma, or tar with xz, is needed" >&2; exit 1; }
done

# On the machine's own C library where that is new enough, else on the packed one.
node=("$GPU_PACK_HOME/bin/node")
libc=$GPU_PACK_HOME/libc
timeout 60 "${node[@]}" -v > /dev/null 2>&1 || node=("$libc/ld-linux-x86-64.so.2" --library-path "$libc:$GPU_PACK_HOME/lib" "${node[@]}")
"${node[@]}" "$GPU_PACK_HOME/program/main.mjs" "$@" &
children=($!)
wait "$!"
