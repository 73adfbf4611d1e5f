#!/bin/sh
# From nothing to annotated shards and a knowledge graph: sh runs/corpus.sh DIR [exercises, 50000 if not said]
#
# Every step keeps what it has done and goes on there when this is run again. Credo and Sobelow are needed for the labels
# (docs/TOOLCHAIN.md); without them the corpus has all but those.
set -eu

out=${1:?usage: sh runs/corpus.sh DIR [exercises]}
exercises=${2:-50000}
coder=${ELIXIR_CODER:-elixir-coder}

# One step: the folder that comes of it, and the words of the command. A folder that is whole is not made again.
step() {
    folder=$out/$1
    shift
    [ -e "$folder/dataset_info.json" ] || $coder data "$@" --out "$folder" --resume
}

mkdir -p "$out"
[ -e "$out/collected/dataset_info.json" ] || $coder data collect debian --out "$out/collected"
step clean clean "$out/collected"
step files duplicates "$out/clean"
step parts extract "$out/files"
step pairs pair "$out/files"
step synthetic synthesize --count "$exercises" --seed 0
if $coder data label --help >/dev/null 2>&1 && [ "${ELIXIR_CODER_CREDO:-}" ] && [ "${ELIXIR_CODER_SOBELOW:-}" ]; then
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
