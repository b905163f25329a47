#!/usr/bin/env python3
"""A GPU's figures: tinyllm --device cuda beside transformers on the same card, in one run, alternating.

    bench/cuda.py --data arc_easy/validation.jsonl [--build build] [--tokenizers DIR] [--shapes SmolLM-135M,Qwen2.5-0.5B]

Three tables:
  a study question    forward pass of one ARC-Easy prompt, batch 1: tinyllm at f32 and at bf16 (--fast), each over
                      transformers at float32, eager, as the study ran it; transformers at bfloat16 for comparison
  prefill             tokens/s of 512-token passes at bf16 (--fast), as a share of the card's measured bf16 matrix rate
  decode              tokens/s at bf16, as a share of the card's measured memory bandwidth

The card's limits are measured in the same run, through PyTorch: the best of 20 products of 4096 × 4096 × 4096, and of 20
sums over 1 GiB. Needs a build with -DTINYLLM_CUDA=ON, torch and transformers.

--dry-run goes through all of it with everything on the CPU: it shows that the script works, and nothing about a GPU.
"""
import argparse
import contextlib
import json
import pathlib
import shlex
import shutil
import sqlite3
import statistics
import sys

import goals
import measure
import study_question

QUESTION_GOALS = {"f32": 5.0, "bf16": 10.0}  # times faster than transformers at float32
PREFILL_SHARE = DECODE_SHARE = 60  # percent
OURS = {"f32": ["--dtype", "f32"], "bf16": ["--dtype", "bf16", "--fast"]}


def question_seconds(tinyllm, model, data, work, kind, device):
    """Median seconds of a question's forward pass by the device's clock, as the run stored it."""
    out = work / "cuda-run"
    shutil.rmtree(out, ignore_errors=True)
    measure.run([tinyllm, "run", "-m", model, "-t", "arc_easy", "--data", data, "--protocol", "study", "--device", device,
                 *OURS[kind], "-o", out])
    with contextlib.closing(sqlite3.connect(out / "run.sqlite")) as store:
        found = store.execute("SELECT value FROM measure WHERE name = 'forward_ms_median'").fetchone()
        if not found or found[0] is None:
            reason, = store.execute("SELECT reason FROM cell").fetchone()
            raise measure.Failure(f"tinyllm run: the cell did not end: {reason}")
    return found[0] / 1000


def peer(prefix, model, dtype, device):
    return measure.Worker([*prefix, "python3", measure.BENCH / "peer_torch.py", model, "--dtype", dtype, "--device",
                           device])


def questions_table(tinyllm, models, rows, work, prefix, device, rounds):
    table = measure.Table("model", "type", "tinyllm ms", "transformers f32 ms", "times faster", "transformers bf16 ms",
                          "goals", "met")
    work.mkdir(parents=True, exist_ok=True)
    data = work / "cuda-questions.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    texts = [study_question.PROMPT.format(*row["choices"]["text"], question=row["question"]) for row in rows]
    for model in models:
        ids = measure.tokenize(tinyllm, model, texts)
        workers = {dtype: peer(prefix, model, dtype, device[1]) for dtype in ("float32", "bfloat16")}
        theirs = {dtype: [] for dtype in workers}
        ratios = {kind: measure.Ratios() for kind in OURS}
        for worker in workers.values():
            worker.ask(op="questions", ids=ids[:3])  # warm-up
        for _ in range(rounds):
            for dtype, worker in workers.items():
                theirs[dtype].append(statistics.median(worker.ask(op="questions", ids=ids)["seconds"]))
            for kind, ratio in ratios.items():
                mine = question_seconds(tinyllm, model, data, work, kind, device[0])
                ratio.add(1 / mine, 1 / theirs["float32"][-1])
        for worker in workers.values():
            worker.close()
        for kind, ratio in ratios.items():
            low, high = ratio.spread
            mine = statistics.median(1000 / rate for rate in ratio.ours)
            table.row(model.name, kind, measure.short(mine), measure.short(1000 * statistics.median(theirs["float32"])),
                      f"{ratio.median:.2f} ({low:.2f}–{high:.2f})",
                      measure.short(1000 * statistics.median(theirs["bfloat16"])),
                      *goals.Verdict().at_least(ratio.median, QUESTION_GOALS[kind], "×").cells())


