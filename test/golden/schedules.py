"""Writes test/golden/schedules.json: the values of other libraries' schedulers, step by step.

    pip install torch==2.13.0 optax==0.2.8 transformers==5.18.0 mpmath
    python test/golden/schedules.py

The versions that wrote the file are in it. lr is 1, so that a learning rate is a multiplier, in float64.
"""

import json
import math
import pathlib
import warnings

import jax

jax.config.update("jax_enable_x64", True)
import mpmath
import numpy as np
import optax
import torch
import torch.optim.lr_scheduler as schedulers
import transformers
import transformers.optimization as hugging_face

# The schedulers step without an optimizer step, which warns.
warnings.filterwarnings("ignore", category=UserWarning)


def call(name, *args):
    """Returns a call of ours as data: arguments are options, lists, and calls."""
    return {"call": name, "args": list(args)}


def optimizer(lr=1.0, **options):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=lr, **options)


def follow(make, steps):
    """Returns the learning rates of a torch scheduler, and the beta1 at each."""
    adamw = optimizer()
    scheduler = make(adamw)
    group = adamw.param_groups[0]
    rates, betas = [], []
    for step in range(steps):
        rates.append(float(group["lr"]))
        betas.append(float(group["betas"][0]))
        adamw.step()
        if step + 1 < steps:
            scheduler.step()
    return rates, betas


cases = []


def case(ours, source, values, **more):
    cases.append({**ours, "source": source, "values": [float(value) for value in values], **more})


