#!/usr/bin/env python3
"""Holds tinyllm to transformers on random checkpoints: every family, odd sizes, options, dtypes and containers.

    python3 tests/extra/parity.py TINYLLM [--rounds N] [--seed S] [--family NAME] [--keep]

Needs PyTorch and transformers, which read the same files (AutoModel, f32, eager attention). A checkpoint passes when
the last logits differ by at most 2e-4, the summed log-likelihood by 3e-4 + 2e-6 of it, and greedy continuations agree
for as long as the reference's choice is not a tie. Prints a line a checkpoint; exits 1 when one fails.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers as hf

hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()


def heads(rng):
    h = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15])
    return h, rng.choice([k for k in range(1, h + 1) if h % k == 0])


ACTIVATIONS = ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "relu", "silu", "swish", "gelu_accurate",
               "gelu_python_tanh", "quick_gelu"]


def rope(rng, positions, partial=None):
    kind = rng.choice(["default", "default", "linear", "llama3", "dynamic", "yarn"])
    out = {"rope_type": kind, "rope_theta": rng.choice([1e4, 1e5, 1e6, 500000, 10001.5])}
    if kind != "default":
        out["factor"] = rng.choice([2.0, 8, 1.5, 32.0])
    if kind == "llama3":
        out.update(low_freq_factor=1.0, high_freq_factor=rng.choice([4.0, 2, 16]))
        if rng.random() < 0.7:
            out["original_max_position_embeddings"] = rng.choice([16, 32, 8192])
    if kind == "yarn":
        if rng.random() < 0.7:
            out["original_max_position_embeddings"] = rng.choice([16, 32, 64])
        for key, value in (("attention_factor", 0.8), ("beta_fast", 16), ("beta_slow", 2), ("truncate", False)):
            if rng.random() < 0.25:
                out[key] = value
        if rng.random() < 0.25:
            out.update(mscale=1.2, mscale_all_dim=0.7)
    if partial is not None:
        out["partial_rotary_factor"] = partial
    return out


def gpt2(rng, vocab):
    h = rng.choice([1, 2, 3, 5, 7])
    return hf.GPT2Config(vocab_size=vocab, n_embd=h * rng.choice([1, 4, 6, 10, 16, 33]), n_head=h, n_layer=rng.randint(1, 3),
                         n_positions=rng.choice([64, 96, 100]), n_inner=rng.choice([None, 40, 101]),
                         activation_function=rng.choice(ACTIVATIONS), scale_attn_weights=rng.random() < 0.7,
                         scale_attn_by_inverse_layer_idx=rng.random() < 0.3, reorder_and_upcast_attn=rng.random() < 0.2,
                         layer_norm_epsilon=rng.choice([1e-5, 1e-3]), tie_word_embeddings=rng.random() < 0.7)


def llama(rng, vocab):
    h, kv = heads(rng)
    d = rng.choice([4, 6, 8, 14, 32, 80])
    dim = h * d if rng.random() < 0.4 else h * rng.choice([4, 6, 11])
    positions = rng.choice([64, 128, 2048])
    return hf.LlamaConfig(vocab_size=vocab, hidden_size=dim, num_attention_heads=h,
                          num_key_value_heads=rng.choice([kv, None]) if kv == h else kv,
                          head_dim=None if dim == h * d and rng.random() < 0.5 else d, num_hidden_layers=rng.randint(1, 3),
                          intermediate_size=rng.choice([1, 33, 64, 110]), max_position_embeddings=positions,
                          rope_parameters=rope(rng, positions), hidden_act=rng.choice(ACTIVATIONS),
                          tie_word_embeddings=rng.random() < 0.5, attention_bias=rng.random() < 0.3,
                          mlp_bias=rng.random() < 0.3, rms_norm_eps=rng.choice([1e-5, 1e-6, 1e-2]))


def qwen2(rng, vocab):
    h, kv = heads(rng)
    layers = rng.randint(1, 4)
    positions = rng.choice([64, 128])
    sliding = rng.random() < 0.6
    return hf.Qwen2Config(vocab_size=vocab, hidden_size=h * rng.choice([4, 8, 12]), num_attention_heads=h,
                          num_key_value_heads=kv, num_hidden_layers=layers, intermediate_size=72,
                          max_position_embeddings=positions, tie_word_embeddings=rng.random() < 0.5,
                          rope_parameters=rope(rng, positions), hidden_act=rng.choice(["silu", "gelu"]),
                          use_sliding_window=sliding, sliding_window=rng.choice([1, 3, 8, 100]),
                          max_window_layers=rng.choice([0, 1, 2, 28]),
                          layer_types=[rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers)]
                          if sliding and rng.random() < 0.4 else None)


def gpt_neox(rng, vocab):
    h = rng.choice([1, 3, 4, 5, 6])
    d = rng.choice([8, 10, 16, 20, 24, 40])
    return hf.GPTNeoXConfig(vocab_size=vocab, hidden_size=h * d, num_attention_heads=h, num_hidden_layers=rng.randint(1, 3),
                            intermediate_size=rng.choice([60, 4 * h * d]), layer_norm_eps=rng.choice([1e-5, 1e-3]),
                            rope_parameters={"rope_type": "default", "rope_theta": rng.choice([1e4, 2e4]),
                                             "partial_rotary_factor": rng.choice([0.1, 0.25, 0.33, 0.5, 0.77, 1.0])},
                            max_position_embeddings=128, use_parallel_residual=rng.random() < 0.6,
                            hidden_act=rng.choice(ACTIVATIONS), tie_word_embeddings=rng.random() < 0.3,
                            attention_bias=rng.random() < 0.7)


def bloom(rng, vocab):
    h = rng.choice([1, 3, 4, 5, 6, 7, 11, 12, 14])
    return hf.BloomConfig(vocab_size=vocab, hidden_size=h * rng.choice([1, 4, 8, 10]), n_head=h, n_layer=rng.randint(1, 3),
                          apply_residual_connection_post_layernorm=rng.random() < 0.2, slow_but_exact=rng.random() < 0.1,
                          layer_norm_epsilon=rng.choice([1e-5, 1e-3]), tie_word_embeddings=rng.random() < 0.8)


def opt(rng, vocab):
    h = rng.choice([1, 2, 3, 4, 7])
    dim = h * rng.choice([4, 8, 12])
    return hf.OPTConfig(vocab_size=vocab, hidden_size=dim, num_attention_heads=h, ffn_dim=rng.choice([40, 4 * dim]),
                        num_hidden_layers=rng.randint(1, 3), max_position_embeddings=rng.choice([64, 96]),
                        do_layer_norm_before=rng.random() < 0.5, word_embed_proj_dim=rng.choice([dim, None, 20, 7]),
                        activation_function=rng.choice(ACTIVATIONS), enable_bias=rng.random() < 0.7,
                        _remove_final_layer_norm=rng.random() < 0.3, layer_norm_elementwise_affine=rng.random() < 0.7,
                        tie_word_embeddings=rng.random() < 0.7)


def t5(rng, vocab):
    return hf.T5Config(vocab_size=vocab, d_model=rng.choice([9, 24, 40]), d_kv=rng.choice([1, 4, 8, 10]), d_ff=rng.choice([50, 96]),
                       num_layers=(n := rng.randint(1, 3)), num_decoder_layers=rng.choice([n, None, rng.randint(1, 3)]),
                       num_heads=rng.choice([1, 3, 5]),
                       feed_forward_proj=rng.choice(["relu", "gated-gelu", "gated-silu", "gelu", "gelu_new", "gated-relu"]),
                       tie_word_embeddings=rng.random() < 0.5, relative_attention_num_buckets=rng.choice([4, 8, 10, 32, 64]),
                       relative_attention_max_distance=rng.choice([20, 40, 128, 129]) + 20, decoder_start_token_id=rng.choice([0, 2]),
                       layer_norm_epsilon=rng.choice([1e-6, 1e-3]), eos_token_id=1, pad_token_id=0)


def phonelm(rng, vocab):
    h, kv = heads(rng)
    return hf.LlamaConfig(vocab_size=vocab, hidden_size=h * rng.choice([4, 6, 16]), num_attention_heads=h, num_key_value_heads=kv,
                          num_hidden_layers=rng.randint(1, 3), intermediate_size=rng.choice([33, 64]), hidden_act="relu",
                          max_position_embeddings=128, rope_parameters={"rope_type": "default", "rope_theta": 1e4},
                          tie_word_embeddings=rng.random() < 0.5, rms_norm_eps=1e-6)


FAMILIES = {f.__name__: f for f in (gpt2, llama, qwen2, gpt_neox, bloom, opt, t5, phonelm)}
BASE = {"gpt2": "transformer.", "llama": "model.", "qwen2": "model.", "gpt_neox": "gpt_neox.", "bloom": "transformer.",
        "opt": "model.", "t5": "", "phonelm": "model."}


class RoundedRotary(torch.nn.Module):
    """PhoneLM's tables: rounded to int8 by the largest magnitude of the call."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, position_ids):
        def quantise(t):
            scale = t.abs().max()
            return torch.round(t / scale * 127) / 127 * scale if scale > 0 else torch.zeros_like(t)
        cos, sin = self.inner(x, position_ids)
        return quantise(cos), quantise(sin)


