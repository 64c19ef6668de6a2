"""Converts a checkpoint of twinstep to a file of PyTorch, and back.

    python tools/torch_checkpoint.py to-torch IN.safetensors OUT.pt [--by-name]
    python tools/torch_checkpoint.py from-torch IN.pt OUT.safetensors [--algorithm adamw]

OUT.pt is what torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict()}, ...) writes, for Adam,
AdamW, NAdam or RAdam of torch.optim or an optimizer of the package schedulefree. With --by-name its state dict has
names instead of indices, as torch.distributed.checkpoint.state_dict.set_optimizer_state_dict needs for a sharded model.
The state of a gradient scaler is 'scaler', the state_dict() of torch.amp.GradScaler.

Exits with an error that names whatever has no equivalent on the other side. Prints to stderr what you must do by hand:

- A schedule is code, so neither file has it, except the state of reduceOnPlateau: it is saved as 'lr_scheduler', the
  state of ReduceLROnPlateau.
- PyTorch's lr is the scheduled one; twinstep's lr is PyTorch's initial_lr (max_lr for OneCycleLR).
- If a decay mask excludes some tensors of a group, PyTorch needs two groups. They stay two when converted back.
- A tensor that was saved without a shape has one dimension in PyTorch, and when converted back.
"""

import argparse
import ctypes
import json
import math
import pickle
import struct
import sys

import torch

ADAM = {'lr', 'betas', 'eps', 'weight_decay', 'amsgrad', 'maximize', 'decoupled_weight_decay'}
RADAM = {'lr', 'betas', 'eps', 'weight_decay', 'maximize', 'decoupled_weight_decay'}
AVERAGE = {'r', 'weight_lr_power', 'k', 'weight_sum', 'lr_max', 'scheduled_lr', 'train_mode'}
SCHEDULE_FREE = AVERAGE | {'lr', 'weight_decay'}

# Options of a group that both sides have, by algorithm.
OPTIONS = {
    'adam': ADAM,
    'adamw': ADAM,
    'nadam': RADAM | {'momentum_decay'},
    'radam': RADAM,
    'adamwScheduleFree': SCHEDULE_FREE | {'betas', 'eps', 'warmup_steps', 'inner_momentum'},
    'radamScheduleFree': SCHEDULE_FREE | {'betas', 'eps', 'silent_sgd_phase'},
    'sgdScheduleFree': SCHEDULE_FREE | {'momentum', 'warmup_steps'},
}

# Options that only twinstep has, with the value for PyTorch's behaviour.
NEUTRAL_ADAM = {'grad_scale': 1, 'couple': True, 'eps_hat': False, 'nesterov': False, 'eps_root': 0}
NEUTRAL_SCHEDULE_FREE = {'grad_scale': 1, 'maximize': False, 'decay_at': 'y'}
NEUTRAL = {
    'adam': NEUTRAL_ADAM,
    'adamw': NEUTRAL_ADAM,
    'nadam': {'grad_scale': 1},
    'radam': {'grad_scale': 1},
    'adamwScheduleFree': NEUTRAL_SCHEDULE_FREE,
    'radamScheduleFree': NEUTRAL_SCHEDULE_FREE,
    'sgdScheduleFree': NEUTRAL_SCHEDULE_FREE,
}

# Options that only PyTorch has: they change how it computes, not the result. And entries that schedulers add.
MACHINE = {'foreach', 'fused', 'capturable', 'differentiable'}
SCHEDULERS = {'initial_lr', 'max_lr', 'min_lr', 'base_momentum', 'max_momentum', 'swa_lr'}
TORCH_DEFAULTS = {'foreach': None, 'capturable': False, 'differentiable': False}

# Entries that older versions of schedulefree do not save.
OLDER = {'scheduled_lr': 0.0, 'inner_momentum': 0.0}

