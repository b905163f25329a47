#!/usr/bin/env python3
"""Holds tinyllm's tokenizers to Hugging Face's on random text.

    python3 tests/extra/tokenizer_parity.py TINYLLM DIR… [--strings N] [--seed S]

Each DIR holds a tokenizer.json. Needs the `tokenizers` package. Prints a line a tokenizer; exits 1 on a difference.
"""
import argparse
import json
import os
import random
import subprocess
import sys

from tokenizers import Tokenizer

RANGES = [(0x20, 0x7e), (0x20, 0x7e), (0xa0, 0x24f), (0x370, 0x5ff), (0x600, 0x6ff), (0x900, 0x97f), (0xe00, 0xe7f),
          (0x1100, 0x11ff), (0x2000, 0x206f), (0x2070, 0x218f), (0x3000, 0x30ff), (0x4e00, 0x4fff), (0xac00, 0xacff),
          (0xfb00, 0xfdff), (0xff00, 0xffef), (0x1f300, 0x1f6ff), (0x1d400, 0x1d4ff), (0x300, 0x36f), (0, 0x1f)]
PIECES = ["  ", "\n\n", "\r\n", "\t", "'s", "'LL", "don't", "12345", "3.14", "...", "   x", "<s>", "</s>", "<|endoftext|>", "▁", "Ġ",
          "é", "e\u0301", "ﬁ", "½", "٣", "Ⅷ", "\u200b", "\ufeff", "\u2028", "👩‍👩‍👧", "的", "http://a.b/c?d=e", "<extra_id_0>", "AAAA",
          "\u00a0", "<unk>", "<pad>", "[PAD]", "<0x0A>"]


def text(rng):
    out = []
    for _ in range(rng.choice([1, 2, 5, 20, 60])):
        if rng.random() < 0.4:
            out.append(rng.choice(PIECES))
        elif rng.random() < 0.5:
            out.append(rng.choice(" ") + "".join(rng.choice("abcdefghijklmnopqrstuvwxyzAEIO") for _ in range(rng.randint(1, 9))))
        else:
            low, high = rng.choice(RANGES)
            out.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
    return "".join(out).replace("\x00", "")


def run(program, folder, lines, *flags):
    result = subprocess.run([program, "tokenize", "-m", folder, "--jsonl", *flags], input="".join(json.dumps(x) + "\n" for x in lines),
                            capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{folder}: {result.stderr}")
    return [json.loads(x) for x in result.stdout.split("\n") if x]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--strings", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    strings = [text(rng) for _ in range(arguments.strings)]
    worst = 0
    for folder in arguments.directories:
        tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        bad, first = 0, None
        expected = [tokenizer.encode(s).ids for s in strings]
        got = [x["ids"] for x in run(arguments.program, folder, [{"text": s} for s in strings])]
        for s, e, g in zip(strings, expected, got):
            if e != g:
                bad += 1
                if first is None or len(s) < len(first[0]):
                    first = (s, e, g)
        texts = [x["text"] for x in run(arguments.program, folder, [{"ids": e} for e in expected], "--decode", "--skip-special")]
        decoded = 0
        for e, t in zip(expected, texts):
            if tokenizer.decode(e, skip_special_tokens=True) != t:
                decoded += 1
                first = first or ("decode", tokenizer.decode(e, skip_special_tokens=True), t)
        worst = max(worst, bad + decoded)
        print(f"{'FAIL' if bad or decoded else 'ok  '} {os.path.basename(folder)}: {bad} encodings, {decoded} decodings differ", flush=True)
        if first:
            print("    ", *map(repr, first))
    sys.exit(worst > 0)


if __name__ == "__main__":
    main()