def older_config(config, rng):
    """As transformers 4 wrote it: what most of the hub holds."""
    rope_ = config.pop("rope_parameters", None)
    config.pop("layer_types", None)
    if rope_:
        neox = config["model_type"] == "gpt_neox"
        config["rotary_emb_base" if neox else "rope_theta"] = rope_.pop("rope_theta")
        if neox:
            config["rotary_pct"] = rope_.pop("partial_rotary_factor")
        kind = rope_.pop("rope_type")
        config["rope_scaling"] = None if kind == "default" else {rng.choice(["type", "rope_type"]): kind, **rope_}
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    if config["model_type"] == "bloom" and rng.random() < 0.5:
        config["n_embed"] = config.pop("hidden_size")
        if rng.random() < 0.5:
            config["num_attention_heads"] = config.pop("n_head")
    for key in [k for k, v in config.items() if v is None]:
        if rng.random() < 0.5:
            del config[key]
    return config


def awkward(tensor, rng):
    """The same values as a view: transposed strides, or at an offset in a larger storage."""
    if tensor.dim() == 2 and rng.random() < 0.2:
        return tensor.t().contiguous().t()
    if rng.random() < 0.2:
        larger = torch.zeros(tensor.numel() + 5, dtype=tensor.dtype)
        larger[3:3 + tensor.numel()] = tensor.reshape(-1)
        return larger[3:3 + tensor.numel()].view(tensor.shape)
    return tensor


