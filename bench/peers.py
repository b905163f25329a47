#!/usr/bin/env python3
"""tinyllm beside llama.cpp and PyTorch on this machine: medians of ratios from interleaved runs.

    make bench
    bench/peers.py --peer-prefix "chroot DIR"       peers that are not on PATH
    bench/peers.py --quick                          one shape, one length, few rounds
    bench/peers.py --parts load,memory --load-shapes Qwen2.5-0.5B

Checkpoints have random weights and the true shapes of bench/shapes; each is made when first needed and kept in --work.
Every round runs tinyllm, then each peer, once; a ratio is taken within a round, so that a machine that is slow for a
while is slow for both. "2.10 (1.95–2.21)" is the median of the rounds' ratios with the lowest and the highest; above 1,
tinyllm is faster. f32 is computed exactly; bf16, q8 and q4 with --fast. A peer that is not there is left out, and said
so. `% of ceiling` divides what the model's products need by what bench/ceilings measures on this machine.

Goals are for all processors at once. --native-factor says how many times faster at prefill a llama.cpp built for the
machine is than the distribution's build that is measured here; a goal against llama.cpp is multiplied by it.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shlex
import statistics
import sys
import time

import goals
import measure
import questions
import study_question

# Our dtype → llama.cpp's type, PyTorch's dtype, the ceiling of its products.
TYPES = {
    "f32": ("f32", "float32", "f32"),
    "bf16": ("bf16", "bfloat16", "bf16"),
    "q8": ("q8_0", None, "int8"),
    "q4": ("q4_0", None, "int8"),
}
BLAS_TYPES = ("f32", "bf16")  # the others lose by going through f32
PROMPT = "The capital of France is"
LEAST_ROUNDS = 2
USUAL_LENGTH = 128  # the one that fewer threads than all are measured at


class Peer:
    """Another program's tokens per second, test by test."""

    def __init__(self, title, measure_rates):
        self.title = title
        self.measure_rates = measure_rates  # (tests, threads) → {test: tokens per second}, of those it can do


