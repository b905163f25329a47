"""Questions of a task, asked by log-likelihood: through `tinyllm run`, llama-perplexity and PyTorch."""
import json
import shutil
import statistics
import struct

import measure

REPETITIONS = 3  # runs of ours in a round: they are short


def rows_of(data_dir, task):
    """The file of a task's rows: the validation split, whichever split the task asks by itself."""
    return data_dir / task / "validation.jsonl"


def read_requests(tinyllm, task, data_dir, count):
    """The requests of the first rows, as tinyllm renders them: a list of {"context", "continuation"} for each."""
    questions = []
    for row in range(count):
        out = measure.run([tinyllm, "tasks", task, "--data", rows_of(data_dir, task), "--row", row, "--json"])
        questions.append(json.loads(out)["loglikelihood"]["requests"])
    return questions


def run_cell(tinyllm, model, work, arguments):
    """One cell through the whole program; returns its measures by name."""
    out = work / "cell"
    shutil.rmtree(out, ignore_errors=True)
    measure.run([tinyllm, "run", "-m", model, *arguments, "-o", out])
    cell, = json.loads(measure.run([tinyllm, "report", out, "--format", "json"]))["cells"]
    if not cell["done"]:
        raise measure.Failure(f"tinyllm run: the cell did not end: {cell['reason']}")
    return {entry["name"]: entry["value"] for entry in cell["measures"]}


def our_rate(tinyllm, model, work, task, data_dir, count, options):
    """Questions per second of the evaluation, storing included, loading not; and tokens computed for a question."""
    arguments = ["-t", task, "--data", rows_of(data_dir, task), "--protocol", "loglikelihood", "--batched",
                 "--limit", count, *options]
    cells = [run_cell(tinyllm, model, work, arguments) for _ in range(REPETITIONS)]
    return count / statistics.median(cell["evaluation_s"] for cell in cells), cells[0]["tokens_computed"] / count


def our_loglikelihoods(tinyllm, model, questions, options):
    lines = "".join(json.dumps(request) + "\n" for requests in questions for request in requests)
    out = measure.run([tinyllm, "score", "-m", model, *options], lines)
    return [json.loads(line)["loglikelihood"] for line in out.splitlines()]


def fits_multiple_choice(questions):
    """llama-perplexity's format has one context for all choices, and puts a space between."""
    return all(request["context"] == requests[0]["context"] and request["continuation"].startswith(" ")
               for requests in questions for request in requests)


def multiple_choice_file(questions):
    """The binary file that llama-perplexity --multiple-choice reads: how many questions, where each begins, then each
    with its answers, twice (the right ones alone, and all). Which answer is marked right does not matter here."""

    def string(text):
        data = text.encode()
        return struct.pack("<I", len(data)) + data

    tasks = []
    for requests in questions:
        texts = [request["continuation"][1:] for request in requests]
        answers = struct.pack("<I", len(texts)) + b"".join(map(string, texts))
        answers += b"".join(struct.pack("<i", i == 0) for i in range(len(texts)))
        tasks.append(string(requests[0]["context"]) + answers * 2)
    positions, at = [], 4 + 4 * len(tasks)
    for task in tasks:
        positions.append(at)
        at += len(task)
    return struct.pack(f"<{1 + len(tasks)}I", len(tasks), *positions) + b"".join(tasks)


def llama_command(prefix, gguf, threads, path):
    """With room for eight sequences of 256 tokens: a larger cache makes it slower, since it attends to all of it."""
    return [*prefix, "llama-perplexity", "-m", gguf, "-t", threads, "-c", 256, "-np", 8, "-bf", path,
            "--multiple-choice"]


def llama_rate(prefix, gguf, threads, path, count):
    """Questions per second between its own lines at the begin and at the end of scoring: it has loaded, warmed up and
    tokenized everything by then."""
    seconds, lines = measure.seconds_between(llama_command(prefix, gguf, threads, path),
                                             r"calculating .* score over", "Final result")
    if not any(line.split()[:1] == [str(count)] for line in lines):
        raise measure.Failure("llama-perplexity: no line about the last question")
    return count / seconds


def pairs(tinyllm, model, questions):
    """(context ids, continuation ids) of every choice, split where the context's own tokens end."""
    requests = [request for requests in questions for request in requests]
    contexts = measure.tokenize(tinyllm, model, [request["context"] for request in requests])
    wholes = measure.tokenize(tinyllm, model, [request["context"] + request["continuation"] for request in requests])
    return [(context, whole[len(context):]) for context, whole in zip(contexts, wholes)]


def check_same_work(ours, theirs):
    """At f32 both must have computed the same thing, or the comparison means nothing."""
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    if worst > 0.01:
        raise measure.Failure(f"tinyllm and PyTorch disagree by {worst:.3f} on a log-likelihood")