def shards(state, parts, extension, folder, stem):
    from safetensors.torch import save_file
    names, index = list(state), {}
    for part in range(parts):
        file = f"{stem}-{part + 1:05d}-of-{parts:05d}.{extension}"
        piece = {n: state[n] for n in names[part::parts]}
        if extension == "bin":
            torch.save(piece, os.path.join(folder, file))
        else:
            save_file({n: t.clone().contiguous() for n, t in piece.items()}, os.path.join(folder, file), metadata={"format": "pt"})
        index.update({n: file for n in piece})
    with open(os.path.join(folder, f"{stem}.{extension}.index.json"), "w") as out:
        json.dump({"metadata": {"total_size": 1}, "weight_map": index}, out)


def save(model, name, dtype, folder, rng):
    """In one of the containers found on the hub, with what is found in them; returns how to name it."""
    state = {k: v.detach().to(dtype) for k, v in model.state_dict().items()}
    base, what = BASE[name], [str(dtype)[6:]]
    tied = model.config.tie_word_embeddings if name != "t5" else model.config.scale_decoder_outputs
    head = "embed_out.weight" if name == "gpt_neox" else "lm_head.weight"
    if tied and rng.random() < 0.6:
        state.pop(head, None)
        what.append("headless")
    if name == "t5":
        for key in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
            if rng.random() < 0.5:
                state.pop(key, None)
    if base and rng.random() < 0.25 and (tied or name in ("llama", "qwen2", "opt", "phonelm")):
        state = {k.removeprefix(base): v for k, v in state.items()}
        what.append("bare")
    elif name == "gpt2" or name == "gpt_neox":
        for layer in range(model.config.num_hidden_layers):
            where = f"{base}h.{layer}.attn" if name == "gpt2" else f"{base}layers.{layer}.attention"
            state[f"{where}.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
            state[f"{where}.masked_bias"] = torch.tensor(-1e9)
            state[f"{where}.rotary_emb.inv_freq"] = torch.rand(4)
    kind = rng.choice(["safetensors", "safetensors-sharded", "bin", "legacy", "bin-sharded"])
    what.insert(0, kind)
    if kind.startswith("bin") or kind == "legacy":
        state = {k: awkward(v, rng) for k, v in state.items()}
    if kind == "safetensors":
        shards(state, 1, "safetensors", folder, "model")
        os.rename(os.path.join(folder, "model-00001-of-00001.safetensors"), os.path.join(folder, "model.safetensors"))
        os.remove(os.path.join(folder, "model.safetensors.index.json"))
    elif kind == "safetensors-sharded":
        shards(state, rng.randint(1, 4), "safetensors", folder, "model")
    elif kind == "bin-sharded":
        shards(state, rng.randint(1, 4), "bin", folder, "pytorch_model")
    else:
        if rng.random() < 0.5:
            state = type("", (), {}) and __import__("collections").OrderedDict(state)
        torch.save(state, os.path.join(folder, "pytorch_model.bin"), _use_new_zipfile_serialization=kind == "bin")
    model.config.dtype = dtype
    config = json.loads(model.config.to_json_string(use_diff=False))
    for key in ("id2label", "label2id"):
        config.pop(key, None)
    if name == "t5":
        config["tie_word_embeddings"] = tied
        config.pop("scale_decoder_outputs", None)
        if tied and rng.random() < 0.5:
            del config["tie_word_embeddings"]
    if name == "phonelm":
        config["model_type"] = "phonelm"
    if rng.random() < 0.6:
        config = older_config(config, rng)
        what.append("v4")
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out)
    return " ".join(what)


