# SPDX-License-Identifier: MIT
"""attention_torch.py --threads N --rounds N

PyTorch's scaled_dot_product_attention in the shapes of `tenon bench --op attention` that it has: a line of JSON a row."""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--threads", type=int, required=True)
p.add_argument("--rounds", type=int, required=True)
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.set_grad_enabled(False)

ROWS = (  # case, T, S, D, query heads, kv heads, types
    ("causal 8/8x2048x64", 2048, 2048, 64, 8, 8, ("f32", "bf16", "f16")),
    ("decode 8/8x8192x64", 1, 8192, 64, 8, 8, ("f32", "f16")),
    ("decode 32/8x8192x128", 1, 8192, 128, 32, 8, ("f32",)),
    ("full 2/2x8192x64", 8192, 8192, 64, 2, 2, ("f32",)),
)
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
for name, t, s, d, hq, hk, types in ROWS:
    for kind in types:
        # [B,H,T,D] without gaps is the layout that it is fastest in
        q, k, v = (torch.randn(1, h, n, d, dtype=torch.float32).to(TYPES[kind]) for h, n in ((hq, t), (hk, s), (hk, s)))
        run = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=t > 1 and name[0] == "c", enable_gqa=hq != hk)
        row = {"case": name, "dtype": kind, "torch": torch.__version__}
        try:
            run()
            begin = time.perf_counter()
            run()
            rounds = max(3, min(a.rounds, int(2 / max(time.perf_counter() - begin, 1e-5))))
            times = []
            for _ in range(rounds):
                begin = time.perf_counter()
                run()
                times.append(time.perf_counter() - begin)
            row["median_ms"] = statistics.median(times) * 1e3
        except (RuntimeError, NotImplementedError, TypeError) as error:
            row["refused"] = str(error).splitlines()[0]
        print(json.dumps(row), flush=True)
