#!/usr/bin/env python3
"""Writes Parquet files with pyarrow in every codec, page version and encoding that the reader knows,
each beside NAME.jsonl with its rows, for tests/unit/test_parquet.c.

    make_parquet.py DIR [--large]     --large: also files of many pages and row groups
"""
import itertools
import json
import os
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = "der Fluß läuft 河 до моря ½ and back again \U0001f30a".split()


def questions(count, seed):
    """Rows in the shape of the study's datasets, with nulls and empty lists where those may be."""
    pick = random.Random(seed)
    rows = []
    for i in range(count):
        n = pick.choice([0, 2, 3, 4])
        rows.append({
            "id": f"row-{i}",
            "question": " ".join(pick.choice(WORDS) for _ in range(pick.randrange(12))),
            "hint": None if i % 3 == 0 else pick.choice(WORDS),
            "choices": {"text": [pick.choice(WORDS) for _ in range(n)], "label": list("ABCD"[:n])},
            "endings": None if i % 5 == 4 else [None if pick.random() < 0.2 else pick.choice(WORDS) for _ in range(n)],
            "nested": [[pick.randrange(-9, 9) for _ in range(pick.randrange(3))] for _ in range(pick.randrange(3))],
            "pairs": [{"a": pick.randrange(100), "b": None if pick.random() < 0.3 else "b"} for _ in range(n // 2)],
            "answer": None if i % 11 == 10 else i % 2 == 0,
            "label": pick.randrange(-2**31, 2**31),
            "ind": None if i % 7 == 6 else pick.randrange(-2**53, 2**53),
            "small": i % 2,
            "unsigned": pick.randrange(2**32),
            "score": pick.choice([0.5, -1.25, 3e300, 1e-5, None]),
            "single": pick.choice([0.5, -1.25, 3.0]),
        })
    return rows


SCHEMA = pa.schema([
    pa.field("id", pa.string(), nullable=False),
    ("question", pa.string()),
    ("hint", pa.large_string()),
    ("choices", pa.struct([("text", pa.list_(pa.string())), ("label", pa.list_(pa.string()))])),
    ("endings", pa.list_(pa.string())),
    ("nested", pa.list_(pa.list_(pa.int32()))),
    ("pairs", pa.list_(pa.struct([("a", pa.int64()), ("b", pa.string())]))),
    ("answer", pa.bool_()),
    ("label", pa.int32()),
    ("ind", pa.int64()),
    ("small", pa.int8()),
    ("unsigned", pa.uint32()),
    ("score", pa.float64()),
    ("single", pa.float32()),
])

FLAT = ["id", "question", "hint", "answer", "label", "ind", "small", "unsigned", "score", "single"]


def write(directory, name, rows, columns=None, **options):
    schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(c) for c in columns])
    if columns is not None:
        rows = [{c: row[c] for c in columns} for row in rows]
    options.setdefault("write_statistics", False)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), os.path.join(directory, name + ".parquet"),
                   store_schema=False, **options)
    with open(os.path.join(directory, name + ".jsonl"), "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_numbers(directory):
    """Numbers whose digits matter; this file's lines are compared as text."""
    signed = [0, -1, 2**53, 2**53 + 1, -2**53 - 1, 2**63 - 1, -2**63, 35202191222818923]
    table = pa.table({"signed": pa.array(signed, pa.int64()),
                      "unsigned": pa.array([2**64 - 1 - abs(i) for i in signed], pa.uint64()),
                      "real": pa.array([1.0, -2.0, 0.1, 1e10, 1e300, -0.0, 2.5e-7, 0.1234567890123456], pa.float64()),
                      "single": pa.array([3.0, 0.5, -0.25, 65536.0, 1.5, 2.0, 0.0, -1.0], pa.float32())})
    pq.write_table(table, os.path.join(directory, "numbers.parquet"), store_schema=False, write_statistics=False)
    with open(os.path.join(directory, "numbers.jsonl"), "w", encoding="utf-8") as out:
        for row in table.to_pylist():
            out.write(json.dumps(row, separators=(",", ":")) + "\n")


def main():
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    few = questions(40, 1)
    for codec, version in itertools.product(["none", "snappy", "gzip", "zstd"], ["1.0", "2.0"]):
        write(directory, f"{codec}-v{version[0]}", few, compression=codec, data_page_version=version,
              write_page_checksum=codec == "snappy")
    for encoding, columns in {
        "PLAIN": FLAT,
        "RLE": ["answer"],
        "DELTA_BINARY_PACKED": ["label", "ind", "small", "unsigned"],
        "DELTA_LENGTH_BYTE_ARRAY": ["id", "question", "hint"],
        "DELTA_BYTE_ARRAY": ["id", "question", "hint"],
        "BYTE_STREAM_SPLIT": ["label", "ind", "score", "single"],
    }.items():
        for version in ["1.0", "2.0"]:
            write(directory, f"{encoding.lower()}-v{version[0]}", questions(150, 2), columns, compression="none",
                  use_dictionary=False, column_encoding={c: encoding for c in columns}, data_page_version=version)
    write(directory, "pages", few, compression="snappy", data_page_size=64, row_group_size=16)
    write(directory, "two-level-lists", few, ["endings", "nested"], compression="none",
          use_compliant_nested_type=False)
    write(directory, "empty", [], compression="none")
    write_numbers(directory)
    if "--large" in sys.argv:
        many = questions(20000, 3)
        for codec, version in itertools.product(["none", "snappy", "gzip", "zstd"], ["1.0", "2.0"]):
            write(directory, f"large-{codec}-v{version[0]}", many, compression=codec, data_page_version=version,
                  row_group_size=7000, data_page_size=4096, write_statistics=True)


if __name__ == "__main__":
    main()
