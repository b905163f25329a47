#!/usr/bin/env python3
"""tinyllm beside llama.cpp and PyTorch on this machine: medians of ratios from interleaved runs.

    make bench
    bench/peers.py --peer-prefix "chroot /opt/reference"     peers that are not on PATH
    bench/peers.py --quick                                   one shape, one length, three rounds

Checkpoints have random weights and the true shapes of bench/shapes; each is made when first needed and kept in --work.
Every round runs tinyllm, then each peer, once; a ratio is taken within a round, so that a machine that is slow for a
while is slow for both. "2.10 (1.95–2.21)" is the median of the rounds' ratios with the lowest and the highest; above 1,
tinyllm is faster. f32 is computed exactly; bf16, q8 and q4 with --fast. A peer that is not there is left out, and said
so. `% of ceiling` divides what the model's products need by what bench/ceilings measures on this machine.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import statistics
import struct
import sys

import measure
import study_question

# Our dtype → llama.cpp's type, PyTorch's dtype, the checkpoint's, the ceiling of its products.
TYPES = {
    "f32": ("f32", "float32", "f32", "f32"),
    "bf16": ("bf16", "bfloat16", "bf16", "bf16"),
    "q8": ("q8_0", None, "bf16", "int8"),
    "q4": ("q4_0", None, "bf16", "int8"),
}


class Comparison:
    def __init__(self, arguments):
        self.arguments = arguments
        self.tinyllm = arguments.build / "tinyllm"
        self.prefix = shlex.split(arguments.peer_prefix)
        self.shapes = measure.Shapes(arguments.build, arguments.work, arguments.tokenizers)
        self.threads = sorted({int(n) for n in arguments.threads.split(",")})
        self.types = arguments.types.split(",")
        self.names = arguments.shapes.split(",")
        self.limits = {}
        self.llama = self.find("llama.cpp", ["llama-bench", "--help"])
        self.llama_python = self.llama and self.find("gguf (to convert for llama.cpp)", ["python3", "-c", "import gguf"])
        self.torch = self.find("PyTorch", ["python3", "-c", "import torch, transformers"])

    def find(self, name, probe):
        there = measure.is_there(self.prefix, probe)
        if not there:
            print(f"{name} is not there: left out.\n")
        return there

    # The machine.

    def show_ceilings(self):
        print("## The machine\n")
        self.limits = measure.ceilings(self.arguments.build, self.threads)
        table = measure.Table("ceiling", "by", *(f"{n} thread{'s' if n > 1 else ''}" for n in self.threads))
        for name in dict.fromkeys(name for name, _ in self.limits):
            unit = "GB/s" if name == "memory" else "GOP/s"
            values = [self.limits.get((name, n), (float("nan"), "")) for n in self.threads]
            table.row(name, values[0][1], *(f"{measure.short(value)} {unit}" for value, _ in values))
        print()

    def share_of_ceiling(self, report, kind, tokens, rate, threads, ceiling):
        """How much of the machine's limit `rate` tokens per second are, in percent; "" where it is not known."""
        config = json.loads((pathlib.Path(report["model"]) / "config.json").read_text())
        width = next(config[key] for key in ("hidden_size", "n_embd", "n_embed", "d_model") if key in config)
        embedding = config["vocab_size"] * width
        untied = config.get("tie_word_embeddings", config["model_type"] not in ("llama", "gpt_neox")) is False
        limit = self.limits.get(("memory" if kind == "decode" else ceiling, threads))
        if not limit:
            return ""
        if kind == "decode":  # all matrices once a token; of an untied embedding only one row
            bytes_read = report["weights_mb"] * (1 << 20)
            if untied:
                bytes_read *= 1 - embedding / report["parameters"]
            return f"{100 * rate * bytes_read / 1e9 / limit[0]:.0f}"
        body = report["parameters"] - embedding * (2 if untied else 1)
        operations = 2 * (body + embedding / tokens)  # the head for the last position only
        return f"{100 * rate * operations / 1e9 / limit[0]:.0f}"

    # Prefill and decode.

    def run_ours(self, model, dtype, threads):
        command = [self.tinyllm, "bench", "-m", model, "--dtype", dtype, "--threads", threads, "-p",
                   self.arguments.prefill, "-n", self.arguments.decode, "-r", 1, "--json"]
        if dtype != "f32":
            command.append("--fast")
        report = json.loads(measure.run(command))
        return report, {(t["test"], t["tokens"]): t["tokens_per_second"] for t in report["tests"]}

    def run_llama(self, gguf, threads):
        command = [*self.prefix, "llama-bench", "-m", gguf, "-t", threads, "-r", 1, "-o", "json"]
        for length in self.arguments.prefill.split(","):
            command += ["-p", length]
        command += ["-n", self.arguments.decode]
        rates = {}
        for entry in json.loads(measure.run(command)):
            if entry["n_gen"] == 0:
                rates["prefill", entry["n_prompt"]] = entry["avg_ts"]
            elif entry["n_prompt"] == 0:
                rates["decode", entry["n_gen"]] = entry["avg_ts"]
        return rates

    def run_torch(self, worker, tests, threads):
        return {(kind, tokens): tokens / worker.ask(op=kind, tokens=tokens, threads=threads)["seconds"]
                for kind, tokens in tests}

    def open_torch(self, model, dtype, tests):
        if not self.torch or not dtype:
            return None
        worker = measure.Worker([*self.prefix, "python3", measure.BENCH / "peer_torch.py", model, "--dtype", dtype])
        self.run_torch(worker, tests, max(self.threads))  # warm-up
        return worker

    def compare_speed(self, table, name, dtype):
        llama_type, torch_dtype, stored, ceiling = TYPES[dtype]
        tests = [("prefill", int(n)) for n in self.arguments.prefill.split(",")]
        tests.append(("decode", int(self.arguments.decode)))
        model = self.shapes.checkpoint(name, stored)
        gguf = None
        if self.llama_python and name != "opt-125m":  # llama.cpp has no OPT
            gguf = self.shapes.gguf(name, llama_type, self.prefix)
        worker = self.open_torch(model, torch_dtype, tests)
        for threads in self.threads:
            ours = {test: [] for test in tests}
            peers = {"llama": {test: measure.Ratios() for test in tests},
                     "torch": {test: measure.Ratios() for test in tests}}
            for _ in range(self.arguments.rounds):
                report, rates = self.run_ours(model, dtype, threads)
                theirs = {"llama": self.run_llama(gguf, threads) if gguf else {},
                          "torch": self.run_torch(worker, tests, threads) if worker else {}}
                for test in tests:
                    ours[test].append(rates[test])
                    for peer, found in theirs.items():
                        if test in found:
                            peers[peer][test].add(rates[test], found[test])
            for test in tests:
                rate = statistics.median(ours[test])
                cells = []
                for peer in ("llama", "torch"):
                    cells += peers[peer][test].cells()[1:] if peers[peer][test] else ["", ""]
                share = self.share_of_ceiling(report, *test, rate, threads, ceiling)
                table.row(name, dtype, threads, f"{test[0]} {test[1]}", measure.short(rate), share, *cells)
        if worker:
            worker.close()

    def show_speed(self):
        print("## Prefill and decode, tokens per second\n")
        table = measure.Table("shape", "type", "threads", "work", "tinyllm", "% of ceiling", "llama.cpp",
                              "tinyllm / llama.cpp", "PyTorch", "tinyllm / PyTorch")
        for name in self.names:
            for dtype in self.types:
                try:
                    self.compare_speed(table, name, dtype)
                except measure.Failure as failure:
                    table.row(name, dtype, "", f"not measured: {failure}", "", "", "", "", "", "")
        print()

    # Load to first token, memory.

    def show_load(self):
        print("## From the command to the first token, and peak resident memory\n")
        table = measure.Table("shape", "type", "tinyllm s", "llama.cpp s", "times sooner", "tinyllm MB", "llama.cpp MB")
        for name in self.names:
            try:
                model = self.shapes.checkpoint(name, "bf16")
                if not self.llama_python or name == "opt-125m":
                    seconds, peak, _, _ = measure.measure_process(self.first_token(model))
                    table.row(name, "bf16", f"{seconds:.3f}", "", "", f"{peak:.0f}", "")
                    continue
                self.compare_load(table, name, model, self.shapes.gguf(name, "bf16", self.prefix))
            except measure.Failure as failure:
                table.row(name, "bf16", f"not measured: {failure}", "", "", "", "")
        print()

    def first_token(self, model):
        return [self.tinyllm, "bench", "-m", model, "--threads", max(self.threads), "-p", 1, "-n", 0, "-r", 1, "--json"]

    def compare_load(self, table, name, model, gguf):
        theirs = [*self.prefix, "llama-bench", "-m", gguf, "-t", max(self.threads), "-p", 1, "-n", 0, "-r", 1,
                  "-o", "json"]
        ratios, peaks = measure.Ratios(), ([], [])
        for _ in range(self.arguments.rounds + 1):
            ours = measure.measure_process(self.first_token(model))
            other = measure.measure_process(theirs)
            ratios.add(1 / ours[0], 1 / other[0])
            peaks[0].append(ours[1])
            peaks[1].append(other[1])
        low, high = ratios.spread
        table.row(name, "bf16", f"{1 / statistics.median(ratios.ours):.3f}", f"{1 / statistics.median(ratios.theirs):.3f}",
                  f"{ratios.median:.2f} ({low:.2f}–{high:.2f})", f"{max(peaks[0]):.0f}", f"{max(peaks[1]):.0f}")

    # ARC-Easy by log-likelihood.

    def show_questions(self):
        print("## ARC-Easy, zero-shot log-likelihood, questions per second\n")
        print("Without the time to load: the difference between a run over many questions and one over few.\n")
        table = measure.Table("shape", "type", "threads", "tinyllm", "llama-perplexity", "tinyllm / llama", "PyTorch, batches of 8",
                              "tinyllm / PyTorch")
        rows = study_question.read_rows(self.arguments.data, self.arguments.questions + FEW)
        for name in self.arguments.question_shapes.split(","):
            for dtype in self.types:
                try:
                    self.compare_questions(table, name, dtype, rows)
                except measure.Failure as failure:
                    table.row(name, dtype, "", f"not measured: {failure}", "", "", "", "")
        print()

    def score_ours(self, model, dtype, rows, threads):
        command = [self.tinyllm, "score", "-m", model, "--dtype", dtype, "--threads", threads]
        if dtype != "f32":
            command.append("--fast")
        lines = "".join(json.dumps({"context": context(row), "continuation": " " + text}) + "\n"
                        for row in rows for text in row["choices"]["text"])
        seconds, _, out, _ = measure.measure_process(command, lines)
        if len(out.splitlines()) != sum(len(row["choices"]["text"]) for row in rows):
            raise measure.Failure("tinyllm score: an answer for each line was expected")
        return seconds, [json.loads(line)["loglikelihood"] for line in out.splitlines()]

    def score_llama(self, gguf, rows, threads):
        path = self.arguments.work / f"questions-{len(rows)}.bin"
        path.write_bytes(multiple_choice_file(rows))
        seconds, _, out, err = measure.measure_process(
            [*self.prefix, "llama-perplexity", "-m", gguf, "-t", threads, "-c", 4096, "-bf", path, "--multiple-choice"])
        if not re.search(rf"^\s*{len(rows)}\s", out + err, re.MULTILINE):
            raise measure.Failure("llama-perplexity: no line about the last question")
        return seconds

    def compare_questions(self, table, name, dtype, rows):
        llama_type, torch_dtype, stored, _ = TYPES[dtype]
        few, many = rows[:FEW], rows
        model = self.shapes.checkpoint(name, stored)
        if not (model / "tokenizer.json").exists():
            raise measure.Failure("no tokenizer: give --tokenizers")
        gguf = self.shapes.gguf(name, llama_type, self.prefix) if self.llama_python else None
        pairs = self.pairs(model, rows) if self.torch and torch_dtype else None
        worker = self.open_torch(model, torch_dtype, [("prefill", 16)]) if pairs else None
        for threads in self.threads:
            llama, torch, ours = measure.Ratios(), measure.Ratios(), []
            for _ in range(self.arguments.rounds):
                count = len(many) - len(few)
                seconds, answers = self.score_ours(model, dtype, many, threads)
                rate = count / (seconds - self.score_ours(model, dtype, few, threads)[0])
                ours.append(rate)
                if gguf:
                    llama.add(rate, count / (self.score_llama(gguf, many, threads) - self.score_llama(gguf, few, threads)))
                if worker:
                    theirs = worker.ask(op="pairs", pairs=pairs, batch=8, threads=threads)
                    torch.add(rate, len(rows) / theirs["seconds"])
                    if dtype == "f32":
                        check_same_work(answers, theirs["loglikelihoods"])
            cells = (llama.cells()[1:] if llama else ["", ""]) + (torch.cells()[1:] if torch else ["", ""])
            table.row(name, dtype, threads, measure.short(statistics.median(ours)), *cells)
        if worker:
            worker.close()

    def pairs(self, model, rows):
        """(context ids, continuation ids) of every choice, split where the context's own tokens end."""
        contexts = study_question.tokenize(self.tinyllm, model, [context(row) for row in rows])
        wholes = study_question.tokenize(self.tinyllm, model, [f"{context(row)} {text}" for row in rows
                                                              for text in row["choices"]["text"]])
        wholes = iter(wholes)
        return [(ids, next(wholes)[len(ids):]) for row, ids in zip(rows, contexts) for _ in row["choices"]["text"]]

    def show_study(self):
        print("## One study question, cold: f32 exact beside PyTorch float32\n")
        rows = study_question.read_rows(self.arguments.data, 8)
        models = [self.shapes.checkpoint(name, "f32") for name in self.arguments.question_shapes.split(",")]
        study_question.add_table(self.tinyllm, models, rows, self.arguments.work, self.prefix, self.threads,
                                 self.arguments.rounds)
        print()


