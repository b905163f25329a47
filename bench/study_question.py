#!/usr/bin/env python3
"""One study question, cold: tinyllm at f32, exact, beside PyTorch at float32 on the same questions, batch 1.

    bench/study_question.py --data arc_easy/validation.jsonl [--shapes SmolLM-135M,…] [--peer-prefix "chroot DIR"]
    bench/study_question.py --data … --model CHECKPOINT_DIR

The questions are the study's ARC-Easy prompts. tinyllm's time is the one that `tinyllm run` stores: the forward pass of
one question at a time, nothing shared between questions. PyTorch's is the forward pass of the same ids; it gets its best
number of threads. Rounds alternate; the ratio is PyTorch's mean time over ours, its median over the rounds.
"""
import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import sys

import goals
import measure

PROMPT = (
    "Answer the following multiple choice question by giving the most appropriate response. "
    "Answer should be one among [A, B, C, D].\n\nQuestion: {question}\nA) {0}\nB) {1}\nC) {2}\nD) {3}\n\nAnswer:"
)


def read_rows(path, count):
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if len(row["choices"]["text"]) == 4:
                rows.append(row)
            if len(rows) == count:
                return rows
    raise measure.Failure(f"{path}: fewer than {count} questions of four choices")


def our_seconds(tinyllm, model, data, work, threads):
    """Mean seconds of a question, as the run's own report has it."""
    out = work / "study-run"
    shutil.rmtree(out, ignore_errors=True)
    measure.run([tinyllm, "run", "-m", model, "-t", "arc_easy", "--data", data, "--protocol", "study", "--dtype",
                 "f32", "--threads", threads, "-o", out])
    cell, = json.loads(measure.run([tinyllm, "report", out, "--format", "json"]))["cells"]
    if not cell["done"] or cell["values"]["inference_time"] is None:
        raise measure.Failure(f"tinyllm run: the cell did not end: {cell['reason']}")
    return cell["values"]["inference_time"] / 1000


def compare(tinyllm, model, rows, work, prefix, threads, rounds):
    """Returns (tokens of a question, our ratios at each number of threads)."""
    work.mkdir(parents=True, exist_ok=True)
    data = work / "study-questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = [PROMPT.format(*row["choices"]["text"], question=row["question"]) for row in rows]
    ids = measure.tokenize(tinyllm, model, texts)
    worker = measure.Worker([*prefix, "python3", measure.BENCH / "peer_torch.py", model, "--dtype", "float32"])
    worker.ask(op="questions", ids=ids[:1], threads=max(threads))  # warm-up
    times = {count: [] for count in threads}
    theirs = {count: [] for count in threads}
    for _ in range(rounds):
        for count in threads:
            times[count].append(our_seconds(tinyllm, model, data, work, count))
            theirs[count].append(statistics.mean(worker.ask(op="questions", ids=ids, threads=count)["seconds"]))
    worker.close()
    best = min(threads, key=lambda count: statistics.median(theirs[count]))
    ratios = {count: measure.Ratios() for count in threads}
    for count in threads:
        for mine, other in zip(times[count], theirs[best]):
            ratios[count].add(1 / mine, 1 / other)
    return statistics.mean(map(len, ids)), best, ratios


def add_table(tinyllm, models, rows, work, prefix, threads, rounds):
    table = measure.Table("model", "tokens", "threads", "tinyllm ms", "PyTorch ms (its best threads)", "times faster",
                          "goals", "met")
    for model in models:
        measure.note(f"study, {model.name}")
        try:
            tokens, best, ratios = compare(tinyllm, model, rows, work, prefix, threads, rounds)
        except measure.Failure as failure:
            table.row(model.name, "", "", "", "", f"not measured: {failure}")
            continue
        for count, ratio in ratios.items():
            mine = statistics.median(1000 / rate for rate in ratio.ours)
            other = statistics.median(1000 / rate for rate in ratio.theirs)
            low, high = ratio.spread
            table.row(model.name, f"{tokens:.0f}", count, measure.short(mine), f"{measure.short(other)} ({best})",
                      f"{ratio.median:.2f} ({low:.2f}–{high:.2f})",
                      *goals.Verdict().at_least(ratio.median, goals.STUDY_TORCH if count == max(ratios) else None,
                                                "× PyTorch").cells())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=measure.ROOT / "build", type=pathlib.Path)
    parser.add_argument("--work", default="/tmp/tinyllm-bench", type=pathlib.Path)
    parser.add_argument("--tokenizers", type=pathlib.Path, help="folder of genuine tokenizers, named ORG--NAME")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="ARC-Easy rows as JSONL, in the hub's schema")
    parser.add_argument("--model", type=pathlib.Path, action="append", help="a checkpoint, instead of shapes")
    parser.add_argument("--shapes", default="SmolLM-135M,pythia-160m,Qwen2.5-0.5B")
    parser.add_argument("--peer-prefix", default="", help='how PyTorch is reached: "chroot DIR"')
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}")
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    shapes = measure.Shapes(arguments.build, arguments.work, arguments.tokenizers)
    try:
        models = arguments.model or [shapes.checkpoint(name, "f32") for name in arguments.shapes.split(",")]
        add_table(arguments.build / "tinyllm", models, read_rows(arguments.data, arguments.questions), arguments.work,
                  shlex.split(arguments.peer_prefix), sorted({int(n) for n in arguments.threads.split(",")}),
                  arguments.rounds)
    except measure.Failure as failure:
        sys.exit(f"study_question: {failure}")


if __name__ == "__main__":
    main()
