#!/usr/bin/env python3
"""How many instructions the products take, set by set: on aarch64 under qemu's user emulation (a plugin counts, see
count_plugin.c), on x86-64 under valgrind (which knows no AVX-512).

  bench/count_instructions.py [--sets neon,...] [--rows 1,128] [--shape 576:192]
  bench/count_instructions.py --sets avx2 --build build
  bench/count_instructions.py --sets neon+i8mm --only q8:fast --hot 40     the instructions that run most

A count is the difference between running a product three times and once, halved: what surrounds it cancels out.
Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user; valgrind for x86-64.
"""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRODUCTS = ["f32:exact", "f16:exact", "bf16:exact", "f16:fast", "bf16:fast", "q8:exact", "q4:exact", "q8:fast", "q4:fast"]
AARCH64_SETS = ["neon", "neon+dotprod", "neon+i8mm", "neon+bf16"]
# Products of two numbers that one instruction adds up, at most: what no code could exceed.
MOST = {
    "neon": {"f32": 4, "bf16": 4, "int8": 8},
    "neon+dotprod": {"f32": 4, "bf16": 4, "int8": 16},
    "neon+i8mm": {"f32": 4, "bf16": 4, "int8": 32},
    "neon+bf16": {"f32": 4, "bf16": 16, "int8": 32},
    "avx2": {"f32": 8, "bf16": 8, "int8": 16},
}


def run(command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options)


def arithmetic(product):
    dtype, precision = product.split(":")
    if precision == "exact" or dtype == "f32":
        return "f32"
    return "int8" if dtype in ("q8", "q4") else "bf16"


class Emulated:
    """Instructions by address under qemu-aarch64."""

    def __init__(self, build):
        run(["cmake", "-S", ROOT / "tests/cross", "-B", build, "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
             "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc", "-DCMAKE_BUILD_TYPE=Release"])
        run(["cmake", "--build", build, "--target", "one_product", "--parallel", str(os.cpu_count())])
        self.program = build / "one_product"
        self.plugin = build / "count_plugin.so"
        for version in range(1, 8):
            run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O2", f"-DPLUGIN_VERSION={version}",
                 ROOT / "bench/count_plugin.c", "-o", self.plugin])
            try:
                self.once("scalar", ["f32", "exact", "1", "4", "4", "1"])
                return
            except subprocess.CalledProcessError as error:
                last = error.stderr
        sys.exit(f"count_instructions: qemu-aarch64 refuses the plugin: {last}")

    def once(self, isa, arguments):
        with tempfile.NamedTemporaryFile() as output:
            run(["qemu-aarch64", "-cpu", "max", "-E", f"TINYLLM_CPU={isa}", "-plugin", f"{self.plugin},out={output.name}",
                 self.program, *arguments])
            counts = collections.Counter()
            for line in open(output.name):
                count, address = line.split()
                counts[int(address, 16)] += int(count)
        return counts

    def count(self, isa, product, shape):
        arguments = product.split(":") + [str(n) for n in shape]
        thrice, once = self.once(isa, arguments + ["3"]), self.once(isa, arguments + ["1"])
        thrice.subtract(once)
        return {address: count / 2 for address, count in thrice.items() if count > 0}

    def show_hot(self, counts, most):
        """The instructions that run most, in the order of their addresses, a gap where they do not follow on each other."""
        text = {}
        for line in run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", self.program]).stdout.splitlines():
            if match := re.match(r" *([0-9a-f]+):\t(.*)", line):
                text[int(match[1], 16)] = match[2].replace("\t", " ")
        total, before = sum(counts.values()), None
        for address in sorted(sorted(counts, key=lambda address: -counts[address])[:most]):
            if before is not None and address != before + 4:
                print()
            before = address
            print(f"{100 * counts[address] / total:6.2f} %  {address:x}  {text.get(address, '')}")


class Native:
    """Their number alone, under valgrind."""

    def __init__(self, build):
        run(["cmake", "--build", build, "--target", "one_product"])
        self.program = build / "bench/one_product"

    def once(self, isa, arguments):
        result = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", self.program, *arguments],
                     env=dict(os.environ, TINYLLM_CPU=isa))
        return int(re.search(r"Collected : (\d+)", result.stderr)[1])

    def count(self, isa, product, shape):
        arguments = product.split(":") + [str(n) for n in shape]
        return {0: (self.once(isa, arguments + ["3"]) - self.once(isa, arguments + ["1"])) / 2}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", help="instruction sets, separated by commas (all of aarch64)")
    parser.add_argument("--only", default=",".join(PRODUCTS), help="products as DTYPE:PRECISION, separated by commas")
    parser.add_argument("--rows", default="1,128")
    parser.add_argument("--shape", default="576:192", help="IN:OUT")
    parser.add_argument("--build", type=pathlib.Path, help="the build folder (build-cross-aarch64; of x86-64: build)")
    parser.add_argument("--hot", type=int, default=0, help="list this many of the instructions that run most")
    options = parser.parse_args()
    sets = options.sets.split(",") if options.sets else AARCH64_SETS
    width, outs = (int(part) for part in options.shape.split(":"))
    rows = [int(part) for part in options.rows.split(",")]
    if sets[0].startswith("avx"):
        counter = Native(options.build or ROOT / "build")
    else:
        counter = Emulated(options.build or ROOT / "build-cross-aarch64")
    print(f"Products added up per instruction, {width} -> {outs} (in parentheses: what the set's widest instruction does)\n")
    print("| product | rows | " + " | ".join(sets) + " |")
    print("| --- | ---: |" + " ---: |" * len(sets))
    for product in options.only.split(","):
        for row_count in rows:
            line = []
            for isa in sets:
                counts = counter.count(isa, product, (row_count, width, outs))
                line.append(f"{row_count * width * outs / sum(counts.values()):.2f} ({MOST[isa][arithmetic(product)]})")
                if options.hot and isinstance(counter, Emulated):
                    counter.show_hot(counts, options.hot)
            print(f"| {product.replace(':', ' ')} | {row_count} | " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"count_instructions: {' '.join(map(str, error.cmd))}: {error.stderr.strip()}")