FEW = 4  # questions of the run whose time is taken away


def check_same_work(ours, theirs):
    """At f32 both must have computed the same thing, or the comparison means nothing."""
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    if worst > 0.01:
        raise measure.Failure(f"tinyllm and PyTorch disagree by {worst:.3f} on a log-likelihood")


def context(row):
    return f"Question: {row['question']}\nAnswer:"


def multiple_choice_file(rows):
    """The binary file that llama-perplexity reads: counts, positions, then each question with its answers, twice."""

    def string(text):
        data = text.encode()
        return struct.pack("<I", len(data)) + data

    tasks = []
    for row in rows:
        texts, labels = row["choices"]["text"], row["choices"]["label"]
        answers = struct.pack("<I", len(texts)) + b"".join(map(string, texts))
        answers += b"".join(struct.pack("<i", label == row["answerKey"]) for label in labels)
        tasks.append(string(context(row)) + answers * 2)
    positions, at = [], 4 + 4 * len(tasks)
    for task in tasks:
        positions.append(at)
        at += len(task)
    return struct.pack(f"<{1 + len(tasks)}I", len(tasks), *positions) + b"".join(tasks)


def find_shared(*parts):
    """A path of the conformance set, where it is there."""
    path = pathlib.Path(os.environ.get("TINYLLM_SHARED", measure.ROOT.parent / "shared")).joinpath(*parts)
    return path if path.exists() else None


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=measure.ROOT / "build", type=pathlib.Path)
    parser.add_argument("--work", default="/tmp/tinyllm-bench", type=pathlib.Path, help="where checkpoints are kept")
    parser.add_argument("--peer-prefix", default="", help='how peers are reached: "chroot /opt/reference"')
    parser.add_argument("--tokenizers", type=pathlib.Path, default=find_shared("tokenizers"),
                        help="folder of genuine tokenizers, named ORG--NAME (for questions)")
    parser.add_argument("--data", type=pathlib.Path, default=find_shared("datasets", "arc_easy", "validation.jsonl"),
                        help="ARC-Easy rows as JSONL, in the hub's schema (for questions)")
    parser.add_argument("--shapes", default="SmolLM-135M,pythia-160m,Qwen2.5-0.5B,TinyLlama_v1.1,bloom-560m")
    parser.add_argument("--question-shapes", default="SmolLM-135M,Qwen2.5-0.5B")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}")
    parser.add_argument("--prefill", default="64,128,512")
    parser.add_argument("--decode", default="16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=32, help="ARC-Easy questions in a timed run")
    parser.add_argument("--parts", default="machine,speed,load,questions,study")
    parser.add_argument("--quick", action="store_true", help="SmolLM-135M, prefill 128, three rounds, 16 questions")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(shapes="SmolLM-135M", question_shapes="SmolLM-135M", prefill="128", rounds=3, questions=16)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    parts = arguments.parts.split(",")
    try:
        comparison = Comparison(arguments)
        if "machine" in parts:
            comparison.show_ceilings()
        if "speed" in parts:
            comparison.show_speed()
        if "load" in parts:
            comparison.show_load()
        if arguments.data and "questions" in parts:
            comparison.show_questions()
        if arguments.data and "study" in parts and comparison.torch:
            comparison.show_study()
        if not arguments.data:
            print("Questions need ARC-Easy's rows: give --data FILE.jsonl and --tokenizers DIR.")
    except measure.Failure as failure:
        sys.exit(f"peers: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
