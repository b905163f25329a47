"""What the comparisons share: running programs, workers, shapes on disk, medians of ratios."""
import json
import os
import pathlib
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"

# Shape → (folder of its genuine tokenizer as hub folders are named, does llama.cpp know its family).
SHAPES = {
    "SmolLM-135M": "HuggingFaceTB--SmolLM-135M",
    "SmolLM-360M": "HuggingFaceTB--SmolLM-135M",
    "pythia-160m": "EleutherAI--pythia-70m",
    "Qwen2.5-0.5B": "Qwen--Qwen2.5-0.5B",
    "TinyLlama_v1.1": "TinyLlama--TinyLlama_v1.1",
    "bloom-560m": "SYNTHETIC--bloom-format-gpt2-vocab",
    "opt-125m": "facebook--opt-125m",
}


class Failure(Exception):
    """A program that could not be run to its end; the message is what a person should read."""


BEGUN = time.monotonic()


def note(text):
    """Progress, on standard error, with the minutes since the start."""
    minutes, seconds = divmod(int(time.monotonic() - BEGUN), 60)
    print(f"[{minutes:3}:{seconds:02}] {text}", file=sys.stderr, flush=True)


def run(command, text=None, timeout=900):
    """Runs a program and returns its standard output."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, errors="replace", timeout=timeout,
                              check=False)
    except FileNotFoundError as error:
        raise Failure(f"{command[0]}: not found") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{shlex.join(command[:4])} …: no end after {timeout} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise Failure(f"{shlex.join(command[:4])} …: exit {done.returncode}: {lines[-1]}")
    return done.stdout


def measure_process(command, text="", timeout=900):
    """Runs a program; returns its wall seconds, its peak resident MB and its two outputs."""
    command = [str(word) for word in command]
    with (tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+", errors="replace") as out,
          tempfile.TemporaryFile("w+", errors="replace") as err):
        given.write(text)
        given.seek(0)
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, text=True)
        except FileNotFoundError as error:
            raise Failure(f"{command[0]}: not found") from error
        limit = threading.Timer(timeout, process.kill)
        limit.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        outputs = out.read(), err.read()
    if process.returncode:
        lines = outputs[1].strip().splitlines() or ["no message"]
        raise Failure(f"{shlex.join(command[:4])} …: exit {process.returncode}: {lines[-1]}")
    return seconds, usage.ru_maxrss / 1024, *outputs


def seconds_between(command, begins, ends, timeout=900):
    """Runs a program; returns the wall seconds between the first line of its output, standard error included, that
    matches `begins` and the next that matches `ends`, and the lines between them."""
    command = [str(word) for word in command]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace")
    except FileNotFoundError as error:
        raise Failure(f"{command[0]}: not found") from error
    limit = threading.Timer(timeout, process.kill)
    limit.start()
    begin = end = None
    lines = []
    for line in process.stdout:
        if begin is None:
            begin = time.perf_counter() if re.search(begins, line) else None
        elif end is None:
            end = time.perf_counter() if re.search(ends, line) else None
        lines.append(line)
    status = process.wait()
    limit.cancel()
    if status or end is None:
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        raise Failure(f"{shlex.join(command[:4])} …: exit {status}: {last}")
    return end - begin, lines


def forget_files(*paths):
    """Drops files, and folders of files, from the page cache, as far as no process has them mapped."""
    for path in paths:
        for file in path.iterdir() if path.is_dir() else [path]:
            descriptor = os.open(file, os.O_RDONLY)
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


class Foreign:
    """A process that keeps the last processor busy while the block runs."""

    def __enter__(self):
        last = max(os.sched_getaffinity(0))
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"],
                                        preexec_fn=lambda: os.sched_setaffinity(0, {last}))
        time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Worker:
    """A program that answers JSON lines with JSON lines."""

    def __init__(self, command):
        self.errors = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=self.errors, text=True)
        except FileNotFoundError as error:
            raise Failure(f"{command[0]}: not found") from error
        self.greeting = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines() or ["no message"]
            raise Failure(f"worker ended: {lines[-1]}")
        return json.loads(line)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def tokenize(tinyllm, model, texts):
    """The ids of each text, with the special tokens that the tokenizer adds."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    out = run([tinyllm, "tokenize", "-m", model, "--jsonl"], lines)
    return [json.loads(line)["ids"] for line in out.splitlines()]


def is_there(prefix, probe):
    """Does this command succeed under the prefix?"""
    try:
        run([*prefix, *probe], timeout=120)
        return True
    except Failure:
        return False