def reference(folder, name, config):
    """The files as AutoModel reads them; an untied T5 head as it is in the file."""
    if name == "phonelm":
        config = hf.LlamaConfig(**{k: v for k, v in config.to_dict().items() if k != "model_type"})
        model = hf.LlamaForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager")
        model.model.rotary_emb = RoundedRotary(model.model.rotary_emb)
    else:
        auto = hf.AutoModelForSeq2SeqLM if name == "t5" else hf.AutoModelForCausalLM
        model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def ask(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr.strip())
    return json.loads(run.stdout)


def join(ids):
    return ",".join(map(str, ids))


def logits_of(model, ids, start):
    with torch.no_grad():
        if start is not None:
            return model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([start]), use_cache=False).logits[0]
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def compare(program, folder, model, name, rng):
    """The largest of the differences, each as a share of what is allowed."""
    vocab = model.config.vocab_size
    limit = getattr(model.config, "max_position_embeddings", 128)
    ids = [rng.randrange(vocab) for _ in range(min(limit, rng.choice([1, 2, 3, 17, 60, 64])))]
    start = [model.config.decoder_start_token_id] + [rng.randrange(vocab) for _ in range(rng.randint(0, 30))] if name == "t5" else None
    scored = start if start else ids
    command = ["-m", folder, "--ids", join(ids)] + (["--decoder-ids", join(start)] if start else [])
    expected = logits_of(model, ids, start)
    got = torch.tensor(ask([program, "logits", *command])["logits"])
    if got.shape != expected[-1].shape:
        return float("inf"), f"{len(got)} logits for {len(expected[-1])}"
    scale = max(1.0, expected.abs().max().item() / 10)
    shares = {"logit": (got - expected[-1]).abs().max().item() / 2e-4 / scale}
    logprobs = ask([program, "logits", "--logprobs", *command])["logprobs"]
    wanted = expected.double().log_softmax(-1)[torch.arange(len(scored) - 1), torch.tensor(scored[1:], dtype=torch.long)].sum().item()
    total = sum(x for x in logprobs if x is not None)
    shares["ll"] = abs(total - wanted) / (3e-4 + 2e-6 * abs(wanted)) / scale
    if name != "phonelm":  # each step rounds its tables anew: what generate() does there is the cache's
        prompt, tokens = ids[:rng.randint(1, 40)], min(12, limit - 40)
        path, new = list(prompt), []
        decoder = [model.config.decoder_start_token_id] if start else None
        out = ask([program, "generate", "-m", folder, "--ids", join(prompt), "-n", str(tokens), "--json", "--ignore-eos"])["ids"]
        for i in range(tokens):
            row = logits_of(model, path, decoder)[-1]
            best = row.topk(2)
            if out[i] != best.indices[0].item():
                shares["greedy"] = float("inf") if (best.values[0] - best.values[1]).item() > 1e-3 * scale else 0
                break
            (decoder if start else path).append(out[i])
    worst = max(shares, key=shares.get)
    return shares[worst], f"{len(ids)} tokens, {worst} at {shares[worst]:.2f} of the bound"


