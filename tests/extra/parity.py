#!/usr/bin/env python3
"""Holds tinyllm to transformers on random checkpoints: every family, odd sizes, each dtype and container.

    python3 tests/extra/parity.py TINYLLM [--rounds N] [--seed S] [--family NAME]

Needs PyTorch and transformers. Prints a line a checkpoint; exits 1 when a logit differs by more than 2e-4.
"""
import argparse
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers as hf


def heads(rng):
    return rng.choice([(1, 1), (3, 1), (4, 2), (5, 5), (6, 3), (7, 1), (8, 4), (9, 3), (12, 12)])


def gpt2(rng, vocab):
    h = rng.choice([1, 2, 3, 5])
    return hf.GPT2Config(vocab_size=vocab, n_embd=h * rng.choice([4, 6, 10, 16]), n_head=h, n_layer=rng.randint(1, 3),
                         n_positions=96, n_inner=rng.choice([None, 40, 100]),
                         activation_function=rng.choice(["gelu", "gelu_new", "relu"]))


def llama(rng, vocab):
    h, kv = heads(rng)
    d = rng.choice([4, 6, 8, 14, 32])
    scaling = rng.choice([None, {"rope_type": "linear", "factor": 2.0},
                          {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                           "original_max_position_embeddings": 32}])
    return hf.LlamaConfig(vocab_size=vocab, hidden_size=h * rng.choice([d, 6]), num_attention_heads=h,
                          num_key_value_heads=kv, head_dim=d, num_hidden_layers=rng.randint(1, 3),
                          intermediate_size=rng.choice([33, 64, 110]), max_position_embeddings=128,
                          rope_theta=rng.choice([1e4, 1e5, 1e6]), rope_scaling=scaling,
                          tie_word_embeddings=rng.random() < 0.5, attention_bias=rng.random() < 0.3,
                          mlp_bias=rng.random() < 0.3, rms_norm_eps=rng.choice([1e-5, 1e-6]))


def qwen2(rng, vocab):
    h, kv = heads(rng)
    return hf.Qwen2Config(vocab_size=vocab, hidden_size=h * rng.choice([4, 8, 12]), num_attention_heads=h,
                          num_key_value_heads=kv, num_hidden_layers=rng.randint(1, 3), intermediate_size=72,
                          max_position_embeddings=128, tie_word_embeddings=rng.random() < 0.5,
                          use_sliding_window=False, sliding_window=8)


def gpt_neox(rng, vocab):
    h = rng.choice([1, 3, 4, 6])
    d = rng.choice([8, 16, 24])
    return hf.GPTNeoXConfig(vocab_size=vocab, hidden_size=h * d, num_attention_heads=h, num_hidden_layers=rng.randint(1, 3),
                            intermediate_size=rng.choice([60, 4 * h * d]), rotary_pct=rng.choice([0.25, 0.5, 1.0]),
                            max_position_embeddings=128, use_parallel_residual=rng.random() < 0.6,
                            hidden_act=rng.choice(["gelu", "gelu_new", "relu"]), tie_word_embeddings=rng.random() < 0.3,
                            attention_bias=rng.random() < 0.7)


def bloom(rng, vocab):
    h = rng.choice([1, 3, 4, 6, 7, 12])
    return hf.BloomConfig(vocab_size=vocab, hidden_size=h * rng.choice([4, 8, 10]), n_head=h, n_layer=rng.randint(1, 3))


def opt(rng, vocab):
    h = rng.choice([1, 2, 3, 4])
    dim = h * rng.choice([4, 8, 12])
    before = rng.random() < 0.5
    return hf.OPTConfig(vocab_size=vocab, hidden_size=dim, num_attention_heads=h, ffn_dim=rng.choice([40, 4 * dim]),
                        num_hidden_layers=rng.randint(1, 3), max_position_embeddings=96, do_layer_norm_before=before,
                        word_embed_proj_dim=dim if before else rng.choice([dim, 20]),
                        activation_function=rng.choice(["relu", "gelu"]), enable_bias=rng.random() < 0.8)