# An option or a slot that identifies an optimizer without an equivalent here.
OTHERS = {
    'dampening': 'SGD',
    'lr_decay': 'Adagrad',
    'centered': 'RMSprop',
    'rho': 'Adadelta',
    'exp_inf': 'Adamax',
    'lambd': 'ASGD',
    'etas': 'Rprop',
    'max_iter': 'LBFGS',
    'beta2_decay': 'Adafactor',
    'ns_steps': 'Muon',
}

# Parts of PyTorch's file, with the keys that its tutorials use.
PARTS = {name: (name, f'{name}_state_dict') for name in ('model', 'optimizer', 'lr_scheduler', 'scheduler', 'scaler')}

# The state of reduceOnPlateau, except the multiplier, which is part of PyTorch's lr.
PLATEAU = ('best', 'num_bad_epochs', 'cooldown_counter', 'last_epoch')

# The exceptions of parsers for invalid files.
DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, EOFError)


def refuse(sentence):
    raise SystemExit(sentence)


def tell(sentence):
    print(sentence, file=sys.stderr)


def listed(names, most=8):
    names = [repr(name) for name in names]
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if len(names) > most else '')


def counts_by_group(algorithm):
    return algorithm.endswith('ScheduleFree')


# twinstep's file: safetensors. Read and written here, so that only torch is needed.


def read_file(path):
    try:
        with open(path, 'rb') as file:
            return parse(path, file.read())
    except OSError as error:
        refuse(f'{path} cannot be read: {error.strerror}.')
    except (struct.error, *DAMAGE):
        refuse(f'{path} is not a complete safetensors file.')


def parse(path, data):
    (length,) = struct.unpack('<Q', data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop('__metadata__', {})
    if (metadata.get('format'), metadata.get('version')) != ('twinstep', '1'):
        refuse(f'{path} is not a checkpoint of twinstep: its format is {metadata.get("format")!r}.')
    tensors = {}
    for key, entry in header.items():
        begin, end = (8 + length + offset for offset in entry['data_offsets'])
        shape = entry['shape']
        # frombuffer refuses an empty buffer.
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32) if end > begin else torch.empty(0)
        tensors[key] = flat.reshape(shape)
    own = json.loads(metadata['metadata']) if 'metadata' in metadata else None
    scaler = json.loads(metadata['scaler']) if 'scaler' in metadata else None
    return tensors, json.loads(metadata['state']), own, json.loads(metadata.get('no_shape', '[]')), scaler


def as_json(value, what):
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        refuse(f'{what} cannot be written as JSON: {error}.')


def write_file(path, tensors, state, own, scaler=None):
    metadata = {'format': 'twinstep', 'version': '1', 'state': as_json(state, "The optimizer's state dict")}
    if own is not None:
        metadata['metadata'] = as_json(own, "'metadata'")
    if scaler is not None:
        metadata['scaler'] = as_json(scaler, "'scaler'")
    header, end = {'__metadata__': metadata}, 0
    for key, tensor in tensors.items():
        begin, end = end, end + 4 * tensor.numel()
        header[key] = {'dtype': 'F32', 'shape': list(tensor.shape), 'data_offsets': [begin, end]}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for tensor in tensors.values():
            tensor = tensor.contiguous()
            file.write(ctypes.string_at(tensor.data_ptr(), 4 * tensor.numel()))


# To PyTorch.


