#!/bin/sh
# From nothing to annotated shards and a knowledge graph:
#
#     sh runs/corpus.sh DIR                             # Debian's corpus, and 14,000 programs of our own
#     sh runs/corpus.sh DIR 500 folder ~/my_project     # another source of `data collect`, 500 programs
#
# Every step keeps what it has done and goes on there when this is run again. Credo and Sobelow are needed for the labels
# (docs/TOOLCHAIN.md); without them the corpus has all but those.
set -eu

out=${1:?usage: sh runs/corpus.sh DIR [programs [source ...]]}
programs=${2:-14000}
shift
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- debian
coder=${ELIXIR_CODER:-elixir-coder}

# One step: the folder that comes of it, and the words of the command. A folder that is whole is not made again.
step() {
    folder=$out/$1
    shift
    [ -e "$folder/dataset_info.json" ] || $coder data "$@" --out "$folder" --resume
}

mkdir -p "$out"
[ -e "$out/collected/dataset_info.json" ] || $coder data collect "$@" --out "$out/collected" --resume
step clean clean "$out/collected"
step files duplicates "$out/clean"
step parts extract "$out/files"
step pairs pair "$out/files"
step synthetic synthesize --count "$programs" --seed 0
if [ "${ELIXIR_CODER_CREDO:-}" ] && [ "${ELIXIR_CODER_SOBELOW:-}" ]; then
    step labelled label "$out/parts"
    step violations inject "$out/files"
    parts=$out/labelled
else
    echo "note: ELIXIR_CODER_CREDO and ELIXIR_CODER_SOBELOW name no tools, so nothing is labelled" >&2
    parts=$out/parts
fi
step annotated annotate "$parts"
[ -e "$out/graph" ] || $coder graph build "$out/files" --store "$out/graph"

for corpus in files annotated pairs violations synthetic; do
    [ -e "$out/$corpus/dataset_info.json" ] || continue
    echo "== $corpus"
    $coder data stats "$out/$corpus" --plots "$out/plots/$corpus" --json "$out/$corpus.json"
done