def matrix_parameters(model, parameters):
    """Parameters that every token is multiplied with: all but the embedding, which a tied head reads for one row."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return parameters - config["vocab_size"] * config["hidden_size"]


def bench(tinyllm, model, device, *options):
    out = measure.run([tinyllm, "bench", "-m", model, "--device", device, "--output", "jsonl", *options])
    return json.loads(out.splitlines()[-1])


def shares_table(tinyllm, models, ceilings, device):
    """Medians of tinyllm's own repetitions."""
    table = measure.Table("model", "what", "tokens/s", "achieved", "the card's", "%", "GPU MB at most", "goals", "met")
    for model in models:
        prefill = bench(tinyllm, model, device, "--fast", "-p", "512", "-n", "0", "-r", "20")
        rate = prefill["tokens_per_second"] * 2 * matrix_parameters(model, prefill["parameters"]) / 1e12
        share = 100 * rate / ceilings["bf16"]
        table.row(model.name, "prefill 512, bf16 fast", measure.short(prefill["tokens_per_second"]),
                  f"{rate:.3g} TFLOP/s", f"{ceilings['bf16']:.3g}", f"{share:.0f}",
                  measure.short(prefill["memory"]["device_peak"] / 2**20),
                  *goals.Verdict().at_least(share, PREFILL_SHARE, "%").cells())
        decode = bench(tinyllm, model, device, "-p", "0", "-n", "128", "-r", "5")
        rate = decode["tokens_per_second"] * 2 * decode["parameters"] / 1e9
        share = 100 * rate / ceilings["memory"]
        table.row(model.name, "decode 128, bf16", measure.short(decode["tokens_per_second"]), f"{rate:.3g} GB/s",
                  f"{ceilings['memory']:.3g}", f"{share:.0f}", measure.short(decode["memory"]["device_peak"] / 2**20),
                  *goals.Verdict().at_least(share, DECODE_SHARE, "%").cells())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=measure.ROOT / "build", type=pathlib.Path)
    parser.add_argument("--work", default="/tmp/tinyllm-bench", type=pathlib.Path)
    parser.add_argument("--tokenizers", type=pathlib.Path, help="folder of genuine tokenizers, named ORG--NAME")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="ARC-Easy rows as JSONL, in the hub's schema")
    parser.add_argument("--shapes", default="SmolLM-135M,Qwen2.5-0.5B")
    parser.add_argument("--peer-prefix", default="", help='how PyTorch is reached: "chroot DIR"')
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry-run", action="store_true", help="everything on the CPU")
    arguments = parser.parse_args()
    prefix, tinyllm = shlex.split(arguments.peer_prefix), arguments.build / "tinyllm"
    device = ("cpu", "cpu") if arguments.dry_run else ("cuda", "cuda")
    shapes = measure.Shapes(arguments.build, arguments.work, arguments.tokenizers)
    try:
        names = arguments.shapes.split(",")
        worker = peer(prefix, shapes.checkpoint(names[0], "bf16"), "bfloat16", device[1])
        ceilings = worker.ask(op="ceilings")
        worker.close()
        questions_table(tinyllm, [shapes.checkpoint(name, "f32") for name in names],
                        study_question.read_rows(arguments.data, arguments.questions), arguments.work, prefix, device,
                        arguments.rounds)
        print()
        shares_table(tinyllm, [shapes.checkpoint(name, "bf16") for name in names], ceilings, device[0])
    except measure.Failure as failure:
        sys.exit(f"cuda: {failure}")
    if arguments.dry_run:
        measure.note("a dry run: these are the processor's figures, not a GPU's")


if __name__ == "__main__":
    main()