class Shapes:
    """Random-weight checkpoints of true shapes in a work directory, made when first asked for."""

    def __init__(self, build, work, tokenizers=None):
        self.tool = pathlib.Path(build) / "bench" / "random_checkpoint"
        self.tinyllm = pathlib.Path(build) / "tinyllm"
        self.work = pathlib.Path(work)
        self.tokenizers = pathlib.Path(tokenizers) if tokenizers else None
        self.work.mkdir(parents=True, exist_ok=True)

    def checkpoint(self, name, dtype):
        """f32, f16 and bf16 are drawn; q8 and q4 made from bf16 by `tinyllm quantize`, anew for a newer tinyllm."""
        directory = self.work / f"{name}-{dtype}"
        done = directory / ".complete"
        quantised = dtype in ("q8", "q4")
        if done.exists() and not (quantised and done.stat().st_mtime < self.tinyllm.stat().st_mtime):
            return directory
        note(f"making {directory.name}")
        if quantised:
            source = self.checkpoint(name, "bf16")
            shutil.rmtree(directory, ignore_errors=True)
            run([self.tinyllm, "quantize", source, "-o", directory, "--dtype", dtype])
        else:
            command = [self.tool, "--dtype", dtype]
            if self.tokenizers and name in SHAPES and (self.tokenizers / SHAPES[name]).is_dir():
                command += ["--tokenizer", self.tokenizers / SHAPES[name]]
            run([*command, BENCH / "shapes" / f"{name}.json", directory])
        done.touch()
        return directory

    def gguf(self, name, kind, prefix):
        """kind: f32, f16, bf16, q8_0, q4_0. Quantised ones are made from bf16 as llama-quantize does unasked: a tied
        embedding stays q8_0 in a q4_0 file, as it does in ours."""
        path = self.work / f"{name}-{kind}.gguf"
        if path.exists():
            return path
        note(f"making {path.name}")
        part = path.with_suffix(".part")
        if kind in ("f32", "f16", "bf16"):
            run([*prefix, "python3", BENCH / "to_gguf.py", self.checkpoint(name, kind), part])
        else:
            source = self.gguf(name, "bf16", prefix)
            run([*prefix, "llama-quantize", source, part, kind.upper()])
        part.rename(path)
        return path


class Ratios:
    """Ratios of interleaved measurements: ours over theirs, the larger the better for us."""

    def __init__(self):
        self.ours, self.theirs = [], []

    def add(self, ours, theirs):
        self.ours.append(ours)
        self.theirs.append(theirs)

    def __bool__(self):
        return bool(self.ours)

    @property
    def median(self):
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs))

    @property
    def spread(self):
        ratios = [a / b for a, b in zip(self.ours, self.theirs)]
        return min(ratios), max(ratios)

    def cells(self):
        """ours | theirs | ratio (lowest–highest)"""
        low, high = self.spread
        return [short(statistics.median(self.ours)), short(statistics.median(self.theirs)),
                f"{self.median:.2f} ({low:.2f}–{high:.2f})"]


def short(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


class Table:
    """A Markdown table, printed row by row so that a long comparison shows what it has."""

    def __init__(self, *titles):
        print("| " + " | ".join(titles) + " |")
        print("|" + " --- |" * len(titles), flush=True)

    def row(self, *cells):
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


class Ceilings:
    """The machine's limits, measured when first asked for."""

    def __init__(self, build, threads):
        self.tool = pathlib.Path(build) / "bench" / "ceilings"
        self.threads = threads
        self.products = {}  # (f32, bf16, int8 or memory, threads) → [(GOP/s or GB/s, by)], the largest first
        self.reading = {}  # (MiB, threads) → GB/s

    @staticmethod
    def entries(text):
        for line in text.splitlines():
            entry = json.loads(line)
            yield entry["ceiling"], entry["threads"], entry.get("gops", entry.get("gbytes")), entry["by"]

    def measured(self):
        if not self.products:
            note("measuring the machine's ceilings")
            for name, threads, value, by in self.entries(run([self.tool, *self.threads])):
                self.products.setdefault((name, threads), []).append((value, by))
            for values in self.products.values():
                values.sort(reverse=True)
        return self.products

    def memory(self, size, threads):
        """GB/s of reading about `size` bytes over and over: what a step of decoding does, in caches or not."""
        mib = 64
        while mib * 1.4 < size / (1 << 20) and mib < 2048:
            mib *= 2
        if (mib, threads) not in self.reading:
            for _, count, value, _ in self.entries(run([self.tool, "--read", mib, *self.threads])):
                self.reading[mib, count] = value
        return self.reading[mib, threads]
