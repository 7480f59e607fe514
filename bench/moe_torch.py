# SPDX-License-Identifier: MIT
"""moe_torch.py DIR --tokens N --experts N --top-k N --width N --hidden N --type T --threads N --rounds N

The layer of examples/moe in PyTorch, from the files that `moe --save DIR` wrote: several ways in which it is written in
public models, each timed, the fastest is the one to compare with. Prints a line of JSON."""
import argparse
import json
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("dir")
for name in ("tokens", "experts", "top-k", "width", "hidden", "threads", "rounds", "batches"):
    p.add_argument("--" + name, type=int, required=True)
p.add_argument("--type", choices=("f32", "bf16"), required=True)
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.set_grad_enabled(False)


def load(name, *shape):
    if a.type == "f32":
        return torch.from_numpy(np.fromfile(f"{a.dir}/{name}", np.float32)).reshape(shape)
    return torch.from_numpy(np.fromfile(f"{a.dir}/{name}", np.int16)).view(torch.bfloat16).reshape(shape)


E, K, D, H, T = a.experts, a.top_k, a.width, a.hidden, a.tokens
xs, router, want = load("x", a.batches, T, D), load("router", E, D), load("y", T, D)
gate, up, down = load("gate", E, H, D), load("up", E, H, D), load("down", E, D, H)
gate_up = torch.cat((gate, up), 1)  # one product instead of two: the better case for PyTorch


def route(x):
    value, idx = torch.topk(F.linear(x.float(), router.float()), K, dim=-1)  # bf16 logits would choose other experts
    return torch.softmax(value, -1).to(x.dtype), idx


def experts_loop(x):
    """Every expert that has tokens, one after the other (Mixtral's, Qwen's and DeepSeek's public code)."""
    weight, idx = route(x)
    y = torch.zeros_like(x)
    for e in torch.unique(idx).tolist():
        token, slot = torch.where(idx == e)
        g, u = F.linear(x[token], gate_up[e]).chunk(2, -1)
        y.index_add_(0, token, F.linear(F.silu(g) * u, down[e]) * weight[token, slot, None])
    return y


def weights_gathered(x):
    """Batched products with the chosen experts' weights copied out: for a few tokens."""
    weight, idx = route(x)
    flat = idx.reshape(-1)
    rows = x.repeat_interleave(K, 0).unsqueeze(-1)
    g, u = torch.bmm(gate_up[flat], rows).squeeze(-1).chunk(2, -1)
    z = torch.bmm(down[flat], (F.silu(g) * u).unsqueeze(-1)).squeeze(-1)
    return (z.reshape(T, K, D) * weight.unsqueeze(-1)).sum(1)


def weights_in_place(x):
    """One token: matrix times vector with each chosen expert's own weights."""
    weight, idx = route(x)
    y = torch.zeros_like(x)
    for j, e in enumerate(idx[0].tolist()):
        g, u = F.linear(x, gate_up[e]).chunk(2, -1)
        y += F.linear(F.silu(g) * u, down[e]) * weight[0, j]
    return y


def grouped(x):
    """Tokens sorted by expert, then PyTorch's grouped matrix product."""
    weight, idx = route(x)
    flat = idx.reshape(-1)
    order = torch.argsort(flat, stable=True)
    offs = torch.cumsum(torch.bincount(flat, minlength=E), 0).to(torch.int32)
    g, u = torch._grouped_mm(x[order // K], gate_up.transpose(1, 2), offs=offs).chunk(2, -1)
    z = torch._grouped_mm(F.silu(g) * u, down.transpose(1, 2), offs=offs)
    y = torch.zeros_like(x)
    y.index_add_(0, order // K, z * weight.reshape(-1)[order, None])
    return y


forms = [experts_loop] + ([weights_gathered] if T <= 8 else []) + ([weights_in_place] if T == 1 else [])
if hasattr(torch, "_grouped_mm"):
    forms.append(grouped)
result = {"torch": torch.__version__, "forms": {}}
for form in forms:
    try:
        y = form(xs[0])
        off = ((y.double() - want.double()).norm() / want.double().norm()).item()
        times = []
        for i in range(a.rounds):
            x = xs[(i + 1) % a.batches]
            begin = time.perf_counter()
            form(x)
            times.append(time.perf_counter() - begin)
        result["forms"][form.__name__] = {"median_ms": statistics.median(times) * 1e3, "differs": off}
    except (RuntimeError, NotImplementedError, TypeError) as error:
        result["forms"][form.__name__] = {"refused": str(error).splitlines()[0]}
print(json.dumps(result))
