#!/bin/sh
# tinyllm and huggingface_hub over one cache, against the test hub: each must find what the other fetched.
#   hub_interop.sh PROGRAM        HF_PYTHON: the python3 that has huggingface_hub (default python3)
set -eu
program=$1
here=$(cd "$(dirname "$0")/.." && pwd)
python=${HF_PYTHON:-python3}
if ! $python -c 'import huggingface_hub' 2>/dev/null; then
  echo "huggingface_hub is not there: interoperation is not tested"
  exit 77
fi

scratch=$(mktemp -d /tmp/tinyllm-interop-XXXXXX)
trap 'exec 9>&-; rm -rf "$scratch"' EXIT
model=$scratch/root/models/org/tiny
mkdir -p "$model" "$scratch/root/datasets/org/rows@refs%2Fconvert%2Fparquet/default/validation" \
  "$scratch/root/datasets/org/rows"
echo '{"model_type": "llama"}' >"$model/config.json"
echo '{}' >"$model/tokenizer.json"
head -c 3000000 /dev/urandom >"$model/model.safetensors"
echo script >"$scratch/root/datasets/org/rows/rows.py"
cp "$here/fixtures/parquet/snappy-v1.parquet" \
  "$scratch/root/datasets/org/rows@refs%2Fconvert%2Fparquet/default/validation/0000.parquet"

mkfifo "$scratch/in"
python3 "$here/support/hub_server.py" "$scratch/root" <"$scratch/in" >"$scratch/addresses" &
exec 9>"$scratch/in"
while [ ! -s "$scratch/addresses" ]; do sleep 0.05; done
HF_ENDPOINT=$(cut -d' ' -f1 "$scratch/addresses")
export HF_ENDPOINT HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1
unset HF_HUB_OFFLINE HF_TOKEN HF_HUB_CACHE || true

cat >"$scratch/fetch.py" <<'PYTHON'
import sys
from huggingface_hub import hf_hub_download, snapshot_download
offline = sys.argv[1] == "offline"
snapshot = snapshot_download("org/tiny", allow_patterns=["*.json", "*.safetensors"], local_files_only=offline)
weights = hf_hub_download("org/tiny", "model.safetensors", local_files_only=offline)
rows = hf_hub_download("org/rows", "default/validation/0000.parquet", repo_type="dataset",
                       revision="refs/convert/parquet", local_files_only=offline)
assert weights == snapshot + "/model.safetensors", (weights, snapshot)
print(snapshot)
PYTHON

echo "tinyllm fetches, huggingface_hub finds"
export HF_HOME="$scratch/ours"
ours=$("$program" pull org/tiny datasets/org/rows | head -n 1)
found=$($python "$scratch/fetch.py" offline | tail -n 1)
[ "$ours" = "$found" ] || { echo "$ours is not $found"; exit 1; }
: >"$scratch/root/log.jsonl"
$python "$scratch/fetch.py" online >/dev/null
if grep -q '"method": "GET".*cdn' "$scratch/root/log.jsonl"; then
  echo "huggingface_hub fetched again what was there"
  exit 1
fi

echo "huggingface_hub fetches, tinyllm finds"
export HF_HOME="$scratch/theirs"
theirs=$($python "$scratch/fetch.py" online | tail -n 1)
found=$(HF_HUB_OFFLINE=1 "$program" pull org/tiny datasets/org/rows | head -n 1)
[ "$theirs" = "$found" ] || { echo "$theirs is not $found"; exit 1; }
"$program" pull org/tiny datasets/org/rows 2>&1 >/dev/null | grep -q 'to fetch: 0 B'

echo "both lay out the same"
for home in ours theirs; do
  (cd "$scratch/$home/hub" && find . \( -path ./.locks -o -name trees -o -name '.no_exist' -o -name CACHEDIR.TAG \) -prune -o \
    -printf '%y %p %l\n' | sort) >"$scratch/$home.list"
done
diff "$scratch/ours.list" "$scratch/theirs.list"

echo "a bundle of one is found by the other"
"$program" pack org/tiny datasets/org/rows -o "$scratch/bundle.tar.zst" >/dev/null 2>&1
HF_HOME="$scratch/unpacked" "$program" unpack "$scratch/bundle.tar.zst" >/dev/null 2>&1
HF_HOME="$scratch/unpacked" $python "$scratch/fetch.py" offline >/dev/null
echo "passed"