def to_torch(tensors, state_dict, own=None, flat=(), scaler=None):
    """Returns the argument of torch.save: the state dicts of model, optimizer and scaler, and the user's metadata."""
    ours = state_dict['param_groups']
    groups = [theirs for g, group in enumerate(ours) for theirs in split(torch_group(group), group, g)]
    tell_manual_steps(ours)
    if flat:
        tell(f'Saved without a shape, so of one dimension in PyTorch: {listed(flat)}.')
    model, slots = {}, {}
    for key, tensor in tensors.items():
        # The name of a slot has no slash; the name of a tensor may have one.
        slot, name = key.split('/', 1)
        if slot == 'param':
            model[name] = tensor
        else:
            slots.setdefault(name, {})[slot] = tensor
    # Number the parameters as PyTorch does: split groups change the order.
    indices = {name: i for i, name in enumerate(name for group in groups for name in group['param_names'])}
    for group in groups:
        group['params'] = [indices[name] for name in group['param_names']]
    names = {index: name for group in ours for index, name in zip(group['params'], group['param_names'])}
    state = {}
    for index, numbers in state_dict['state'].items():
        name = names[int(index)]
        state[indices[name]] = torch_numbers(numbers, name) | slots.get(name, {})
    saved = {'model': model, 'optimizer': {'state': dict(sorted(state.items())), 'param_groups': groups}}
    # best is None before the first metric. PyTorch has inf or -inf, depending on the mode, which our file lacks.
    memories = [
        {key: group['schedule'][key] for key in PLATEAU if group['schedule'][key] is not None}
        for group in ours
        if is_plateau(group)
    ]
    if any(memory != memories[0] for memory in memories):
        refuse('PyTorch has one ReduceLROnPlateau for all groups, but these groups have different ones.')
    if memories:
        saved['lr_scheduler'] = memories[0]
    if scaler is not None:
        saved['scaler'] = scaler
    return saved if own is None else saved | {'metadata': own}


def is_plateau(group):
    return set(group.get('schedule', ())) == {*PLATEAU, 'multiplier'}


def tell_manual_steps(groups):
    """Prints what the user must set in PyTorch by hand, because it is code here."""
    frozen = [name for group in groups for name in group.get('frozen', [])]
    if frozen:
        tell(f'Frozen: {listed(frozen)}. Call requires_grad_(False) for these in PyTorch.')
    steps = max((group.get('completed_steps', group.get('k', 0)) for group in groups), default=0)
    functions = sorted({name for group in groups for name in group.get('functions', [])})
    scheduled = [group for group in groups if 'schedule' in group.get('functions', []) and not is_plateau(group)]
    if any(is_plateau(group) for group in groups):
        tell("Make ReduceLROnPlateau with your options, and load 'lr_scheduler' with its load_state_dict.")
        functions = [name for name in functions if name != 'schedule' or scheduled]
    if functions:
        tell(f'Saved as numbers, as of {steps} completed steps, but functions in twinstep: {", ".join(functions)}.')
    if scheduled:
        # last_epoch works for some schedulers only: most of PyTorch's compute lr from the lr before.
        tell(f"Make PyTorch's scheduler for the loaded optimizer without last_epoch; call its step() {steps} times.")
    if any('schedule' in group for group in scheduled):
        tell("Left out: the state of a schedule other than reduceOnPlateau.")


def split(theirs, ours, g):
    """Returns the group, or if a decay mask excludes some tensors, one group that decays and one that does not."""
    spared = set(ours.get('no_decay', []))
    if not spared or (theirs['weight_decay'] == 0 and 'weight_decay' not in ours.get('functions', [])):
        return [theirs]
    decaying = [name for name in theirs['param_names'] if name not in spared]
    resting = [name for name in theirs['param_names'] if name in spared]
    tell(
        f'PyTorch decays all tensors of a group, so group {g} becomes two. Make them in this order: weight_decay = '
        f'{theirs["weight_decay"]} for {listed(decaying)}, then 0 for {listed(resting)}.'
        if decaying
        else f'PyTorch decays all tensors of a group. In group {g} none decays, so it has weight_decay = 0.'
    )
    both = [theirs | {'param_names': decaying}, theirs | {'param_names': resting, 'weight_decay': 0.0}]
    return [group for group in both if group['param_names']]


def by_name(optimizer):
    """Returns the optimizer's state dict with names for indices, without initial_lr, which that loader refuses."""
    groups = optimizer['param_groups']
    names = {index: name for group in groups for index, name in zip(group['params'], group['param_names'])}
    return {
        'state': {names[index]: state for index, state in optimizer['state'].items()},
        'param_groups': [
            {key: value for key, value in group.items() if key != 'initial_lr'} | {'params': group['param_names']}
            for group in groups
        ],
    }


