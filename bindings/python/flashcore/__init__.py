# SPDX-License-Identifier: Apache-2.0
"""Thin binding of libflashcore for PyTorch tensors: pure ctypes, nothing to compile.

    context = flashcore.Context("cuda:0")
    output = context.attention(query, key, value, causal="bottom_right")   # [batch, seqlen, heads, head_dim]

The library is found through FLASHCORE_LIBRARY (a path), else by the system's loader.
"""
import ctypes

from . import _abi

_CAUSAL = {"none": _abi.CAUSAL_NONE, "top_left": _abi.CAUSAL_TOP_LEFT, "bottom_right": _abi.CAUSAL_BOTTOM_RIGHT}
_library = None


class FlashcoreError(RuntimeError):
    """A status other than OK: .status is its name, .field the argument at fault (may be empty)."""

    def __init__(self, status, field, message):
        super().__init__(f"{status}{' (' + field + ')' if field else ''}: {message}")
        self.status, self.field, self.message = status, field, message


def _lib():
    global _library
    if _library is None:
        _library = _abi.load_library()
    return _library


def _check(status, error):
    if status != _abi.OK:
        raise FlashcoreError(_lib().flashcore_status_name(status).decode(), error.field.decode(), error.message.decode())


def _dtype(tensor):
    name = str(tensor.dtype)
    if name not in ("torch.float16", "torch.bfloat16"):
        raise TypeError(f"query is {name}; allowed: torch.float16, torch.bfloat16")
    return _abi.DTYPE_FLOAT16 if name == "torch.float16" else _abi.DTYPE_BFLOAT16


def _fill(field, tensor, dtype):
    """A [batch, seqlen, heads, head_dim] tensor (or view) into an argument."""
    field.data, field.dtype = tensor.data_ptr(), dtype
    for i, stride in enumerate(tensor.stride()):
        field.stride[i] = stride


class Context:
    """One device ("auto", "cpu", "cuda" or "cuda:N"). Close it, or use it as a context manager."""

    def __init__(self, device="auto", cache_directory=""):
        kind, _, ordinal = device.partition(":")
        kinds = {"auto": _abi.DEVICE_AUTO, "cpu": _abi.DEVICE_CPU, "cuda": _abi.DEVICE_CUDA}
        if kind not in kinds:
            raise ValueError(f"device is {device!r}; allowed: auto, cpu, cuda, cuda:N")
        options = _abi.ContextOptions(device_kind=kinds[kind], device_ordinal=int(ordinal or 0),
                                      cache_directory=cache_directory.encode())
        self._handle, error = ctypes.c_void_p(), _abi.Error()
        _check(_lib().flashcore_context_create(options, ctypes.byref(self._handle), error), error)

    def close(self):
        handle, self._handle = self._handle, ctypes.c_void_p()
        _lib().flashcore_context_destroy(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def describe(self):
        info, error = _abi.ContextInfo(), _abi.Error()
        _check(_lib().flashcore_context_describe(self._handle, info, error), error)
        return info

    def make_args(self, query, key, value, output, lse=None, causal="none", scale=None, kernel=""):
        """The argument struct for tensors [batch, seqlen, heads, head_dim] of any strides; lse [batch, heads, seqlen_q]."""
        if causal not in _CAUSAL:
            raise ValueError(f"causal is {causal!r}; allowed: {', '.join(_CAUSAL)}")
        batch, seqlen_q, heads_q, head_dim = query.shape
        args = _abi.AttentionArgs(batch=batch, seqlen_q=seqlen_q, seqlen_kv=key.shape[1], heads_q=heads_q, heads_kv=key.shape[2],
                                  head_dim=head_dim, head_dim_v=value.shape[3], causal=_CAUSAL[causal], kernel=kernel.encode())
        dtype = _dtype(query)
        for field, tensor in ((args.query, query), (args.key, key), (args.value, value), (args.output, output)):
            _fill(field, tensor, dtype if tensor is query else _dtype(tensor))
        if lse is not None:
            stride = lse.stride()
            args.lse.data = lse.data_ptr()
            args.lse.stride[0], args.lse.stride[1], args.lse.stride[2] = stride[0], stride[2], stride[1]
        if scale is not None:
            args.flags |= _abi.FLAG_SOFTMAX_SCALE
            args.softmax_scale = scale
        return args

    def forward(self, args, stream=0):
        """flashcore_attention_fwd on a CUstream given as a number."""
        error = _abi.Error()
        _check(_lib().flashcore_attention_fwd(self._handle, args, stream, error), error)

    def explain(self, args):
        explanation, error = _abi.Explanation(), _abi.Error()
        _check(_lib().flashcore_attention_explain(self._handle, args, explanation, error), error)
        return explanation

    def attention(self, query, key, value, causal="none", scale=None, kernel="", return_lse=False):
        """softmax(scale * Q.K^T + mask) . V of torch tensors [batch, seqlen, heads, head_dim], on torch's current stream."""
        import torch
        output = torch.empty(*query.shape[:3], value.shape[3], dtype=query.dtype, device=query.device)
        lse = torch.empty(query.shape[0], query.shape[2], query.shape[1], dtype=torch.float32, device=query.device) if return_lse else None
        stream = torch.cuda.current_stream(query.device).cuda_stream if query.is_cuda else 0
        self.forward(self.make_args(query, key, value, output, lse, causal, scale, kernel), stream)
        return (output, lse) if return_lse else output
