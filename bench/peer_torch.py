#!/usr/bin/env python3
"""PyTorch and transformers as a worker: one JSON request a line on stdin, one JSON answer a line on stdout.

    peer_torch.py CHECKPOINT_DIR --dtype float32|bfloat16 [--device cpu|cuda]

    {"op": "prefill", "tokens": 128, "threads": 2}          → {"seconds": …}   logits of the last position only
    {"op": "decode", "tokens": 16, "threads": 2}            → {"seconds": …}   that many steps after a short prompt
    {"op": "questions", "ids": [[…], …], "threads": 2}      → {"seconds": […]} one forward pass each, batch 1, cold
    {"op": "pairs", "pairs": [[context, continuation], …], "batch": 8, "threads": 2}
                                                            → {"seconds": …, "loglikelihoods": […]}
    {"op": "memory"}                                        → {"peak_mb": …}, with --device cuda {"gpu_mb": …} too
    {"op": "ceilings"}                                      → {"bf16": TFLOP/s, "memory": GB/s} of the device

Pairs are scored as lm-evaluation-harness does it: sorted by length, padded on the right to the longest of the batch,
the whole row's log-softmax. Loading is reported once, as {"load_seconds": …}, before the first request is read.
"""
import argparse
import json
import resource
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM


DEVICE = "cpu"


def random_ids(vocabulary, count):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, vocabulary, (1, count), generator=generator).to(DEVICE)


def wait():
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def timed(function):
    wait()
    begin = time.perf_counter()
    result = function()
    wait()
    return time.perf_counter() - begin, result


def best_seconds(function, repetitions=20):
    return min(timed(function)[0] for _ in range(repetitions))


class Worker:
    def __init__(self, directory, dtype):
        self.vocabulary = AutoConfig.from_pretrained(directory).vocab_size
        kind = getattr(torch, dtype)
        try:
            self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=kind)
        except TypeError:  # transformers before 4.56
            self.model = AutoModelForCausalLM.from_pretrained(directory, torch_dtype=kind)
        self.model.eval().to(DEVICE)

    def prefill(self, request):
        ids = random_ids(self.vocabulary, request["tokens"])
        return {"seconds": timed(lambda: self.model(ids, logits_to_keep=1))[0]}

    def decode(self, request):
        state = self.model(random_ids(self.vocabulary, 8), use_cache=True, logits_to_keep=1)

        def steps(state=state):
            for _ in range(request["tokens"]):
                token = state.logits[:, -1:].argmax(-1)
                state = self.model(token, past_key_values=state.past_key_values, use_cache=True)

        return {"seconds": timed(steps)[0]}

    def questions(self, request):
        return {"seconds": [timed(lambda ids=ids: self.model(torch.tensor([ids], device=DEVICE)))[0] for ids in request["ids"]]}

    def score_batch(self, pairs, out):
        rows = [(context + continuation)[:-1] for _, context, continuation in pairs]
        longest = max(map(len, rows))
        batch = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            batch[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = 1
        logprobs = torch.log_softmax(self.model(batch.to(DEVICE), attention_mask=mask.to(DEVICE)).logits.float(),
                                     -1).cpu()
        for i, (index, _, continuation) in enumerate(pairs):
            first = len(rows[i]) - len(continuation)
            chosen = logprobs[i, first : len(rows[i])].gather(-1, torch.tensor(continuation).unsqueeze(-1))
            out[index] = chosen.sum().item()

    def pairs(self, request):
        pairs = [(i, context, continuation) for i, (context, continuation) in enumerate(request["pairs"])]
        pairs.sort(key=lambda pair: -len(pair[1]) - len(pair[2]))
        out = [0.0] * len(pairs)
        size = request.get("batch", 8)

        def run():
            for begin in range(0, len(pairs), size):
                self.score_batch(pairs[begin : begin + size], out)

        return {"seconds": timed(run)[0], "loglikelihoods": out}

    def memory(self, _):
        used = {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        if DEVICE != "cpu":
            used["gpu_mb"] = torch.cuda.max_memory_allocated() / 2**20
        return used

    def ceilings(self, _):
        """The best of 20 products of 4096 × 4096 × 4096 in bf16, and of 20 sums over 1 GiB (read once each)."""
        size = 4096
        a = torch.randn(size, size, dtype=torch.bfloat16, device=DEVICE)
        b = torch.randn(size, size, dtype=torch.bfloat16, device=DEVICE)
        words = torch.ones(1 << 28, dtype=torch.float32, device=DEVICE)
        return {"bf16": 2 * size**3 / best_seconds(lambda: a @ b) / 1e12,
                "memory": words.numel() * 4 / best_seconds(words.sum) / 1e9}

    def answer(self, request):
        torch.set_num_threads(request.get("threads", torch.get_num_threads()))
        with torch.inference_mode():
            return getattr(self, request["op"])(request)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    global DEVICE
    DEVICE = arguments.device
    seconds, worker = timed(lambda: Worker(arguments.checkpoint, arguments.dtype))
    print(json.dumps({"load_seconds": seconds}), flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
