#!/usr/bin/env python3
"""Makes the demo: two small multiple-choice tasks of the project's own writing, and three tiny models that learned them.

    python3 tools/make_demo.py [--models NAME,…] [--minutes M] [--only-data]

Needs PyTorch, transformers and tokenizers; users never run it, they get its committed result in demo/.

The world is a table of animals and the numbers from zero to twenty. Each fact can be asked in three wordings; one
wording of each fact (and a quarter of the number pairs) is never seen in training and makes the validation split, so
that a model has to have learned the fact, not the sentence.
"""
import argparse
import json
import math
import os
import random
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "demo")

# name: kind, home, food, legs, cover
ANIMALS = """
cow: mammal, farm, grass, four, fur
sheep: mammal, farm, grass, four, wool
goat: mammal, farm, leaves, four, fur
horse: mammal, farm, grass, four, fur
pig: mammal, farm, roots, four, skin
hen: bird, farm, seeds, two, feathers
duck: bird, lake, seeds, two, feathers
swan: bird, lake, grass, two, feathers
frog: amphibian, lake, insects, four, skin
newt: amphibian, lake, insects, four, skin
trout: fish, river, insects, zero, scales
salmon: fish, river, fish, zero, scales
otter: mammal, river, fish, four, fur
beaver: mammal, river, leaves, four, fur
crocodile: reptile, river, meat, four, scales
shark: fish, sea, fish, zero, skin
tuna: fish, sea, fish, zero, scales
whale: mammal, sea, fish, zero, skin
seal: mammal, sea, fish, zero, fur
crab: crustacean, sea, roots, ten, shell
lobster: crustacean, sea, fish, ten, shell
turtle: reptile, sea, grass, four, shell
gull: bird, sea, fish, two, feathers
penguin: bird, ice, fish, two, feathers
walrus: mammal, ice, fish, zero, skin
camel: mammal, desert, leaves, four, fur
lizard: reptile, desert, insects, four, scales
viper: reptile, desert, meat, zero, scales
scorpion: arachnid, desert, insects, eight, shell
tortoise: reptile, desert, grass, four, shell
robin: bird, garden, insects, two, feathers
sparrow: bird, garden, seeds, two, feathers
snail: mollusc, garden, leaves, zero, shell
bee: insect, garden, nectar, six, hair
ant: insect, garden, seeds, six, shell
butterfly: insect, garden, nectar, six, scales
spider: arachnid, garden, insects, eight, hair
mole: mammal, garden, insects, four, fur
wolf: mammal, forest, meat, four, fur
deer: mammal, forest, leaves, four, fur
owl: bird, forest, meat, two, feathers
squirrel: mammal, forest, seeds, four, fur
beetle: insect, forest, leaves, six, shell
tiger: mammal, jungle, meat, four, fur
parrot: bird, jungle, fruit, two, feathers
monkey: mammal, jungle, fruit, four, fur
python: reptile, jungle, meat, zero, scales
gorilla: mammal, jungle, leaves, four, fur
"""
# For each attribute three wordings of its question.
WORDINGS = {
    "kind": ["What kind of animal is the {}?", "To which group does the {} belong?", "The {} is a sort of what?"],
    "home": ["Where does the {} live?", "In which place is the {} at home?", "Where would you look for the {}?"],
    "food": ["What does the {} eat?", "Which food does the {} like?", "What would you feed the {}?"],
    "legs": ["How many legs does the {} have?", "On how many legs does the {} walk?", "What is the number of legs of the {}?"],
    "cover": ["What covers the body of the {}?", "What would you feel when you touch the {}?", "The outside of the {} is made of what?"],
}
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty""".split()
COMPARISONS = {"more": ["Is {} more than {}?", "Is {} greater than {}?"], "less": ["Is {} less than {}?", "Is {} smaller than {}?"]}
LETTERS = "ABCD"

# The study's own prompt, so that the letter protocols ask in the words the models know.
STUDY = ("Answer the following multiple choice question by giving the most appropriate response. Answer should be one "
         "among [{letters}].\n\n{prompt}\n{options}\n\nAnswer:")


def animals(rng):
    """Yields (split, question, options, gold index) for every fact and wording, options drawn anew at each call."""
    table = {}
    for line in ANIMALS.strip().splitlines():
        name, rest = line.split(": ")
        table[name] = dict(zip(WORDINGS, rest.split(", ")))
    values = {a: sorted({row[a] for row in table.values()}) for a in WORDINGS}
    for i, (name, row) in enumerate(sorted(table.items())):
        for j, (attribute, wordings) in enumerate(WORDINGS.items()):
            held_out = (i + j) % len(wordings)
            for k, wording in enumerate(wordings):
                wrong = rng.sample([v for v in values[attribute] if v != row[attribute]], 3)
                options = wrong + [row[attribute]]
                rng.shuffle(options)
                yield ("validation" if k == held_out else "train", wording.format(name), options,
                       options.index(row[attribute]))


def numbers(rng):
    """Yields (split, question, [No, Yes], gold index) for every pair of different numbers."""
    for a in range(len(NUMBERS)):
        for b in range(len(NUMBERS)):
            if a == b:
                continue
            split = "validation" if (a * 7 + b * 3) % 4 == 0 else "train"
            for sense, wordings in COMPARISONS.items():
                truth = (a > b) == (sense == "more")
                for wording in wordings:
                    yield split, wording.format(NUMBERS[a], NUMBERS[b]), ["No", "Yes"], int(truth)


def write_data():
    rng = random.Random(1)
    for task, source, most in (("demo_animals", animals, 240), ("demo_numbers", numbers, 200)):
        rows = {"train": [], "validation": []}
        for split, question, options, gold in source(rng):
            row = {"question": question, "choices": options, "answer": gold}
            rows[split].append(row)
        for split, items in rows.items():
            rng.shuffle(items)
            folder = os.path.join(ROOT, "data", task)
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, split + ".jsonl"), "w") as out:
                for i, row in enumerate(items[:most]):
                    out.write(json.dumps({"id": f"{task}-{split}-{i}", **row}) + "\n")


def ask(question, options):
    lines = "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, options))
    return STUDY.format(letters=", ".join(LETTERS[:len(options)]), prompt="Question: " + question, options=lines)


def batch_texts(rng, size):
    """Training texts as (prompt, answer): half asked by letter, half answered in words; split train only."""
    pool = {True: [x for x in animals(rng) if x[0] == "train"], False: [x for x in numbers(rng) if x[0] == "train"]}
    texts = []
    for _ in range(size):
        _, question, options, gold = rng.choice(pool[rng.random() < 0.7])
        kind = rng.random()
        if kind < 0.45:
            texts.append((ask(question, options), " " + LETTERS[gold]))
        elif kind < 0.65:  # without the instruction: shorter, and learned from as well
            texts.append((ask(question, options).split("\n\n", 1)[1], " " + LETTERS[gold]))
        else:
            texts.append((f"Question: {question}\nAnswer:", " " + options[gold]))
    return texts


def make_tokenizer(vocab):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(2)
    texts = [p + a for _ in range(4) for p, a in batch_texts(rng, 2000)]
    # Words first: every option as a word of its own, so that an answer is one token.
    words = sorted({w for _, _, o, _ in animals(rng) for w in o} | set(NUMBERS) | {"No", "Yes", "A", "B", "C", "D"})
    texts += [" " + w for w in words for _ in range(400)]
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def make_model(name, vocab):
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
    common = dict(vocab_size=vocab, bos_token_id=0, eos_token_id=0)
    if name == "demo-gpt2-200k":
        return GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=3, initializer_range=0.1, n_head=4, n_positions=256, resid_pdrop=0, embd_pdrop=0,
                                          attn_pdrop=0, **common))
    dim, layers, heads, ffn = {"demo-llama-200k": (64, 3, 4, 176), "demo-llama-700k": (120, 4, 6, 320)}[name]
    return LlamaForCausalLM(LlamaConfig(hidden_size=dim, num_hidden_layers=layers, num_attention_heads=heads,
                                        num_key_value_heads=2, intermediate_size=ffn, tie_word_embeddings=True,
                                        max_position_embeddings=256, rms_norm_eps=1e-5, **common))


def encode(tokenizer, texts, torch):
    """Right-padded ids, and weights: 1 on the answer, a little on the rest of the text."""
    rows = []
    for prompt, answer in texts:
        p, a = tokenizer.encode(prompt).ids, tokenizer.encode(answer).ids
        rows.append((p + a, [0.02] * len(p) + [1.0] * len(a)))
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([r + [0] * (longest - len(r)) for r, _ in rows])
    weights = torch.tensor([w + [0.0] * (longest - len(w)) for _, w in rows])
    return ids, weights


def evaluate(model, tokenizer, torch):
    letters = [tokenizer.encode(" " + letter).ids[-1] for letter in LETTERS]
    scores = {}
    model.eval()
    for task in ("demo_animals", "demo_numbers"):
        right = total = 0
        with open(os.path.join(ROOT, "data", task, "validation.jsonl")) as rows, torch.no_grad():
            for row in map(json.loads, rows):
                ids = tokenizer.encode(ask(row["question"], row["choices"])).ids
                logits = model(torch.tensor([ids])).logits[0, -1][letters[:len(row["choices"])]]
                right += int(logits.argmax()) == row["answer"]
                total += 1
        scores[task] = round(100 * right / total, 1)
    model.train()
    return scores


def train(name, tokenizer, minutes):
    import torch
    torch.manual_seed(3)
    rng = random.Random(4)
    model = make_model(name, tokenizer.get_vocab_size())
    count = sum(p.numel() for p in model.parameters())
    print(name, count, "parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1, betas=(0.9, 0.98), weight_decay=0.01)
    start, step = time.time(), 0
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        rate = 4e-3 * min(1, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate * (64 / 120 + 0.4 if "700k" in name else 1)
        ids, weights = encode(tokenizer, batch_texts_cached(rng), torch)
        logits = model(ids).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        loss = (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0:
            print(f"  step {step} {time.time() - start:.0f} s loss {loss.item():.3f} {evaluate(model, tokenizer, torch)}", flush=True)
        step += 1
    save(model, name, tokenizer, torch)
    print(" ", name, step, "steps", evaluate(model, tokenizer, torch), flush=True)


CACHE = []


def batch_texts_cached(rng):
    """Batches out of pools of 4096 texts, each pool with its options drawn anew."""
    if len(CACHE) < 64:
        CACHE.extend(batch_texts(rng, 4096))
    return [CACHE.pop() for _ in range(64)]


def save(model, name, tokenizer, torch):
    folder = os.path.join(ROOT, "models", name)
    os.makedirs(folder, exist_ok=True)
    if model.num_parameters() * 4 > 1_400_000:
        model = model.to(torch.bfloat16)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as out:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 256,
                   "clean_up_tokenization_spaces": False}, out, indent=2)
        out.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="demo-gpt2-200k,demo-llama-200k,demo-llama-700k")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--only-data", action="store_true")
    arguments = parser.parse_args()
    write_data()
    if not arguments.only_data:
        tokenizer = make_tokenizer(640)
        for name in arguments.models.split(","):
            train(name, tokenizer, arguments.minutes)


if __name__ == "__main__":
    main()