def torch_group(ours):
    algorithm = ours.get('algorithm')
    if algorithm not in OPTIONS:
        refuse(f'PyTorch has no equivalent of the algorithm {algorithm!r}.')
    for name, neutral in NEUTRAL[algorithm].items():
        if ours.get(name, neutral) != neutral:
            what = ': set gradScale to 1 before saving' if name == 'grad_scale' else f', only for {neutral!r}'
            refuse(f'PyTorch has no equivalent of {name} = {ours[name]!r}{what}.')
    missing = sorted(OPTIONS[algorithm] - ours.keys())
    if missing:
        refuse(f'The checkpoint lacks {", ".join(missing)}: a function that failed when the checkpoint was saved.')
    group = {name: ours[name] for name in ours if name in OPTIONS[algorithm]}
    group['initial_lr'] = ours['lr']
    if is_plateau(ours):
        group['lr'] = ours['lr'] * ours['schedule']['multiplier']
    if 'betas' in group:
        group['betas'] = tuple(group['betas'])
    if counts_by_group(algorithm):
        group |= {'foreach': True}
    else:
        group |= TORCH_DEFAULTS
    if algorithm in ('adam', 'adamw'):
        group |= {'fused': None}
    return group | name_of(ours) | {'param_names': ours['param_names'], 'params': ours['params']}


def name_of(group):
    """Returns the name of a group as an entry, if it has one."""
    return {'name': group['name']} if isinstance(group.get('name'), str) else {}


def torch_numbers(ours, name):
    """Returns step and NAdam's mu_product as PyTorch saves them: as float tensors."""
    state = {key: torch.tensor(float(value), dtype=torch.float32) for key, value in ours.items()}
    if 'step' in ours and state['step'].item() != ours['step']:
        refuse(f'PyTorch counts steps in float32, which cannot represent {ours["step"]}, the steps of {name!r}.')
    return state


# From PyTorch.


def from_torch(saved, algorithm=None):
    """Returns the tensors, the state dict, the metadata, and the state dict of the scaler."""
    model, optimizer = part(saved, 'model'), part(saved, 'optimizer')
    if not isinstance(optimizer, dict) or not {'state', 'param_groups'} <= optimizer.keys():
        refuse("'optimizer' is not the state dict of an optimizer: it lacks state or param_groups.")
    names = names_of(optimizer['param_groups'], model)
    # PyTorch's numbers, or the names if the state dict is by name.
    indices = {index: i for i, index in enumerate(names)}
    scheduler = part(saved, 'lr_scheduler', 'scheduler')
    is_from_plateau = isinstance(scheduler, dict) and scheduler.keys() >= set(PLATEAU)
    tensors = {f'param/{name}': floats(model[name], f'the parameter {name!r}') for name in names.values()}
    state, groups = {}, []
    for g, theirs in enumerate(optimizer['param_groups']):
        states = {index: optimizer['state'].get(index) for index in theirs['params']}
        group = our_group(theirs, states, algorithm)
        if is_from_plateau:
            group |= plateau(scheduler, plain(theirs['lr']), group['lr'])
        elif group['lr'] != plain(theirs['lr']):
            now = plain(theirs['lr'])
            tell(f'The lr of group {g} is {group["lr"]} here; PyTorch scheduled it to {now}. Set the option schedule.')
        for index, saved_state in states.items():
            # Schedule-Free's eval() and train() make an empty state for a parameter without a step.
            if saved_state:
                numbers, arrays = our_state(saved_state, theirs, names[index])
                state[str(indices[index])] = numbers
                for slot, tensor in arrays.items():
                    if tensor.shape != model[names[index]].shape:
                        refuse(f'{slot} of {names[index]!r} has the shape {list(tensor.shape)}, its parameter another.')
                    tensors[f'{slot}/{names[index]}'] = tensor
        params = {'params': [indices[index] for index in states], 'param_names': [names[index] for index in states]}
        groups.append(group | params)
    steps = max((numbers.get('step', 0) for numbers in state.values()), default=0)
    for group in groups:
        if not counts_by_group(group['algorithm']):
            group['completed_steps'] = steps
    tell_left_out(saved, model.keys() - set(names.values()), is_from_plateau)
    # That of a disabled scaler is empty.
    scaler = part(saved, 'scaler') or None
    return tensors, {'state': state, 'param_groups': groups}, saved.get('metadata'), scaler