def t5(rng, vocab):
    return hf.T5Config(vocab_size=vocab, d_model=rng.choice([24, 40]), d_kv=rng.choice([4, 8, 10]), d_ff=rng.choice([50, 96]),
                       num_layers=rng.randint(1, 3), num_decoder_layers=rng.randint(1, 3), num_heads=rng.choice([1, 3, 5]),
                       feed_forward_proj=rng.choice(["relu", "gated-gelu"]), tie_word_embeddings=True,
                       relative_attention_num_buckets=rng.choice([8, 32]), relative_attention_max_distance=rng.choice([20, 128]),
                       decoder_start_token_id=0)


FAMILIES = {f.__name__: f for f in (gpt2, llama, qwen2, gpt_neox, bloom, opt, t5)}


def save(model, folder, rng):
    """In one of the containers found on the hub; returns how to name it."""
    kind = rng.choice(["safetensors", "sharded", "bin", "legacy", "bin-sharded"])
    if kind == "safetensors":
        model.save_pretrained(folder)
    elif kind == "sharded":
        model.save_pretrained(folder, max_shard_size="20KB")
    else:
        model.config.save_pretrained(folder)
        state = model.state_dict()
        zipped = kind != "legacy"
        if kind == "bin-sharded":
            names = list(state)
            index = {}
            for part in range(2):
                file = f"pytorch_model-{part + 1:05d}-of-00002.bin"
                piece = {n: state[n] for n in names[part::2]}
                torch.save(piece, os.path.join(folder, file))
                index.update({n: file for n in piece})
            with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as out:
                json.dump({"metadata": {}, "weight_map": index}, out)
        else:
            torch.save(state, os.path.join(folder, "pytorch_model.bin"), _use_new_zipfile_serialization=zipped)
    return kind


def one(program, name, seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    vocab = rng.choice([37, 300, 515])
    config = FAMILIES[name](rng, vocab)
    seq2seq = name == "t5"
    model = (hf.AutoModelForSeq2SeqLM if seq2seq else hf.AutoModelForCausalLM).from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.15 + (1 if parameter.dim() == 1 and "bias" not in name else 0) * 0.5)
    dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16])
    model.eval()
    with torch.no_grad():  # the buffers stay f32: rotary frequencies are never stored
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).float())
    folder = tempfile.mkdtemp(prefix="parity-")
    try:
        kind = save(copy.deepcopy(model).to(dtype), folder, rng)
        ids = [rng.randrange(vocab) for _ in range(rng.choice([1, 2, 17, 60]))]
        command = [program, "logits", "-m", folder, "--ids", ",".join(map(str, ids))]
        with torch.no_grad():
            if seq2seq:
                start = [0] + [rng.randrange(vocab) for _ in range(rng.randint(0, 5))]
                command += ["--decoder-ids", ",".join(map(str, start))]
                expected = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([start])).logits[0, -1]
            else:
                expected = model(torch.tensor([ids])).logits[0, -1]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            return float("inf"), f"{kind} {dtype}: {run.stderr.strip()}"
        got = torch.tensor(json.loads(run.stdout)["logits"])
        scale = max(1.0, expected.abs().max().item() / 10)
        return (got - expected).abs().max().item() / scale, f"{kind} {str(dtype)[6:]} {len(ids)} tokens"
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=FAMILIES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    worst = 0
    for round_ in range(arguments.rounds):
        for name in [arguments.family] if arguments.family else FAMILIES:
            seed = arguments.seed * 1000 + round_
            difference, what = one(arguments.program, name, seed)
            worst = max(worst, difference)
            print(f"{'ok  ' if difference <= 2e-4 else 'FAIL'} {name} seed {seed} {what}: {difference:.1e}", flush=True)
    sys.exit(worst > 2e-4)


if __name__ == "__main__":
    main()
