"""PyTorch's and schedulefree's AdamW as contenders. Like bench/child.ts, it answers each line with one line.

`python pytorch.py adamw fused|default|cuda [clipped]` or `python pytorch.py schedulefree foreach|default`. It uses one thread,
like the other contenders on the CPU.
"""

import json
import resource
import statistics
import sys
import time
from importlib.metadata import version

LR, BETAS, EPS, WEIGHT_DECAY, MAX_NORM = 1e-3, (0.9, 0.999), 1e-8, 0.01, 1.0
# The same values as in bench/child.ts and bench/measure.ts.
SMALL, STEPS, ELEMENTS, MAX_SECONDS, SAMPLES = 1000, 3, 4e6, 0.3, 5


class Contender:
    def load(self, request):
        global torch
        library, self.variant, *self.clipped = sys.argv[1:]
        if library == 'schedulefree':
            import schedulefree
        import torch

        torch.set_num_threads(1)
        self.version = f'torch {torch.__version__}'
        self.device = 'cuda' if self.variant == 'cuda' else 'cpu'
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise RuntimeError('torch finds no CUDA device.')
        if self.device == 'cuda':
            self.version += f', {torch.cuda.get_device_name()}'
        if library == 'schedulefree':
            self.version = f'schedulefree {version("schedulefree")}, {self.version}'
            self.create = lambda params: schedulefree.AdamWScheduleFree(
                params, lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, foreach=self.variant == 'foreach'
            )
        else:
            options = {'foreach': False} if self.variant == 'default' else {'fused': True}
            self.create = lambda params: torch.optim.AdamW(
                params, lr=LR, betas=BETAS, eps=EPS, weight_decay=WEIGHT_DECAY, **options
            )
        return {'version': self.version}

    def make(self, param, grad):
        self.param = torch.nn.Parameter(param.to(self.device))
        self.param.grad = grad.to(self.device)
        self.optimizer = self.create([self.param])
        if hasattr(self.optimizer, 'train'):
            self.optimizer.train()

    def step(self):
        if self.clipped:
            torch.nn.utils.clip_grad_norm_([self.param], MAX_NORM)
        self.optimizer.step()

    def update(self, request):
        grad = torch.tensor(request['grads'], dtype=torch.float32)
        self.make(torch.zeros_like(grad), grad)
        self.step()
        return {'params': self.param.detach().cpu().tolist()}

    def open(self, request):
        length = request['length']
        self.make(steady(length), 1e5 * steady(length))
        end, done = time.perf_counter() + MAX_SECONDS, 0
        while done < ELEMENTS and time.perf_counter() < end:
            self.step()
            done += max(length, 4e3)
        return {}

    def time(self, request):
        """Median of the samples. Each sample takes as many steps as fit its share of the time."""
        share = request['seconds'] / SAMPLES
        elapsed, count = self.sample(1), 1
        while elapsed < share:
            count = int(count * min(10, 1 + share / max(elapsed, 1e-9)))
            elapsed = self.sample(count)
        return {'seconds': statistics.median(self.sample(count) for _ in range(SAMPLES)) / count}

    def sample(self, count):
        start = time.perf_counter()
        for _ in range(count):
            self.step()
        # On a GPU steps are queued: wait for all of them.
        if self.device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def close(self, request):
        del self.param, self.optimizer
        return {}

    def memory(self, request):
        self.train(SMALL)
        if self.device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        before = resident()
        self.train(request['length'])
        return {'bytes': torch.cuda.max_memory_allocated() if self.device == 'cuda' else most_resident() - before}

    def train(self, length):
        # torch.zeros takes no physical memory before it is written, so the initial model is not counted.
        self.make(torch.zeros(length), torch.full((length,), 1e-3))
        for _ in range(STEPS):
            self.step()


def steady(length):
    """Numbers far from zero, so that none becomes subnormal. The same as in bench/models.ts."""
    return (0.1 + (torch.arange(length, dtype=torch.int64) * 7919 % 1009) / 1009).float()


def resident():
    if not sys.platform.startswith('linux'):
        return most_resident()
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def most_resident():
    # ru_maxrss is in kilobytes, on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


contender = Contender()
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = getattr(contender, request['do'])(request)
    except Exception as error:
        answer = {'error': f'{type(error).__name__}: {error}'}
    print(json.dumps(answer), flush=True)
