"""The figures this project set itself, and whether a measurement meets them."""
import measure

# dtype → how many times llama.cpp at the same stored type.
PREFILL = {"f32": 1.25, "bf16": 1.6, "q8": 3.0, "q4": 2.0}
DECODE = {"f32": 1.0, "bf16": 1.0, "q8": 1.4, "q4": 1.3}
QUESTIONS = {"bf16": 2.0, "q8": 3.5}
# dtype → percent of the ceiling of its products, at 128 tokens.
PREFILL_SHARE = {"f32": 75, "bf16": 70, "q8": 50}
DECODE_SHARE = {"f32": 85, "bf16": 85}
QUESTIONS_TORCH = 4.0
STUDY_TORCH = 2.0
LOAD = 2.0  # times sooner, Qwen2.5-0.5B at bf16, warm
INTERFERENCE = 40  # percent of the undisturbed speed


def parse_factors(text):
    """"f32=3.4,bf16=2.4" → {"f32": 3.4, "bf16": 2.4}; every type that is not named: 1."""
    factors = dict.fromkeys(PREFILL, 1.0)
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        if name not in factors:
            raise measure.Failure(f"--native-factor {word}: expected one of {', '.join(factors)} before '='")
        try:
            factors[name] = float(value)
        except ValueError as error:
            raise measure.Failure(f"--native-factor {word}: expected a number after '='") from error
    return factors


class Verdict:
    """The goals of one row of a table, and which of them its figures meet."""

    def __init__(self):
        self.goals, self.met = [], []

    def at_least(self, value, goal, unit, factor=1.0):
        """`value` None: not measured, so not judged. With a factor the goal is that many times larger."""
        if goal is None or value is None:
            return self
        shown = f"{goal:g}" if factor == 1 else f"{goal:g} × {factor:g} = {goal * factor:.3g}"
        self.goals.append(f"≥ {shown} {unit}")
        self.met.append(value >= goal * factor)
        return self

    def at_most(self, value, goal, unit):
        if goal is None or value is None:
            return self
        self.goals.append(f"≤ {measure.short(goal)} {unit}")
        self.met.append(value <= goal)
        return self

    def cells(self):
        return "; ".join(self.goals), "; ".join("yes" if met else "**no**" for met in self.met)