def snake(name):
    # Names that differ in PyTorch. With an lr of 1, a fraction of lr equals an absolute lr.
    special = {"tMax": "T_max", "t0": "T_0", "tMult": "T_mult", "minLrRate": "eta_min"}
    return special.get(name, "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name))


def of_torch(name, theirs, steps, **options):
    arguments = {snake(key): value for key, value in options.items()}
    make = lambda adamw: getattr(schedulers, theirs)(adamw, **arguments)
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    case(call(name, options), f"torch {theirs}({text})", follow(make, steps)[0])


of_torch("constant", "ConstantLR", 12)
of_torch("constant", "ConstantLR", 12, factor=0.25, totalIters=8)
of_torch("linear", "LinearLR", 12)
of_torch("linear", "LinearLR", 60, startFactor=0.01, endFactor=0.7, totalIters=50)
of_torch("linear", "LinearLR", 30, startFactor=1.0, endFactor=0.0, totalIters=20)
of_torch("cosineAnnealing", "CosineAnnealingLR", 50, tMax=10)
of_torch("cosineAnnealing", "CosineAnnealingLR", 70, tMax=23, minLrRate=0.05)
of_torch("cosineAnnealing", "CosineAnnealingLR", 250, tMax=100, minLrRate=0.3)
of_torch("cosineAnnealing", "CosineAnnealingLR", 5, tMax=1)
of_torch("cosineAnnealingWarmRestarts", "CosineAnnealingWarmRestarts", 40, t0=7)
of_torch("cosineAnnealingWarmRestarts", "CosineAnnealingWarmRestarts", 100, t0=3, tMult=2, minLrRate=0.01)
of_torch("cosineAnnealingWarmRestarts", "CosineAnnealingWarmRestarts", 130, t0=1, tMult=3)
of_torch("polynomial", "PolynomialLR", 10)
of_torch("polynomial", "PolynomialLR", 60, totalIters=50, power=2)
of_torch("polynomial", "PolynomialLR", 60, totalIters=50, power=0.9)
of_torch("exponential", "ExponentialLR", 120, gamma=0.95)
of_torch("step", "StepLR", 50, stepSize=7)
of_torch("step", "StepLR", 50, stepSize=1, gamma=0.5)
of_torch("multiStep", "MultiStepLR", 60, milestones=[30, 50])
of_torch("multiStep", "MultiStepLR", 30, milestones=[20, 3, 8, 8, 0], gamma=0.5)

for options in (
    {"totalSteps": 50},
    {"totalSteps": 10, "pctStart": 0.25, "divFactor": 4.0, "finalDivFactor": 100.0},
    {"totalSteps": 60, "annealStrategy": "linear", "baseMomentum": 0.7, "maxMomentum": 0.9},
    {"totalSteps": 50, "threePhase": True},
    {"totalSteps": 37, "threePhase": True, "pctStart": 0.6, "annealStrategy": "linear"},
    {"totalSteps": 30, "pctStart": 0.0},
    {"totalSteps": 30, "pctStart": 1.0},
    {"totalSteps": 30, "pctStart": 0.01},
    {"totalSteps": 1},
):
    arguments = {snake(key): value for key, value in options.items()}
    make = lambda adamw: schedulers.OneCycleLR(adamw, max_lr=1.0, **arguments)
    rates, betas = follow(make, options["totalSteps"])
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    case(call("oneCycle", options), f"torch OneCycleLR(max_lr=1, {text})", rates, beta1=betas)

chain = lambda adamw: schedulers.ChainedScheduler(
    [schedulers.LinearLR(adamw, 0.1, 1.0, 8), schedulers.ExponentialLR(adamw, 0.9), schedulers.MultiStepLR(adamw, [12])]
)
case(
    call(
        "chained",
        call("linear", {"startFactor": 0.1, "totalIters": 8}),
        call("exponential", {"gamma": 0.9}),
        call("multiStep", {"milestones": [12]}),
    ),
    "torch ChainedScheduler([LinearLR(0.1, 1.0, 8), ExponentialLR(0.9), MultiStepLR([12])])",
    follow(chain, 30)[0],
)
sequence = lambda adamw: schedulers.SequentialLR(
    adamw,
    [
        schedulers.LinearLR(adamw, 0.1, 1.0, 6),
        schedulers.CosineAnnealingLR(adamw, 20),
        schedulers.ExponentialLR(adamw, 0.9),
    ],
    [6, 26],
)
case(
    call(
        "sequential",
        [
            call("linear", {"startFactor": 0.1, "totalIters": 6}),
            call("cosineAnnealing", {"tMax": 20}),
            call("exponential", {"gamma": 0.9}),
        ],
        [6, 26],
    ),
    "torch SequentialLR([LinearLR(0.1, 1.0, 6), CosineAnnealingLR(20), ExponentialLR(0.9)], [6, 26])",
    follow(sequence, 40)[0],
)
joined = optax.join_schedules([optax.linear_schedule(0.0, 1.0, 5), optax.cosine_decay_schedule(1.0, 15, 0.1)], [5])
case(
    call(
        "sequential",
        [call("linearWarmup", {"totalIters": 5}), call("cosineDecay", {"decaySteps": 15, "alpha": 0.1})],
        [5],
    ),
    "optax join_schedules([linear_schedule(0, 1, 5), cosine_decay_schedule(1, 15, 0.1)], [5])",
    [joined(step) for step in range(25)],
)

for options in ({"decaySteps": 20}, {"decaySteps": 33, "alpha": 0.1}, {"decaySteps": 20, "alpha": 0.2, "exponent": 1.5}):
    arguments = {snake(key): value for key, value in options.items()}
    theirs = optax.cosine_decay_schedule(1.0, **arguments)
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    values = [theirs(step) for step in range(options["decaySteps"] + 8)]
    case(call("cosineDecay", options), f"optax cosine_decay_schedule(1, {text})", values)


def of_hugging_face(ours, name, steps, **arguments):
    make = lambda adamw: getattr(hugging_face, name)(adamw, **arguments)
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    case(ours, f"transformers {name}({text})", follow(make, steps)[0])


for warmup, timescale in ((10, None), (0, None), (5, 30), (8, 3)):
    more = {} if timescale is None else {"timescale": timescale}
    of_hugging_face(
        call("inverseSqrt", {"warmupSteps": warmup, **more}),
        "get_inverse_sqrt_schedule",
        60,
        num_warmup_steps=warmup,
        **more,
    )
for warmup, stable, decay, more in (
    (10, 20, 15, {}),
    (0, 5, 10, {"decay_type": "linear", "min_lr_ratio": 0.1}),
    (8, 0, 12, {"decay_type": "1-sqrt", "warmup_type": "cosine", "min_lr_ratio": 0.05}),
    (9, 4, 0, {"warmup_type": "1-sqrt"}),
    (3, 4, 30, {"num_cycles": 1.5, "min_lr_ratio": 0.2}),
):
    names = {"decay_type": "decayType", "warmup_type": "warmupType", "min_lr_ratio": "minLrRatio", "num_cycles": "numCycles"}
    ours = {names[key]: value for key, value in more.items()}
    of_hugging_face(
        call("warmupStableDecay", {"warmupSteps": warmup, "stableSteps": stable, "decaySteps": decay, **ours}),
        "get_wsd_schedule",
        60,
        num_warmup_steps=warmup,
        num_stable_steps=stable,
        num_decay_steps=decay,
        **more,
    )
of_hugging_face(
    call("linearWarmup", {"totalIters": 7}), "get_constant_schedule_with_warmup", 12, num_warmup_steps=7
)
of_hugging_face(
    call("linearWarmup", {"totalIters": 7}, call("cosineDecay", {"decaySteps": 30})),
    "get_cosine_schedule_with_warmup",
    37,
    num_warmup_steps=7,
    num_training_steps=37,
)
of_hugging_face(
    call("linearWarmup", {"totalIters": 0}, call("linear", {"startFactor": 1, "endFactor": 0, "totalIters": 25})),
    "get_linear_schedule_with_warmup",
    30,
    num_warmup_steps=0,
    num_training_steps=25,
)

# reduceOnPlateau: metrics, and after each the lr and the counters.
random = np.random.default_rng(5)
falling = [float(np.float32(1 / (1 + 0.3 * t) + 0.2 * random.standard_normal())) for t in range(60)]
plateaus = []
for options, metrics in (
    ({}, falling),
    ({"patience": 0, "factor": 0.5}, falling),
    ({"patience": 2, "cooldown": 3, "factor": 0.3, "minLrRate": 0.01}, falling),
    ({"patience": 1, "factor": 0.7, "thresholdMode": "abs", "threshold": 0.05}, falling),
    ({"mode": "max", "patience": 2, "factor": 0.5}, [-metric for metric in falling]),
    ({"mode": "max", "patience": 1, "thresholdMode": "abs", "threshold": 0.01, "cooldown": 1}, falling),
    ({"patience": 1, "factor": 0.5, "minReduction": 0.1}, [1.0] * 20),
    ({"patience": 1, "factor": 0.5}, [None, None, None, 2.0, None, 1.0, None, None, 1.0]),
):
    adamw = optimizer()
    names = {"thresholdMode": "threshold_mode", "minLrRate": "min_lr", "minReduction": "eps"}
    arguments = {names.get(key, key): value for key, value in options.items()}
    scheduler = schedulers.ReduceLROnPlateau(adamw, **arguments)
    states = []
    for metric in metrics:
        # null stands for NaN, which JSON does not have.
        scheduler.step(math.nan if metric is None else metric)
        best = scheduler.best if math.isfinite(scheduler.best) else None
        counters = [scheduler.num_bad_epochs, scheduler.cooldown_counter, scheduler.last_epoch]
        states.append([best, *counters, float(adamw.param_groups[0]["lr"])])
    text = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    plateaus.append({"options": options, "source": f"torch ReduceLROnPlateau({text})", "metrics": metrics, "states": states})


def train(dtype, length=5, steps=50):
    """Trains AdamW with OneCycleLR and returns the parameters after every tenth step."""
    random = np.random.default_rng(7)
    init = random.standard_normal(length).astype(np.float32)
    grads = random.standard_normal((steps, length)).astype(np.float32)
    weight = torch.nn.Parameter(torch.tensor(init, dtype=dtype))
    adamw = torch.optim.AdamW([weight], lr=0.05, betas=(0.9, 0.99), weight_decay=0.1)
    scheduler = schedulers.OneCycleLR(adamw, max_lr=0.05, total_steps=steps)
    params = {}
    for step in range(1, steps + 1):
        weight.grad = torch.tensor(grads[step - 1], dtype=dtype)
        adamw.step()
        if step < steps:
            scheduler.step()
        if step % 10 == 0:
            params[step] = weight.detach().double().tolist()
    return init.astype(float).tolist(), grads.astype(float).tolist(), params


init, grads, params64 = train(torch.float64)
training = {
    "source": "torch AdamW(lr=0.05, betas=(0.9, 0.99), weight_decay=0.1), OneCycleLR(max_lr=0.05, total_steps=50)",
    "init": init,
    "grads": grads,
    "params": train(torch.float32)[2],
    "params64": params64,
}

# The nearest number to cos(pi*x).
mpmath.mp.prec = 200
xs = [k / 64 for k in range(0, 257)] + [float(x) for x in random.uniform(0, 2, 200)] + [1 / 3, 2 / 3, 1e-9, 0.5 + 1e-9, 1e6 + 1 / 3]
cos_pi = [[x, float(mpmath.cospi(mpmath.mpf(x)))] for x in xs]

versions = {each.__name__: each.__version__.split("+")[0] for each in (torch, optax, transformers, mpmath)}
parts = {"versions": versions, "cases": cases, "plateaus": plateaus, "training": training, "cosPi": cos_pi}


def lines(value):
    """Formats JSON for readable diffs: a line for every part or list item."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in value) + "\n  ]"


text = "{\n" + ",\n".join(f"  {json.dumps(name)}: {lines(value)}" for name, value in parts.items()) + "\n}\n"
pathlib.Path(__file__).with_suffix(".json").write_text(text)
