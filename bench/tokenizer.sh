#!/bin/sh
# bench/tokenizer.sh FILE DIR...: the tokenizers in DIRs on FILE's text, beside Hugging Face tokenizers
# where the python3 on PATH has it (TOKENIZERS_PYTHON names another command). Rounds are interleaved, the
# best counts, one thread each, in processor time; both must give the same number of tokens.
set -eu
[ $# -ge 2 ] || { echo "usage: bench/tokenizer.sh FILE DIR..." >&2; exit 2; }
here=$(dirname "$0")
build=${BUILD:-$here/../build}
python=${TOKENIZERS_PYTHON:-python3}
file=$1
shift
cmake --build "$build" --target bench_tokenizer >/dev/null
$python -c 'import tokenizers' 2>/dev/null || python=
peer='
import os, sys, time
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer
directory, path = sys.argv[1:3]
text = open(path, encoding="utf-8", errors="replace", newline="").read()
size = os.path.getsize(path)
start = time.process_time()
tokenizer = Tokenizer.from_file(directory + "/tokenizer.json")
tokenizer.no_truncation()
opened = time.process_time()
for line in text.split("\n"):
    tokenizer.encode(line)
lines = time.process_time()
count = len(tokenizer.encode(text).ids)
whole = time.process_time()
print("%.1f %.2f %.2f %d" % ((opened - start) * 1e3, size / 1e6 / (lines - opened), size / 1e6 / (whole - lines), count))
'
printf '%-28s %10s %10s %10s %10s\n' tokenizer "open ms" "lines MB/s" "whole MB/s" tokens
for directory in "$@"; do
    ours=
    theirs=
    for round in 1 2 3; do
        ours="$ours
$("$build/bench/bench_tokenizer" "$directory" "$file" 2)"
        [ -z "$python" ] || theirs="$theirs
$($python -c "$peer" "$directory" "$file")"
    done
    best='NF == 4 { if (!n++ || $1 < a) a = $1; if ($2 > b) b = $2; if ($3 > c) c = $3; d = $4 }
          END { print a, b, c, d }'
    ours=$(echo "$ours" | awk "$best")
    printf '%-28.28s %10s %10s %10s %10s\n' "$(basename "$directory")" $ours
    [ -n "$python" ] || continue
    theirs=$(echo "$theirs" | awk "$best")
    printf '%-28s %10s %10s %10s %10s\n' "  tokenizers (Python)" $theirs
    echo "$ours $theirs" | awk '{ printf "%-28s %9.1fx %9.1fx %9.1fx %10s\n", "  ratio",
        $5 / $1, $2 / $6, $3 / $7, $4 == $8 ? "same" : "DIFFER" }'
done