def part(saved, *names):
    """Returns a part of PyTorch's file by any of its keys. A scheduler and a scaler may be missing."""
    keys = [key for name in names for key in PARTS[name]]
    if not isinstance(saved, dict):
        refuse(f'Expected a file with a dict that has {listed(keys)}, got a {type(saved).__name__}.')
    found = next((saved[key] for key in keys if key in saved), None)
    if found is None and names[0] in ('model', 'optimizer'):
        refuse(f'The file has neither {" nor ".join(map(repr, keys))}, only {listed(saved) or "nothing"}.')
    return found


def plateau(scheduler, reduced, lr):
    """Returns our state of reduceOnPlateau. PyTorch saves the reduced lr, but not always the lr before."""
    memory = {key: plain(scheduler[key]) for key in PLATEAU}
    if not math.isfinite(memory['best']):
        memory['best'] = None
    lr = max(lr, reduced)
    memory['multiplier'] = reduced / lr if lr > 0 else 1
    return {'lr': lr, 'schedule': memory, 'functions': ['schedule']}


def tell_left_out(saved, unknown, is_from_plateau):
    """Prints which parts of PyTorch's file are not converted."""
    if unknown:
        tell(f'Left out, because the optimizer has no such parameter: {listed(sorted(unknown))}.')
    schedulers = PARTS['lr_scheduler'] + PARTS['scheduler']
    left = [key for key in schedulers if key in saved and not is_from_plateau]
    if left:
        tell(f'Left out, because a schedule is code here: {listed(left)}.')
    kept = PARTS['model'] + PARTS['optimizer'] + PARTS['scaler'] + ('metadata',)
    others = sorted(map(str, saved.keys() - {*kept, *schedulers}))
    if others:
        tell(f"Left out; besides model, optimizer and scaler only 'metadata' is kept: {listed(others)}.")


def names_of(groups, model):
    """Returns the name of each index: the optimizer's, or if it has none, by the order of the model."""
    indices = [index for group in groups for index in group['params']]
    if indices and all(isinstance(index, str) for index in indices):
        names = indices
    elif all('param_names' in group for group in groups):
        names = [name for group in groups for name in group['param_names']]
    elif len(groups) == 1 and len(indices) == len(model):
        names = list(model)
    else:
        refuse(
            f'The optimizer has no names for its {len(indices)} parameters in {len(groups)} groups, and the model has '
            f'{len(model)} tensors: make the optimizer with model.named_parameters().'
        )
    unknown = [name for name in names if name not in model]
    if unknown:
        refuse(f'The optimizer has parameters that the model lacks: {listed(unknown)}.')
    return dict(zip(indices, names))


def our_group(group, states, algorithm):
    for key in (key for keys in (group, *states.values()) for key in keys or ()):
        if key in OTHERS:
            refuse(f"PyTorch's {OTHERS[key]} has no equivalent here.")
    found = algorithm_of(group)
    if found and algorithm and found != algorithm:
        refuse(f'The optimizer is {found}, not {algorithm}.')
    algorithm = found or algorithm
    if not algorithm:
        refuse(f'The file does not say which optimizer it is of: pass --algorithm, one of {", ".join(OPTIONS)}.')
    known = OPTIONS[algorithm]
    values = (OLDER if counts_by_group(algorithm) else {}) | group
    if algorithm in ('adam', 'adamw'):
        values = {'decoupled_weight_decay': algorithm == 'adamw'} | values
    for name in sorted(group.keys() - known - MACHINE - SCHEDULERS - {'params', 'param_names', *name_of(group)}):
        # An option that upstream may save, and that has no effect with this value.
        if group[name] != NEUTRAL[algorithm].get(name, False):
            refuse(f'{algorithm} has no equivalent of {name} = {group[name]!r}.')
    missing = sorted(known - values.keys())
    if missing:
        refuse(f'The optimizer lacks {", ".join(missing)}: it is not {algorithm}.')
    ours = {name: plain(values[name]) for name in values if name in known}
    # OneCycleLR starts at initial_lr; our lr is the maximum of oneCycle.
    ours['lr'] = plain(group.get('max_lr', group.get('initial_lr', group['lr'])))
    # No decay mask: loading keeps that of the optimizer.
    return ours | NEUTRAL[algorithm] | name_of(group) | {'algorithm': algorithm, 'functions': []}


