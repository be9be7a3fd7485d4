"""Shows what has been found out about a generator as a table, with the option that sets each line."""

from training.packing.conversion import Converted
from training.packing.options import Range
from training.packing.plan import Plan

_RANGES: dict[Range, str] = {"-1..1": "-1 … 1", "0..1": "0 … 1", "0..255": "0 … 255"}
_MOST_NAMES = 10


def describe_inputs(plan: Plan) -> dict[str, str]:
    """Returns what each input of the generator's own graph takes."""
    inputs = plan.inputs
    described = {inputs.noise.name: f"noise {_sizes(inputs.noise.has_batch, inputs.noise.shape)} {inputs.noise.dtype}"}
    if inputs.label is not None:
        label = inputs.label
        described[label.name] = f"label as {label.form} {_sizes(label.has_batch, label.shape)} {label.dtype}"
    if inputs.truncation is not None:
        described[inputs.truncation.name] = f"truncation {inputs.truncation.dtype}"
    described |= {
        layer.name: f"noise of a layer [{layer.height}, {layer.width}], constant" for layer in inputs.layer_noise
    }
    return described


def describe_output(plan: Plan) -> str:
    """Returns what the generator's own graph returns."""
    output = plan.output
    return f"{output.name} {_sizes(output.has_batch, output.shape)} {output.dtype}, {_RANGES[output.value_range]}"


def table(converted: Converted, name: str, form: str, opset: int, seed: int | None) -> str:
    """Returns the table of what was found, one line each: what, how it was read, the option that sets it."""
    plan = converted.plan
    inputs, output, image = plan.inputs, plan.output, plan.output.image
    low, high = output.seen
    truncation = "scales the noise" if inputs.truncation is None else f"input {inputs.truncation.name}"
    if inputs.truncation is not None and plan.truncation_shape is None:
        truncation += ", one number"
    rows = [
        ("file", f"{name}: {form}, opset {opset}, {converted.precision}", ""),
        (
            "noise",
            f"{inputs.noise.name} {_sizes(inputs.noise.has_batch, inputs.noise.shape)}",
            "--noise, --noise-shape",
        ),
        ("label", _label(plan), "--label, --labels"),
        ("truncation", truncation, "--truncation"),
        ("output", f"{output.name} {_sizes(output.has_batch, output.shape)} {output.dtype}", "--output"),
        ("image", f"{image.height} × {image.width}, {_CHANNELS[image.channels]}, {output.layout.upper()}", "--layout"),
        ("range", f"{_RANGES[output.value_range]} (seen: {low:.3g} … {high:.3g})", "--range"),
        ("random", _frozen(converted, seed), "--freeze-random"),
        ("batch", _batch(plan), ""),
        ("check", _check(converted), ""),
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{what:{widths[0]}}  {found:{widths[1]}}  {option}".rstrip() for what, found, option in rows)


_CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}


def _label(plan: Plan) -> str:
    if plan.inputs.label is None or plan.labels is None:
        return "none"
    names = ", ".join(plan.labels[:_MOST_NAMES]) + (", …" if len(plan.labels) > _MOST_NAMES else "")
    return f"{plan.inputs.label.name}, {plan.inputs.label.form}, {len(plan.labels)} labels: {names}"


def _batch(plan: Plan) -> str:
    if plan.batch is None:
        return "any"
    if not plan.inputs.noise.has_batch:
        return "1 only: the graph takes the noise of one image"
    return f"{plan.batch} only: the graph does not run, or gives other images, in another size"


def _frozen(converted: Converted, seed: int | None) -> str:
    if not converted.frozen:
        return "none"
    names = ", ".join(converted.frozen[:3]) + (", …" if len(converted.frozen) > 3 else "")
    return f"{len(converted.frozen)} made constant with seed {seed or 0}: {names}"


def _check(converted: Converted) -> str:
    sizes = ", ".join(map(str, converted.parity.batch_sizes))
    return f"largest difference from single images {converted.parity.max_difference} of 255, in batches of {sizes}"


def _sizes(has_batch: bool, shape: tuple[int, ...]) -> str:
    return f"[{', '.join((['N'] if has_batch else []) + [str(size) for size in shape])}]"