def one(program, name, seed, keep):
    rng = random.Random(f"{name} {seed}")
    torch.manual_seed(seed)
    config = FAMILIES[name](rng, rng.choice([5, 37, 101, 300, 515, 50260]))
    seq2seq = name == "t5"
    untied = seq2seq and not config.scale_decoder_outputs
    model = (hf.AutoModelForSeq2SeqLM if seq2seq else hf.AutoModelForCausalLM).from_config(config, attn_implementation="eager")
    dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16])
    if untied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    with torch.no_grad():  # large enough that attention is far from uniform, so that mistakes show
        for key, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            if parameter.dim() > 1:
                embedding = any(part in key for part in ("embed", "wte", "wpe", "shared", "bias"))
                parameter.copy_(noise if embedding else noise * 1.5 / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_(noise * 0.2 + (0 if key.endswith("bias") else 1))
            parameter.copy_(parameter.to(dtype).float())
    folder = tempfile.mkdtemp(prefix="parity-")
    try:
        what = save(model, name, dtype, folder, rng)
        try:
            with open(os.path.join(folder, "config.json")) as file:
                written = file.read()
            if name == "phonelm":
                with open(os.path.join(folder, "config.json"), "w") as file:
                    file.write(written.replace('"phonelm"', '"llama"'))
            theirs = reference(folder, name, config)
            with open(os.path.join(folder, "config.json"), "w") as file:
                file.write(written)
        except Exception as error:  # nothing to compare with
            return 0, f"{what}: the reference refuses it: {str(error)[:100]!r}"
        share, detail = compare(program, folder, theirs, name, rng)
        return share, f"{what} {detail}"
    except RuntimeError as error:
        return float("inf"), f"{what}: {error}"
    finally:
        if keep:
            print(folder)
        else:
            shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints in the temporary directory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    for round_ in range(arguments.rounds):
        for name in [arguments.family] if arguments.family else FAMILIES:
            seed = arguments.seed * 1000 + round_
            share, what = one(arguments.program, name, seed, arguments.keep)
            failed += not share <= 1
            print(f"{'ok  ' if share <= 1 else 'FAIL'} {name} round {round_} {what}", flush=True)
    print(f"{failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
