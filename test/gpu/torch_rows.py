"""torch's scaled_dot_product_attention on the same shapes: the yardstick of what this GPU can do. Rows as the other sections have them."""
import json
import sys

MARK = "@@"
TINY = "--tiny" in sys.argv
CACHE_BYTES = 3 * 2**27  # several sets of keys together are larger than any cache
MOST_SETS = 16


def emit(kind, **fields):
    print(MARK + json.dumps({"kind": kind, **fields}), flush=True)


def give_up(reason):
    emit("failed", reason=reason)
    sys.exit(1)


try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
except Exception as error:
    give_up(f"no torch: {error}")
if not torch.cuda.is_available():
    give_up("torch sees no CUDA device")

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def time_of(calls, call):
    """Milliseconds of that many calls, by CUDA events."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for i in range(calls):
        call(i)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def measure(call, target=20.0, samples=5):
    """Milliseconds a call: the median of samples that last long enough."""
    time_of(2, call)
    guess = max(1e-3, time_of(2, call) / 2)
    calls = max(1, min(500, round(target / guess)))
    times = sorted(time_of(calls, call) / calls for _ in range(samples if guess < 200 else 2))
    return times[len(times) // 2]


def row(kind, label, body):
    """What fails becomes a row that says why."""
    try:
        emit(kind, **label, **body())
    except Exception as error:
        emit(kind, **label, failed=f"{type(error).__name__}: {error}"[:200])
    torch.cuda.empty_cache()


def peaks():
    size = 2**22 if TINY else 2**29
    side = 512 if TINY else 8192
    source, target = torch.rand(size // 4, device="cuda"), torch.empty(size // 4, device="cuda")
    matrix = torch.randn(side, side, device="cuda")
    half = matrix.half()
    return {
        "copy": 2 * size / measure(lambda i: target.copy_(source)) / 1e6,
        "matmul32": 2 * side**3 / measure(lambda i: matrix @ matrix) / 1e9,
        "matmul16": 2 * side**3 / measure(lambda i: half @ half) / 1e9,
    }


def attend(kind, path, dtype, H, Hk, N, M, D, causal=False):
    label = {"path": path, "dtype": dtype, "H": H, "Hk": Hk, "N": N, "M": M, "D": D, "causal": causal}
    has_gradient = kind == "torchGradients"
    size = (2 if dtype == "f16" else 4) * 2 * D * (H * N + Hk * M)
    count = max(1, min(MOST_SETS, -(-CACHE_BYTES // size))) if N == 1 else 1
    seen = N * (N + 1) / 2 if causal else N * M

    def make(heads, rows, needs_gradient=has_gradient):
        kind = torch.float16 if dtype == "f16" else torch.float32
        return torch.randn(1, heads, rows, D, device="cuda", dtype=kind, requires_grad=needs_gradient)

    def body():
        sets = [(make(H, N), make(Hk, M), make(Hk, M)) for _ in range(count)]
        grouped = {"enable_gqa": True} if H != Hk else {}

        def call(i):
            return torch.nn.functional.scaled_dot_product_attention(*sets[i % count], is_causal=causal, **grouped)

        with sdpa_kernel(BACKENDS[path]):
            if has_gradient:
                weights = make(H, N, False)
                ms = measure(lambda i: torch.autograd.grad(call(i), sets[0], weights))
                return {"ms": ms, "tflops": 14 * H * seen * D / ms / 1e9}
            with torch.no_grad():
                ms = measure(call)
            return {"ms": ms, "tflops": 4 * H * seen * D / ms / 1e9, "gbps": size / ms / 1e6}

    row(kind, label, body)


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(1)
    emit("note", torch=torch.__version__, name=torch.cuda.get_device_name())
    row("torchPeaks", {}, peaks)
    H = 2 if TINY else 16
    for N in [64] if TINY else [4096, 1024, 16384, 512, 2048, 8192]:
        for D in [64, 128]:
            for causal in [False, True]:
                attend("torchPrefill", "flash", "f16", H, H, N, N, D, causal)
                attend("torchPrefill", "efficient", "f32", H, H, N, N, D, causal)
                if N <= 4096:
                    attend("torchPrefill", "math", "f32", H, H, N, N, D, causal)
    for M in [512] if TINY else [16384, 131072, 4096, 65536]:
        for D in [64, 128]:
            attend("torchDecode", "flash", "f16", 32, 8, 1, M, D)
            attend("torchDecode", "math", "f32", 32, 8, 1, M, D)
    for N in [64] if TINY else [4096, 1024, 2048, 8192]:
        for D in [64, 128]:
            attend("torchGradients", "flash", "f16", H, H, N, N, D)
            attend("torchGradients", "efficient", "f32", H, H, N, N, D)
    emit("done")


main()