def algorithm_of(group):
    """Returns the algorithm, if the options identify it: those of Adam and AdamW do since torch 2.7."""
    if 'weight_sum' in group:
        if 'momentum' in group:
            return 'sgdScheduleFree'
        return 'radamScheduleFree' if 'silent_sgd_phase' in group else 'adamwScheduleFree'
    if 'momentum_decay' in group:
        return 'nadam'
    if 'decoupled_weight_decay' not in group:
        return None
    if 'amsgrad' not in group:
        return 'radam'
    return 'adamw' if group['decoupled_weight_decay'] else 'adam'


def our_state(state, group, name):
    """Returns the numbers, which are saved as JSON, and the arrays."""
    numbers = {key: plain(state[key]) for key in ('step', 'mu_product') if key in state}
    if 'step' in numbers:
        if numbers['step'] != int(numbers['step']):
            refuse(f'{name!r} has completed {numbers["step"]} steps, which is not a whole number.')
        numbers['step'] = int(numbers['step'])
    if 'mu_product' in numbers:
        mu_product = product_of_mu(group, numbers['step'])
        if abs(numbers['mu_product'] - mu_product) > 1e-3 * mu_product + 1e-6:
            refuse(f'Expected mu_product of {name!r} to be {mu_product}, by its options, got {numbers["mu_product"]}.')
        numbers['mu_product'] = mu_product
    arrays = {slot: floats(t, f'{slot} of {name!r}') for slot, t in state.items() if slot not in numbers}
    return numbers, arrays


def product_of_mu(group, step):
    """Returns NAdam's mu_product, computed from the options."""
    beta1, decay = group['betas'][0], group['momentum_decay']
    return math.prod(beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, step + 1))


def plain(value):
    """Returns a number for a tensor, and a list for a tuple."""
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, torch.Tensor) else value


def floats(tensor, what):
    if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32:
        how = ': call .float() first' if getattr(tensor, 'dtype', None) in (torch.float16, torch.bfloat16) else ''
        refuse(f'Expected {what} to be a tensor of float32, got {getattr(tensor, "dtype", tensor)}{how}.')
    return tensor.detach().cpu()


def load(path):
    try:
        file = open(path, 'rb')
    except OSError as error:
        refuse(f'{path} cannot be read: {error.strerror}.')
    with file:
        try:
            return torch.load(file, map_location='cpu', weights_only=True)
        except (pickle.UnpicklingError, OSError, *DAMAGE):
            refuse(
                f'{path} is not a complete file of torch.save with only tensors, numbers, strings, lists and dicts.'
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('direction', choices=('to-torch', 'from-torch'))
    parser.add_argument('source')
    parser.add_argument('target')
    parser.add_argument('--algorithm', choices=OPTIONS, help='from-torch: if the file does not say')
    parser.add_argument('--by-name', action='store_true', help='to-torch: for a sharded model')
    args = parser.parse_args()
    is_ours = args.direction == 'to-torch'
    try:
        saved = to_torch(*read_file(args.source)) if is_ours else from_torch(load(args.source), args.algorithm)
    except KeyError as error:
        refuse(f'{args.source} lacks {error}.')
    if args.by_name and is_ours:
        saved['optimizer'] = by_name(saved['optimizer'])
    try:
        torch.save(saved, args.target) if is_ours else write_file(args.target, *saved)
    except (OSError, RuntimeError) as error:
        refuse(f'{args.target} cannot be written: {error}')


if __name__ == '__main__':
    main()