class Comparison:
    def __init__(self, arguments):
        self.arguments = arguments
        self.tinyllm = arguments.build / "tinyllm"
        self.prefix = shlex.split(arguments.peer_prefix)
        self.shapes = measure.Shapes(arguments.build, arguments.work, arguments.tokenizers)
        self.threads = sorted({int(n) for n in arguments.threads.split(",")})
        self.most = self.threads[-1]
        self.types = arguments.types.split(",")
        self.names = arguments.shapes.split(",")
        self.factors = goals.parse_factors(arguments.native_factor)
        self.limits = measure.Ceilings(arguments.build, self.threads)
        self.llama = self.find("llama.cpp", ["llama-bench", "--help"])
        self.llama = self.llama and self.find("gguf (to convert for llama.cpp)", ["python3", "-c", "import gguf"])
        self.completion = self.llama and measure.is_there(self.prefix, ["llama-completion", "--help"])
        self.torch = self.find("PyTorch", ["python3", "-c", "import torch, transformers"])

    def find(self, name, probe):
        there = measure.is_there(self.prefix, probe)
        if not there:
            print(f"{name} is not there: left out.\n")
        return there

    def rounds(self, what):
        """Counts rounds: as many as asked for, or as fit into the budget of a cell, but two at least."""
        begin = time.monotonic()
        for i in range(self.arguments.rounds):
            if i >= LEAST_ROUNDS and time.monotonic() - begin > self.arguments.budget:
                return
            measure.note(f"{what}: round {i + 1} of {self.arguments.rounds} at most")
            yield i

    def each(self, table, names, types, compare):
        """Calls `compare` for every shape and type; a failure becomes a row, and the others go on."""
        for name in names:
            for dtype in types:
                try:
                    compare(table, name, dtype)
                except (measure.Failure, OSError, ValueError, KeyError) as failure:
                    measure.note(f"{name} {dtype}: {failure!r}")
                    table.row(name, dtype, f"not measured: {failure}")

    def gguf(self, name, dtype):
        """llama.cpp's file, None where there can be none."""
        if not self.llama or name == "opt-125m":  # llama.cpp has no OPT
            return None
        return self.shapes.gguf(name, TYPES[dtype][0], self.prefix)

    # The machine.

    def show_machine(self):
        print("## The machine\n")
        products = self.limits.measured()
        table = measure.Table("ceiling", "threads", "best", "by", "others")
        for (name, threads), values in products.items():
            unit = "GB/s" if name == "memory" else "GOP/s"
            others = ", ".join(f"{measure.short(value)} by {by}" for value, by in values[1:])
            table.row(name, threads, f"{measure.short(values[0][0])} {unit}", values[0][1], others)
        print()

    def judge_share(self, verdict, report, test, rate, threads, dtype):
        """How much of the machine's limits `rate` tokens per second are, in percent, as text."""
        kind, tokens = test
        config = json.loads((pathlib.Path(report["model"]) / "config.json").read_text())
        width = next(config[key] for key in ("hidden_size", "n_embd", "n_embed", "d_model") if key in config)
        embedding = config["vocab_size"] * width
        untied = config.get("tie_word_embeddings", config["model_type"] not in ("llama", "gpt_neox")) is False
        if kind == "decode":  # all matrices once a token; of an untied embedding only one row
            size = report["weights_mb"] * (1 << 20)
            if untied:
                size *= 1 - embedding / report["parameters"]
            share = 100 * rate * size / 1e9 / self.limits.memory(size, threads)
            verdict.at_least(share, goals.DECODE_SHARE.get(dtype), "% of memory")
            return f"{share:.0f}"
        body = report["parameters"] - embedding * (2 if untied else 1)
        operations = 2 * (body + embedding / tokens)  # the head for the last position only
        goal = goals.PREFILL_SHARE.get(dtype) if tokens == USUAL_LENGTH else None
        values = self.limits.measured().get((TYPES[dtype][2], threads), [])
        shown = []
        for value, by in values:
            share = 100 * rate * operations / 1e9 / value
            verdict.at_least(share, goal, f"% of {by}")
            shown.append(f"{share:.0f}" if len(values) == 1 else f"{share:.0f} of {by}")
        return ", ".join(shown)

    # Prefill and decode.

    def run_ours(self, model, dtype, tests, threads):
        command = [self.tinyllm, "bench", "-m", model, "--threads", threads, "-r", 1, "--json",
                   "-p", self.lengths(tests, "prefill"), "-n", self.lengths(tests, "decode")]
        if dtype != "f32":
            command.append("--fast")
        report = json.loads(measure.run(command))
        return report, {(t["test"], t["tokens"]): t["tokens_per_second"] for t in report["tests"]}

    @staticmethod
    def lengths(tests, kind):
        return ",".join(str(tokens) for test, tokens in tests if test == kind) or 0

    def run_llama(self, gguf, tests, threads, environment=()):
        command = [*self.prefix, *environment, "llama-bench", "-m", gguf, "-t", threads, "-r", 1, "-o", "json",
                   "-p", self.lengths(tests, "prefill"), "-n", self.lengths(tests, "decode")]
        rates = {}
        for entry in json.loads(measure.run(command)):
            test = ("prefill", entry["n_prompt"]) if entry["n_gen"] == 0 else ("decode", entry["n_gen"])
            rates[test] = entry["avg_ts"]
        return rates

    def run_torch(self, worker, tests, threads):
        return {(kind, tokens): tokens / worker.ask(op=kind, tokens=tokens, threads=threads)["seconds"]
                for kind, tokens in tests}

    @contextlib.contextmanager
    def torch_worker(self, model, dtype):
        """PyTorch with the model loaded and warm; None where it is not there, or has no such type."""
        torch_dtype = TYPES[dtype][1]
        if not self.torch or not torch_dtype:
            yield None
            return
        worker = measure.Worker([*self.prefix, "python3", measure.BENCH / "peer_torch.py", model, "--dtype",
                                 torch_dtype])
        try:
            self.run_torch(worker, [("prefill", 16), ("decode", 1)], self.most)  # warm-up
            yield worker
        finally:
            worker.close()

    def peer_titles(self):
        titles = []
        if self.llama:
            titles.append("llama.cpp")
            if self.arguments.blas_backend:
                titles.append("llama.cpp + BLAS")
        if self.torch:
            titles.append("PyTorch")
        return titles

    def open_peers(self, gguf, dtype, worker):
        peers = []
        if gguf:
            peers.append(Peer("llama.cpp", lambda tests, threads: self.run_llama(gguf, tests, threads)))
        if gguf and self.arguments.blas_backend and dtype in BLAS_TYPES:
            setting = ["env", f"GGML_BACKEND_PATH={self.arguments.blas_backend}"]
            peers.append(Peer("llama.cpp + BLAS", lambda tests, threads: self.run_llama(
                gguf, [test for test in tests if test[0] == "prefill"], threads, setting)))
        if worker:
            peers.append(Peer("PyTorch", lambda tests, threads: self.run_torch(worker, tests, threads)))
        return peers

    def tests_for(self, threads):
        lengths = [int(n) for n in self.arguments.prefill.split(",")]
        if threads < self.most and USUAL_LENGTH in lengths:
            lengths = [USUAL_LENGTH]
        return [("prefill", n) for n in lengths] + [("decode", int(self.arguments.decode))]

    def compare_speed(self, table, name, dtype):
        model = self.shapes.checkpoint(name, dtype)
        gguf = self.gguf(name, dtype)
        with self.torch_worker(model, dtype) as worker:
            peers = self.open_peers(gguf, dtype, worker)
            for threads in self.threads:
                self.compare_at(table, (name, dtype, threads), model, peers)

    def compare_at(self, table, cell, model, peers):
        name, dtype, threads = cell
        tests = self.tests_for(threads)
        ours = {test: [] for test in tests}
        ratios = {(peer.title, test): measure.Ratios() for peer in peers for test in tests}
        for _ in self.rounds(f"speed, {name} {dtype}, {threads} thread{'s' if threads > 1 else ''}"):
            report, rates = self.run_ours(model, dtype, tests, threads)
            for test in tests:
                ours[test].append(rates[test])
            for peer in peers:
                for test, rate in peer.measure_rates(tests, threads).items():
                    ratios[peer.title, test].add(rates[test], rate)
        for test in tests:
            self.show_test(table, cell, test, report, ours[test], ratios)

    def show_test(self, table, cell, test, report, rates, ratios):
        name, dtype, threads = cell
        rate = statistics.median(rates)
        verdict = goals.Verdict()
        prefill = test[0] == "prefill"
        cells = []
        for title in self.peer_titles():
            ratio = ratios.get((title, test))
            cells += ratio.cells()[1:] if ratio else ["", ""]
            if not ratio or title == "PyTorch":
                continue
            native = prefill and title == "llama.cpp"
            verdict.at_least(ratio.median, (goals.PREFILL if prefill else goals.DECODE).get(dtype), f"× {title}",
                             self.factors[dtype] if native else 1.0)
        share = self.judge_share(verdict, report, test, rate, threads, dtype)
        judged = verdict if threads == self.most else goals.Verdict()
        table.row(name, dtype, threads, f"{test[0]} {test[1]}", measure.short(rate), share, *cells, len(rates),
                  *judged.cells())

    def show_speed(self):
        print("## Prefill and decode, tokens per second\n")
        titles = [title for peer in self.peer_titles() for title in (peer, f"tinyllm / {peer}")]
        table = measure.Table("shape", "type", "threads", "work", "tinyllm", "% of ceiling", *titles, "rounds", "goals",
                              "met")
        self.each(table, self.names, self.types, self.compare_speed)
        print()

    # Load to first token.

    def show_load(self):
        print("## From the command to the first token\n")
        print("Warm: the files are in the page cache. Cold: they have been dropped from it; the disk's own caches"
              " stay.\n")
        table = measure.Table("shape", "type", "files", "tinyllm s", "llama.cpp s", "times sooner", "goals", "met")
        self.each(table, self.arguments.load_shapes.split(","), ["bf16", "q8"], self.compare_load)
        print()

    def compare_load(self, table, name, dtype):
        model, gguf = self.shapes.checkpoint(name, dtype), self.gguf(name, dtype)
        ours = [self.tinyllm, "generate", "-m", model, "--fast", "--threads", self.most, "-n", 1, "-p", PROMPT]
        theirs = None
        if gguf and self.completion:
            theirs = [*self.prefix, "llama-completion", "-m", gguf, "-t", self.most, "-c", 512, "-n", 1, "-p", PROMPT,
                      "-no-cnv", "--no-warmup"]
        elif gguf:
            theirs = [*self.prefix, "llama-bench", "-m", gguf, "-t", self.most, "-p", 8, "-n", 0, "-r", 1,
                      "--no-warmup"]
        for warm in (True, False):
            mine, ratios = [], measure.Ratios()
            if warm:
                measure.measure_process(ours)
                if theirs:
                    measure.measure_process(theirs)
            for _ in self.rounds(f"load, {name} {dtype}, {'warm' if warm else 'cold'}"):
                if not warm:
                    measure.forget_files(*filter(None, (model, gguf)))
                mine.append(measure.measure_process(ours)[0])
                if theirs:
                    ratios.add(1 / mine[-1], 1 / measure.measure_process(theirs)[0])
            verdict = goals.Verdict()
            cells = ["", ""]
            if ratios:
                cells = [f"{1 / statistics.median(ratios.theirs):.3f}", ratios.cells()[2]]
                if warm and (name, dtype) == ("Qwen2.5-0.5B", "bf16"):
                    verdict.at_least(ratios.median, goals.LOAD, "× sooner")
            table.row(name, dtype, "warm" if warm else "cold", f"{statistics.median(mine):.3f}", *cells,
                      *verdict.cells())

    # Memory.

    def show_memory(self):
        print("## Peak resident memory of a study cell, MB\n")
        print("tinyllm: eight questions of ARC-Easy, letters, one at a time; batched: log-likelihood, packed passes."
              " llama.cpp: llama-bench on 128 tokens, and llama-perplexity --multiple-choice on eight questions.\n")
        table = measure.Table("shape", "type", "weights as stored", "tinyllm", "tinyllm batched", "llama-bench",
                              "llama-perplexity", "goals", "met")
        self.each(table, self.names, self.types, self.compare_memory)
        print()

    def peaks_of_llama(self, name, dtype, path):
        gguf = self.gguf(name, dtype)
        if not gguf:
            return []
        bench = [*self.prefix, "llama-bench", "-m", gguf, "-t", self.most, "-p", 128, "-n", 0, "-r", 1]
        asked = questions.llama_command(self.prefix, gguf, self.most, path)
        return [measure.measure_process(command)[1] for command in (bench, asked)]

    def compare_memory(self, table, name, dtype):
        measure.note(f"memory, {name} {dtype}")
        model = self.shapes.checkpoint(name, dtype)
        stored = sum(path.stat().st_size for path in model.glob("*.safetensors")) / (1 << 20)
        options = ["-t", "arc_easy", "--data", questions.rows_of(self.arguments.data_dir, "arc_easy"), "--limit", 8,
                   "--threads", self.most] + (["--fast"] if dtype != "f32" else [])
        alone, batched = (
            questions.run_cell(self.tinyllm, model, self.arguments.work, [*options, *protocol])["peak_rss_mb"]
            for protocol in (["--protocol", "study"], ["--protocol", "loglikelihood", "--batched"]))
        theirs = self.peaks_of_llama(name, dtype, self.choices("arc_easy", 8)[1])
        verdict = goals.Verdict().at_most(alone, min(theirs, default=None), "llama.cpp's")
        verdict.at_most(alone, 1.1 * stored + 60, "1.1 × weights + 60")
        table.row(name, dtype, f"{stored:.0f}", f"{alone:.0f}", f"{batched:.0f}",
                  *([f"{peak:.0f}" for peak in theirs] or ["", ""]), *verdict.cells())

    # Questions by log-likelihood.

    def choices(self, task, count):
        """The requests of the first questions of a task, and llama-perplexity's file of them."""
        found = questions.read_requests(self.tinyllm, task, self.arguments.data_dir, count)
        path = self.arguments.work / f"{task}-{count}.bin"
        if questions.fits_multiple_choice(found):
            path.write_bytes(questions.multiple_choice_file(found))
        return found, path

    def show_questions(self):
        print("## Zero-shot log-likelihood, questions per second\n")
        print("Without loading. tinyllm: `tinyllm run --protocol loglikelihood --batched`, tokenizing and storing"
              " included; llama-perplexity --multiple-choice: from the begin of its scoring to its end, tokenizing not"
              " included; PyTorch: every choice a row, padded batches of eight.\n")
        for task in self.arguments.tasks.split(","):
            print(f"### {task}\n")
            table = measure.Table("shape", "type", "threads", "tokens a question", "tinyllm", "llama-perplexity",
                                  "tinyllm / llama", "PyTorch", "tinyllm / PyTorch", "rounds", "goals", "met")
            self.each(table, self.arguments.question_shapes.split(","), self.types,
                      lambda *cell, task=task: self.compare_questions(*cell, task))
            print()

    def compare_questions(self, table, name, dtype, task):
        count = self.arguments.questions
        asked, path = self.choices(task, count)
        model = self.shapes.checkpoint(name, dtype)
        if not (model / "tokenizer.json").exists():
            raise measure.Failure("no tokenizer: give --tokenizers")
        gguf = self.gguf(name, dtype) if questions.fits_multiple_choice(asked) else None
        options = ["--threads", self.most] + (["--fast"] if dtype != "f32" else [])
        llama, torch, ours = measure.Ratios(), measure.Ratios(), []
        with self.torch_worker(model, dtype) as worker:
            pairs = questions.pairs(self.tinyllm, model, asked) if worker else None
            for _ in self.rounds(f"questions, {task}, {name} {dtype}"):
                rate, tokens = questions.our_rate(self.tinyllm, model, self.arguments.work, task,
                                                  self.arguments.data_dir, count, options)
                ours.append(rate)
                if gguf:
                    llama.add(rate, questions.llama_rate(self.prefix, gguf, self.most, path, count))
                if worker:
                    theirs = worker.ask(op="pairs", pairs=pairs, batch=8, threads=self.most)
                    torch.add(rate, count / theirs["seconds"])
            if worker and dtype == "f32":
                questions.check_same_work(questions.our_loglikelihoods(self.tinyllm, model, asked, options),
                                          theirs["loglikelihoods"])
        verdict = goals.Verdict()
        if task == "arc_easy":
            verdict.at_least(llama.median if llama else None, goals.QUESTIONS.get(dtype), "× llama",
                             self.factors[dtype])
            verdict.at_least(torch.median if torch else None, goals.QUESTIONS_TORCH, "× PyTorch")
        cells = (llama.cells()[1:] if llama else ["", ""]) + (torch.cells()[1:] if torch else ["", ""])
        table.row(name, dtype, self.most, f"{tokens:.0f}", measure.short(statistics.median(ours)), *cells, len(ours),
                  *verdict.cells())

    # A question of the study.

    def show_study(self):
        print("## One study question, cold: f32 exact beside PyTorch float32\n")
        rows = study_question.read_rows(questions.rows_of(self.arguments.data_dir, "arc_easy"), 8)
        models = [self.shapes.checkpoint(name, "f32") for name in self.arguments.question_shapes.split(",")]
        study_question.add_table(self.tinyllm, models, rows, self.arguments.work, self.prefix, self.threads,
                                 self.arguments.rounds)
        print()

    # Beside a foreign process.

    def show_interference(self):
        print(f"## Prefill of 64 tokens beside one foreign busy process, {self.most} threads\n")
        print("Percent of the undisturbed speed, by turns.\n")
        table = measure.Table("shape", "type", "tinyllm tokens/s", "kept %", "llama.cpp tokens/s", "kept %", "goals",
                              "met")
        self.each(table, self.names[:1], [dtype for dtype in self.types if dtype in ("f32", "bf16")],
                  self.compare_interference)
        print()

    def compare_interference(self, table, name, dtype):
        model, gguf = self.shapes.checkpoint(name, dtype), self.gguf(name, dtype)
        test = ("prefill", 64)
        runs = {"tinyllm": lambda: self.run_ours(model, dtype, [test], self.most)[1][test]}
        if gguf:
            runs["llama.cpp"] = lambda: self.run_llama(gguf, [test], self.most)[test]
        kept = {title: measure.Ratios() for title in runs}
        for _ in self.rounds(f"interference, {name} {dtype}"):
            for title, run in runs.items():
                undisturbed = run()
                with measure.Foreign():
                    kept[title].add(run(), undisturbed)
        cells = []
        for ratios in kept.values():
            low, high = ratios.spread
            disturbed, undisturbed = statistics.median(ratios.ours), statistics.median(ratios.theirs)
            cells += [f"{measure.short(disturbed)} of {measure.short(undisturbed)}",
                      f"{100 * ratios.median:.0f} ({100 * low:.0f}–{100 * high:.0f})"]
        verdict = goals.Verdict().at_least(100 * kept["tinyllm"].median, goals.INTERFERENCE, "%")
        table.row(name, dtype, *cells, *([""] * (4 - len(cells))), *verdict.cells())


