#!/usr/bin/env python3
"""Write a Hugging Face checkpoint as GGUF, so that llama.cpp can be measured on it.

    to_gguf.py CHECKPOINT_DIR OUT.gguf

Matrices keep their stored type (f32, f16, bf16), vectors become f32, as llama.cpp's own converter does. Families:
llama, qwen2, gpt2, gpt_neox, bloom. Needs numpy and gguf. llama-quantize makes the quantised types from the result.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np

# config.json's model_type → GGUF architecture, and how llama.cpp's pre-tokenizer for the usual tokenizer is called.
FAMILIES = {
    "llama": (gguf.MODEL_ARCH.LLAMA, "smollm"),
    "qwen2": (gguf.MODEL_ARCH.QWEN2, "qwen2"),
    "gpt2": (gguf.MODEL_ARCH.GPT2, "gpt-2"),
    "gpt_neox": (gguf.MODEL_ARCH.GPTNEOX, "olmo"),
    "bloom": (gguf.MODEL_ARCH.BLOOM, "bloom"),
}
FILE_TYPES = {
    "float32": gguf.LlamaFileType.ALL_F32,
    "float16": gguf.LlamaFileType.MOSTLY_F16,
    "bfloat16": gguf.LlamaFileType.MOSTLY_BF16,
}
STORED = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Config:
    """config.json, with the several names that one number goes by."""

    def __init__(self, directory):
        self.values = json.loads((directory / "config.json").read_text())

    def get(self, *names, default=None):
        for name in names:
            if self.values.get(name) is not None:
                return self.values[name]
        if default is None:
            raise SystemExit(f"config.json: expected one of {', '.join(names)}")
        return default

    @property
    def dim(self):
        return self.get("hidden_size", "n_embd", "n_embed")

    @property
    def layers(self):
        return self.get("num_hidden_layers", "n_layer")

    @property
    def heads(self):
        return self.get("num_attention_heads", "n_head")

    @property
    def kv_heads(self):
        return self.get("num_key_value_heads", default=self.heads)


def read_tensors(directory):
    """Yields (name, dtype name, array); bf16 as uint16."""
    path = directory / "model.safetensors"
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        yield name, entry["dtype"], data[begin:end].view(STORED[entry["dtype"]]).reshape(entry["shape"])


def interleave_rotary(weight, heads):
    """Rows of a head from (first half, second half) to pairs: llama.cpp rotates neighbours for this architecture."""
    rest = weight.shape[1:]
    return weight.reshape(heads, 2, -1, *rest).swapaxes(1, 2).reshape(weight.shape)


def split_fused(weight, heads):
    """Rows of a fused attention weight from head by head (q, k, v) to all q, all k, all v."""
    rest = weight.shape[1:]
    return weight.reshape(heads, 3, -1, *rest).swapaxes(0, 1).reshape(weight.shape)


def rearrange(family, config, name, array):
    if family == "llama" and ("q_proj" in name or "k_proj" in name):
        return interleave_rotary(array, config.heads if "q_proj" in name else config.kv_heads)
    if family in ("gpt_neox", "bloom") and "query_key_value" in name:
        return split_fused(array, config.heads)
    if family == "gpt2" and array.ndim == 2 and any(part in name for part in ("c_attn", "c_proj", "c_fc")):
        return array.T
    return array


def add_tensor(writer, name, dtype, array):
    array = np.ascontiguousarray(array)
    if array.ndim == 1:
        if dtype == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        writer.add_tensor(name, array.astype(np.float32))
    elif dtype == "BF16":
        writer.add_tensor(name, array.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, array)


def add_shape(writer, family, config):
    writer.add_context_length(config.get("max_position_embeddings", "n_positions", default=2048))
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.get("intermediate_size", "n_inner", default=4 * config.dim))
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_vocab_size(config.get("vocab_size"))
    if family in ("llama", "qwen2"):
        writer.add_layer_norm_rms_eps(config.get("rms_norm_eps"))
        writer.add_rope_freq_base(config.get("rope_theta"))
        writer.add_rope_dimension_count(config.dim // config.heads)
    else:
        writer.add_layer_norm_eps(config.get("layer_norm_eps", "layer_norm_epsilon"))
    if family == "gpt_neox":
        writer.add_rope_dimension_count(int(config.dim // config.heads * config.get("rotary_pct", default=0.25)))
        writer.add_parallel_residual(config.get("use_parallel_residual", default=True))


def add_tokenizer(writer, directory, config, pre):
    path = directory / "tokenizer.json"
    if not path.exists():
        writer.add_tokenizer_model("no_vocab")
        return
    tokenizer = json.loads(path.read_text())
    model = tokenizer["model"]
    size = config.get("vocab_size")
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [gguf.TokenType.UNUSED] * size
    for token, index in model["vocab"].items():
        if index < size:
            tokens[index], kinds[index] = token, gguf.TokenType.NORMAL
    for added in tokenizer.get("added_tokens", []):
        if added["id"] < size:
            tokens[added["id"]] = added["content"]
            kinds[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    if model.get("byte_fallback"):  # SentencePiece's BPE: merges are an order of scores
        for index, token in enumerate(tokens):
            if len(token) == 6 and token.startswith("<0x"):
                kinds[index] = gguf.TokenType.BYTE
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(index) for index in range(size)])
    else:
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges(merges)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(config.get("bos_token_id", default=0))
    writer.add_eos_token_id(config.get("eos_token_id", default=0))
    writer.add_add_bos_token(bool(model.get("byte_fallback")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()
    config = Config(arguments.checkpoint)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise SystemExit(f"{family}: llama.cpp's side of this comparison knows {', '.join(FAMILIES)}")
    architecture, pre = FAMILIES[family]
    names = gguf.get_tensor_name_map(architecture, config.layers)
    writer = gguf.GGUFWriter(str(arguments.out), gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_file_type(FILE_TYPES[config.get("torch_dtype", "dtype", default="float32")])
    add_shape(writer, family, config)
    add_tokenizer(writer, arguments.checkpoint, config, pre)
    for name, dtype, array in read_tensors(arguments.checkpoint):
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise SystemExit(f"{name}: llama.cpp has no name for this tensor")
        add_tensor(writer, target, dtype, rearrange(family, config, name, array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