# Part → (what shows it, does it need ARC-Easy's rows).
PARTS = {
    "machine": (Comparison.show_machine, False),
    "speed": (Comparison.show_speed, False),
    "load": (Comparison.show_load, False),
    "memory": (Comparison.show_memory, True),
    "questions": (Comparison.show_questions, True),
    "study": (Comparison.show_study, True),
    "interference": (Comparison.show_interference, False),
}


def find_shared(*parts):
    """A path of the conformance set, where it is there."""
    path = pathlib.Path(os.environ.get("TINYLLM_SHARED", measure.ROOT.parent / "shared")).joinpath(*parts)
    return path if path.exists() else None


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=measure.ROOT / "build", type=pathlib.Path)
    parser.add_argument("--work", default="/tmp/tinyllm-bench", type=pathlib.Path, help="where checkpoints are kept")
    parser.add_argument("--peer-prefix", default="", help='how peers are reached: "chroot DIR"')
    parser.add_argument("--blas-backend", default="",
                        help="llama.cpp's BLAS backend (libggml-blas.so, as the peer sees it), for a second column")
    parser.add_argument("--native-factor", default="", metavar="f32=3.4,bf16=2.4,…",
                        help="a llama.cpp built for the machine is so many times faster than the distribution's build")
    parser.add_argument("--tokenizers", type=pathlib.Path, default=find_shared("tokenizers"),
                        help="folder of genuine tokenizers, named ORG--NAME (for questions)")
    parser.add_argument("--data-dir", type=pathlib.Path, default=find_shared("datasets"),
                        help="rows as DIR/TASK/validation.jsonl, in the hub's schema (for questions)")
    parser.add_argument("--shapes", default="SmolLM-135M,pythia-160m,Qwen2.5-0.5B,TinyLlama_v1.1,bloom-560m")
    parser.add_argument("--question-shapes", default="SmolLM-135M,Qwen2.5-0.5B")
    parser.add_argument("--load-shapes", default="SmolLM-135M,Qwen2.5-0.5B")
    parser.add_argument("--tasks", default="arc_easy", help="of the questions: any with one context for all choices")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}",
                        help="goals are judged at the largest; at others only 128 tokens and decoding are measured")
    parser.add_argument("--prefill", default="64,128,512")
    parser.add_argument("--decode", default="16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=40, metavar="SECONDS",
                        help=f"no further round of a row's measurements after so long, but {LEAST_ROUNDS} at least")
    parser.add_argument("--questions", type=int, default=48, help="of a task, in a timed run")
    parser.add_argument("--parts", default=",".join(PARTS), help="of " + ",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="SmolLM-135M, all threads, prefill 128, three rounds")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(shapes="SmolLM-135M", question_shapes="SmolLM-135M", load_shapes="SmolLM-135M",
                            prefill="128", rounds=3, questions=24, budget=15, threads=str(os.cpu_count()))
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts.split(",") if part not in PARTS]
    if unknown:
        parser.error(f"--parts {unknown[0]}: expected some of {', '.join(PARTS)}")
    return arguments


def main():
    arguments = parse_arguments()
    try:
        comparison = Comparison(arguments)
        for part in arguments.parts.split(","):
            show, needs_rows = PARTS[part]
            if needs_rows and not arguments.data_dir:
                print(f"{part}: needs ARC-Easy's rows: give --data-dir DIR and --tokenizers DIR.\n")
            elif part == "study" and not comparison.torch:
                print("study: PyTorch is not there.\n")
            else:
                show(comparison)
                measure.note(f"{part} is done")
    except measure.Failure as failure:
        sys.exit(f"peers: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
