# SPDX-License-Identifier: Apache-2.0
"""Context: one device of the library, and attention on arrays that lie there."""
from __future__ import annotations

import ctypes
import sys
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional

from . import _abi_table as abi
from . import _problem as problem
from ._abi import load_library
from ._append import Append, check_append, set_append
from ._arrays import BITS16, Place, View, exported_stream, is_torch_tensor, packed_strides, view_of
from ._device_array import HOST, DeviceArray
from ._errors import ClosedError, InternalError, InvalidArgumentError, check
from ._execution import Execution
from ._merge import MergeProblem
from ._native import Native
from ._sequences import Sequences, SequencesProblem, check_sequences
from ._variant import Variant

_DEVICES = {"auto": abi.DEVICE_AUTO, "cpu": abi.DEVICE_CPU, "cuda": abi.DEVICE_CUDA}
_CACHE_MODES = {"default": abi.CACHE_DEFAULT, "read_write": abi.CACHE_READ_WRITE, "read_only": abi.CACHE_READ_ONLY, "off": abi.CACHE_OFF}
_JIT_MODES = {"default": abi.JIT_DEFAULT, "allowed": abi.JIT_ALLOWED, "forbidden": abi.JIT_FORBIDDEN}
_ADDRESS_CHECKS = {"default": abi.ADDRESS_CHECKS_DEFAULT, "new_shapes": abi.ADDRESS_CHECKS_NEW_SHAPES, "always": abi.ADDRESS_CHECKS_ALWAYS}


class DeviceInfo(NamedTuple):
    """A device as flashcore_device_info describes it; kind is "cpu" or "cuda"."""

    kind: str
    ordinal: int
    arch: int
    multiprocessors: int
    shared_memory_per_block_optin_bytes: int
    memory_bytes: int
    driver_version: int
    name: str


class ContextInfo(NamedTuple):
    """A context as flashcore_context_info describes it, and its device."""

    device: DeviceInfo
    nvrtc_version: int
    device_reason: str
    cache_directory: str
    cache_warning: str
    modules_from_process: int
    modules_from_shipped: int
    modules_from_user_cache: int
    modules_compiled: int
    cache_rejected: int
    cache_write_failures: int
    compile_us: int


class Explanation(NamedTuple):
    """Which kernel a call would use, or why none; fields as in flashcore_attention_explanation."""

    supported: bool
    kernel: str
    module: str
    tile_q: int
    tile_kv: int
    warps: int
    stages: int
    grid: tuple[int, int, int]
    threads_per_block: int
    dynamic_shared_bytes: int
    workspace_bytes: int
    cost_us: float
    reasons: str


def _python_value(value: Any) -> Any:
    # As os.fsdecode does: a folder's name comes back as it was given.
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else tuple(value) if isinstance(value, ctypes.Array) else value


def _record(made: Any, struct: ctypes.Structure, **known: Any) -> Any:
    return made(**{name: known[name] if name in known else _python_value(getattr(struct, name)) for name in made._fields})


def _device_info(struct: abi.DeviceInfo) -> DeviceInfo:
    return _record(DeviceInfo, struct, kind="cpu" if struct.kind == abi.DEVICE_CPU else "cuda")


def version() -> str:
    """The version of the loaded library, "1.0.0"."""
    number = load_library().flashcore_version()
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def device_count() -> int:
    """Number of CUDA devices; 0 where there is no driver or no device: describe_device(0) raises the reason. Starts CUDA."""
    count, error = ctypes.c_int32(), abi.Error()
    check(load_library().flashcore_device_count(ctypes.byref(count), error), error)
    return count.value


def describe_device(ordinal: int) -> DeviceInfo:
    """What CUDA device `ordinal` is. InvalidArgumentError past the count; where that is 0, the reason, such as NoDriverError."""
    info, error = abi.DeviceInfo(), abi.Error()
    check(load_library().flashcore_device_describe(ordinal, info, error), error)
    return _device_info(info)


def _parse_device(device: str) -> tuple[int, int]:
    kind, colon, ordinal = device.partition(":")
    if kind not in _DEVICES or (colon and not (kind == "cuda" and ordinal.isascii() and ordinal.isdigit() and len(ordinal) < 10)):
        raise InvalidArgumentError(f"device is {device!r}; allowed: 'auto', 'cpu', 'cuda', 'cuda:N'", "device")
    return _DEVICES[kind], int(ordinal or 0)


def _path_bytes(field: str, path: str) -> bytes:
    raw = path.encode(errors="surrogateescape")
    if len(raw) > 1023 or b"\0" in raw:
        raise InvalidArgumentError(f"{field} has {len(raw)} bytes; allowed: up to 1023, none of them zero", field)
    return raw


class Context:
    """One device, its loaded kernels and its remembered plans.

    device: "auto" (the first usable GPU, else the CPU), "cpu", "cuda" or "cuda:N". The other options are those of
    flashcore_context_options; cache_mode: "default", "read_write", "read_only", "off"; jit_mode: "default", "allowed", "forbidden";
    address_checks: "default", "new_shapes", "always".

    Any thread may use it, also several at once. close() it, or leave its `with` block, when the work it launched on a GPU has
    finished: synchronize() waits for it. Every use after that is a ClosedError. Raises a FlashcoreError of the status.
    """

    def __init__(self, device: str = "auto", *, cpu_threads: int = 0, cache_mode: str = "default", jit_mode: str = "default",
                 cache_directory: str = "", module_path: str = "", nvrtc_library: str = "", address_checks: str = "default") -> None:
        kind, ordinal = _parse_device(device)
        if not 0 <= cpu_threads < 2**31:
            raise InvalidArgumentError(f"cpu_threads is {cpu_threads}; allowed: 0 (all) or more", "cpu_threads")
        options = abi.ContextOptions(
            device_kind=kind, device_ordinal=ordinal, cpu_threads=cpu_threads,
            cache_mode=problem.pick("cache_mode", cache_mode, _CACHE_MODES), jit_mode=problem.pick("jit_mode", jit_mode, _JIT_MODES),
            cache_directory=_path_bytes("cache_directory", cache_directory), module_path=_path_bytes("module_path", module_path),
            nvrtc_library=_path_bytes("nvrtc_library", nvrtc_library),
            address_checks=problem.pick("address_checks", address_checks, _ADDRESS_CHECKS))
        handle, error = ctypes.c_void_p(), abi.Error()
        check(load_library().flashcore_context_create(options, ctypes.byref(handle), error), error)
        self._native: Optional[Native] = Native(handle.value or 0)
        info = self.describe().device
        self._native.synchronous = info.kind == "cpu"
        self.device: str = info.kind
        self.ordinal: int = info.ordinal
        self.place = Place(info.kind, info.ordinal)
        self.prepared_calls: Any = None  # of flashcore.torch
        self.feature_calls: dict[Any, Any] = {}  # likewise, of calls with more tensors (_torch_features.py)

    def close(self) -> None:
        """Give the device back. Calls that are running on other threads finish first, but nothing waits for work that was
        launched on a GPU: that is synchronize(). Closing twice is allowed."""
        native, self._native = self._native, None
        calls, self.prepared_calls = self.prepared_calls, None
        self.feature_calls = {}
        if calls is not None:
            calls.close()
        if native is not None:
            native.closed = True

    @property
    def closed(self) -> bool:
        return self._native is None

    def __enter__(self) -> Context:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<flashcore.Context {'closed' if self.closed else self.device + (f':{self.ordinal}' if self.device == 'cuda' else '')}>"

    def native(self) -> Native:
        """The open handle; ClosedError after close(). For calls into the C interface by ctypes: hold it during the call."""
        native = self._native
        if native is None:
            raise ClosedError("this context was closed", "context")
        return native

    def describe(self) -> ContextInfo:
        """The device, why it was chosen, and what the module cache did so far."""
        native, info, device, error = self.native(), abi.ContextInfo(), abi.DeviceInfo(), abi.Error()
        check(native.library.flashcore_context_describe(native.handle, info, error), error)
        check(native.library.flashcore_context_describe_device(native.handle, device, error), error)
        return _record(ContextInfo, info, device=_device_info(device))

    def attention(self, query: Any, key: Any, value: Any, *, causal: str = "none", scale: Optional[float] = None, softcap: float = 0.0,
                  window: problem.Window = (None, None), chunk: int = 0, alibi_slopes: Any = None, sinks: Any = None, bias: Any = None,
                  mask: Any = None, sequences: Optional[Sequences] = None, append: Optional[Append] = None, layout: str = "bshd",
                  variant: Optional[Variant] = None, variant_params: Any = None, out: Any = None, return_lse: bool = False, lse: Any = None,
                  lse_base: str = "natural", kernel: str = "", dtype: Optional[str] = None, stream: Optional[int] = None,
                  execution: Optional[Execution] = None) -> Any:
        """softmax(scale * query.key^T + mask) . value, written to `out`, which is returned; (out, lse) with return_lse.

        query [batch, seqlen_q, heads_q, head_dim], key and value [batch, seqlen_kv, heads_kv, head_dim] (value's last size may
        differ), with heads_kv a divisor of heads_q; or layout="bhsd", heads before sequence. float16 or bfloat16, any strides but
        the last, which is 1. lse: float32 [batch, heads_q, seqlen_q], to base e or 2.
        causal: "none", "top_left" (key j is visible to query i when j <= i) or "bottom_right" (j <= i + seqlen_kv - seqlen_q).
        scale: 1/sqrt(head_dim) where None. softcap: scores become softcap * tanh(score / softcap), 0: they do not.
        window: (left, right): key j is visible to query i when i + d - left <= j <= i + d + right, d = seqlen_kv - seqlen_q; None: all.
        chunk: query i sees keys of the same chunk of so many positions alone as its own, i + d; 0: of all.
        alibi_slopes: float32 [heads_q] or [batch, heads_q]: slope * |i + d - j| is taken from the score of query i and key j.
        sinks: float32 [heads_q]: one more logit in the denominator and in the lse, without a value.
        bias: float16, bfloat16 or float32, added to the scores; -infinity hides the key. mask: bool, where False hides the key. Either of a
        shape that broadcasts to [batch, heads_q, seqlen_q, seqlen_kv], whatever the layout, but not the same for all.
        sequences: lengths and places of the sequences, where they have their own (Sequences says which; varlen_attention and
        attention_with_kv_cache are ways to say the usual ones). Seqlen_q and seqlen_kv above are then those of each sequence.
        append: new rows of key and value, which are written ahead of attention, and rotary embedding (Append says which;
        attention_with_kv_cache is a way to say the usual ones).
        variant: a Variant, what a text of the caller's own makes of scores and hides; variant_params: the contiguous array that it reads.
        execution: an Execution: float32 output, pieces of keys, batch invariance, a limit of multiprocessors, where a shard of keys is.
        What the loaded library does not do is refused by it. kernel: this kernel or module and no other.
        dtype: "bfloat16" says that arrays of 16-bit integers hold that.
        stream: the CUstream as a number. None: PyTorch's or CuPy's current one where query is theirs, else the one that query's
        __cuda_array_interface__ names, else the default stream. Streams on which other arrays are being written are waited for. On a GPU
        the call returns after the launch, and the memory must stay until the work is done.

        Takes PyTorch tensors, NumPy arrays, and objects with DLPack or __cuda_array_interface__, on the context's device. `out` and
        `lse` are made like query where PyTorch, NumPy or CuPy can make them, else they must be given.
        """
        in_torch = is_torch_tensor(query) and out is None and lse is None and dtype is None and stream is None and lse_base == "natural" \
            and execution is None
        others = _given((alibi_slopes, sinks, bias, mask), sequences, variant_params, append)
        if in_torch and variant is None and variant_params is None and all(is_torch_tensor(array) for array in others.values()):
            return torch_attention(query, key, value, causal=causal, scale=scale, softcap=softcap, window=window, layout=layout, kernel=kernel,
                                   on=self, chunk=chunk, alibi_slopes=alibi_slopes, sinks=sinks, bias=bias, mask=mask, sequences=sequences,
                                   return_lse=return_lse, append=append)
        given = (query, key, value, causal, scale, softcap, window, chunk, others, sequences, layout, out, return_lse, lse, lse_base, kernel, dtype,
                 stream, variant, append, execution)
        if sys.modules.get("torch") is not None:
            from ._torch_checks import call_untraced  # torch.compile would follow addresses that tensors do not have yet
            return call_untraced(self._attention_by_address, *given)
        return self._attention_by_address(*given)

    def varlen_attention(self, query: Any, key: Any, value: Any, cu_seqlens_q: Any, cu_seqlens_kv: Any, max_seqlen_q: int,
                         max_seqlen_kv: Optional[int], *, seqused_q: Any = None, seqused_kv: Any = None, leftpad_kv: Any = None,
                         kv_batch_index: Any = None, page_table: Any = None, page_table_value: Any = None, **options: Any) -> Any:
        """attention() on sequences that follow one another: query [total_q, heads_q, head_dim], key and value [total_kv, heads_kv,
        head_dim], the lse [heads_q, total_q]. cu_seqlens_kv: None where keys lie in a cache or in pages. The others as in Sequences; options
        as of attention()."""
        return self.attention(query, key, value, sequences=Sequences(
            cu_seqlens_q, cu_seqlens_kv, max_seqlen_q, max_seqlen_kv, seqused_q, seqused_kv, leftpad_kv, kv_batch_index, page_table,
            page_table_value), **options)

    def attention_with_kv_cache(self, query: Any, key_cache: Any, value_cache: Any, seqused_kv: Any = None, *, leftpad_kv: Any = None,
                                kv_batch_index: Any = None, page_table: Any = None, page_table_value: Any = None, max_seqlen_kv: Optional[int] = None,
                                new_key: Any = None, new_value: Any = None, rotary_cos: Any = None, rotary_sin: Any = None,
                                rotary_positions: Any = None, rotary_interleaved: bool = False, **options: Any) -> Any:
        """attention() on what caches hold: query [batch, seqlen_q, heads_q, head_dim], caches [batch, seqlen, heads_kv, head_dim], of which
        seqused_kv [batch] says how many rows are in use; more entries than batch with kv_batch_index; [page_count, page_size, heads_kv,
        head_dim] with page_table. max_seqlen_kv: the most rows in use, where the caller knows fewer than the caches have. The
        others as in Sequences. new_key, new_value [batch, seqlen_new, heads_kv, head_dim] are written to the caches first, behind the rows in
        use, and attended to; they and what rotates them and query are as in Append. Options as of attention()."""
        append = Append(new_key, new_value, rotary_cos, rotary_sin, rotary_positions, rotary_interleaved)
        return self.attention(query, key_cache, value_cache, sequences=Sequences(
            max_seqlen_kv=max_seqlen_kv, seqused_kv=seqused_kv, leftpad_kv=leftpad_kv, kv_batch_index=kv_batch_index, page_table=page_table,
            page_table_value=page_table_value), append=append.if_any(), **options)

    def _attention_by_address(self, query: Any, key: Any, value: Any, causal: str, scale: Optional[float], softcap: float, window: problem.Window,
                              chunk: int, others: dict[str, Any], sequences: Optional[Sequences], layout: str, out: Any, return_lse: bool, lse: Any,
                              lse_base: str, kernel: str, dtype: Optional[str], stream: Optional[int], variant: Optional[Variant],
                              append: Optional[Append], execution: Optional[Execution]) -> Any:
        native, error = self.native(), abi.Error()
        if any(is_torch_tensor(array) for array in (query, key, value, *others.values(), out, lse)):
            from . import _torch_checks as checks
            checks.refuse_unseen({"out": out is not None, "lse": lse is not None, "return_lse": return_lse, "dtype": dtype is not None,
                                  "stream": stream is not None, "append": append is not None})
            if out is None and stream is None and append is None and checks.any_autocast():  # another stream would not wait for the conversion
                query, key, value = checks.in_autocast_type(query, key, value)
        number = self._stream(query, stream)
        arrays = {"query": query, "key": key, "value": value, **others}
        views = {name: view_of(name, array, self.place, number) for name, array in arrays.items()}
        call = problem_of(views, sequences, layout, dtype)
        call.set_options(causal, scale, softcap, window, lse_base, kernel)
        call.set_features(chunk, views)
        set_append(call, append, views)
        call.set_variant(native, variant, views.get("variant_params"))
        call.set_execution(execution)
        if out is None:
            out = _new_array("out", query, call.output_shape(), call.out_dtype, self)
        if lse is None and return_lse:
            lse = _new_array("lse", query, call.lse_shape(), "float32", self)
        views["output"] = view_of("output", out, self.place, number)
        call.set_output(views["output"])
        if lse is not None:
            views["lse"] = view_of("lse", lse, self.place, number)
            call.set_lse(views["lse"])
        producers = {view.producer_stream for view in views.values()}
        if stream is None:
            producers.update(self._current_stream(name, array) for name, array in {**arrays, "out": out, "lse": lse}.items() if array is not None)
        for producer in producers:
            if producer is not None and not _is_same_stream(producer, number):
                check(native.library.flashcore_stream_synchronize(native.handle, producer, error), error)
        check(native.library.flashcore_attention_fwd(native.handle, call.args, number, error), error)
        written = (out, lse) if append is None or append.new_key is None else (out, lse, key, value)
        for array in written:
            if is_torch_tensor(array):
                checks.has_changed(array)
        return (out, lse) if return_lse else out

    def prepare(self, query: Any, key: Any, value: Any, *, causal: str = "none", scale: Optional[float] = None, softcap: float = 0.0,
                window: problem.Window = (None, None), chunk: int = 0, alibi_slopes: Any = None, sinks: Any = None, bias: Any = None,
                mask: Any = None, sequences: Optional[Sequences] = None, append: Optional[Append] = None, layout: str = "bshd",
                variant: Optional[Variant] = None, variant_params: Any = None, kernel: str = "", dtype: Optional[str] = None,
                execution: Optional[Execution] = None) -> None:
        """Select, compile and load now what attention() with such arrays needs, so that it is only a launch, also while a
        stream is captured. The arrays count by their shapes, types, strides and alignment."""
        native, error = self.native(), abi.Error()
        others = _given((alibi_slopes, sinks, bias, mask), sequences, variant_params, append)
        args = self._described(query, key, value, causal, scale, softcap, window, chunk, others, sequences, layout, variant, kernel, dtype, append,
                               execution)
        check(native.library.flashcore_attention_prepare(native.handle, args, error), error)

    def explain(self, query: Any, key: Any, value: Any, *, causal: str = "none", scale: Optional[float] = None, softcap: float = 0.0,
                window: problem.Window = (None, None), chunk: int = 0, alibi_slopes: Any = None, sinks: Any = None, bias: Any = None,
                mask: Any = None, sequences: Optional[Sequences] = None, append: Optional[Append] = None, layout: str = "bshd",
                variant: Optional[Variant] = None, variant_params: Any = None, kernel: str = "", dtype: Optional[str] = None,
                execution: Optional[Execution] = None) -> Explanation:
        """Which kernel attention() would use for such arrays, or why none."""
        native, explanation, error = self.native(), abi.AttentionExplanation(), abi.Error()
        others = _given((alibi_slopes, sinks, bias, mask), sequences, variant_params, append)
        args = self._described(query, key, value, causal, scale, softcap, window, chunk, others, sequences, layout, variant, kernel, dtype, append,
                               execution)
        check(native.library.flashcore_attention_explain(native.handle, args, explanation, error), error)
        return _record(Explanation, explanation, supported=bool(explanation.supported))

    def merge_states(self, output_states: Any, lse_states: Any, *, out: Any = None, lse: Any = None, out_dtype: Optional[str] = None,
                     lse_base: str = "natural", layout: str = "bshd", dtype: Optional[str] = None, stream: Optional[int] = None) -> tuple[Any, Any]:
        """(output, lse) of attention over all keys from those over parts that share no key: lse = log(sum(exp(lse_states))), and the
        outputs weighted by exp(lse_states - lse), written to `out` and `lse`.

        output_states [states, batch, seqlen, heads, head_dim], or layout="bhsd" with heads before sequence: float16, bfloat16 or float32, up
        to 1024 states. lse_states: float32 [states, batch, heads, seqlen], to base e or 2. out: of type out_dtype, by default that of the
        states; it may be output_states[0] itself, and lse lse_states[0]. A state whose lse is -inf counts nothing, whatever its output holds.
        dtype, stream: as of attention(), whose results the states are; made like output_states where nothing is given."""
        given = (output_states, lse_states, out, lse, out_dtype, lse_base, layout, dtype, stream)
        if sys.modules.get("torch") is not None:
            from ._torch_checks import call_untraced
            merged: tuple[Any, Any] = call_untraced(self._merge_by_address, *given)
            return merged
        return self._merge_by_address(*given)

    def _merge_by_address(self, output_states: Any, lse_states: Any, out: Any, lse: Any, out_dtype: Optional[str], lse_base: str, layout: str,
                          dtype: Optional[str], stream: Optional[int]) -> tuple[Any, Any]:
        native, error = self.native(), abi.Error()
        if any(is_torch_tensor(array) for array in (output_states, lse_states, out, lse)):
            from . import _torch_checks as checks
            checks.refuse_unseen({"output_states": True})
        number = self._stream(output_states, stream)
        named = {"output_states": output_states, "lse_states": lse_states}
        views = {name: view_of(name, array, self.place, number) for name, array in named.items()}
        call = MergeProblem(layout, lse_base)
        call.set_states(views["output_states"], views["lse_states"], dtype, out_dtype)
        if out is None:
            if call.out_dtype == "bfloat16" != call.dtype and not is_torch_tensor(output_states) and not isinstance(output_states, DeviceArray):
                raise InvalidArgumentError("out is missing, and it is not known how to make bfloat16 for it; pass one", "out")
            out = _new_array("out", output_states, problem.in_order(call.output_shape(), layout), call.out_dtype, self)
        if lse is None:
            lse = _new_array("lse", output_states, call.lse_shape(), "float32", self)
        named.update(out=out, lse=lse)
        views.update((name, view_of(name, named[name], self.place, number)) for name in ("out", "lse"))
        call.set_output(views["out"])
        call.set_lse(views["lse"])
        producers = {view.producer_stream for view in views.values()}
        if stream is None:
            producers.update(self._current_stream(name, array) for name, array in named.items())
        for producer in producers:
            if producer is not None and not _is_same_stream(producer, number):
                check(native.library.flashcore_stream_synchronize(native.handle, producer, error), error)
        check(native.library.flashcore_merge_states(native.handle, call.args, number, error), error)
        for array in (out, lse):
            if is_torch_tensor(array):
                checks.has_changed(array)
        return out, lse

    def _described(self, query: Any, key: Any, value: Any, causal: str, scale: Optional[float], softcap: float, window: problem.Window,
                   chunk: int, others: dict[str, Any], sequences: Optional[Sequences], layout: str, variant: Optional[Variant], kernel: str,
                   dtype: Optional[str], append: Optional[Append], execution: Optional[Execution]) -> abi.AttentionArgs:
        """Arguments without outputs: address 0 counts as aligned. Their strides are those that attention() makes."""
        arrays = {"query": query, "key": key, "value": value, **others}
        views = {name: view_of(name, array, self.place, values=False) for name, array in arrays.items()}
        call = problem_of(views, sequences, layout, dtype)
        call.set_options(causal, scale, softcap, window, "natural", kernel)
        call.set_features(chunk, views)
        set_append(call, append, views)
        call.set_variant(self.native(), variant, views.get("variant_params"))
        call.set_execution(execution)
        call.set_output_strides(packed_strides(call.output_shape()))
        return call.args

    def _stream(self, query: Any, stream: Optional[int]) -> int:
        if stream is None:
            current = self._current_stream("query", query)
            return 0 if current is None or _is_same_stream(current, 0) else current
        if isinstance(stream, bool) or not isinstance(stream, int) or not 0 <= stream < 2**64:
            raise InvalidArgumentError(f"stream is {stream!r}; allowed: a CUstream as a number, 0 for the default stream", "stream")
        return stream

    def _current_stream(self, name: str, array: Any) -> Optional[int]:
        """The stream on which the array's library works now; None where that is not known or there is none."""
        if self.device == "cpu":
            return None
        if is_torch_tensor(array):
            return int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream) if array.is_cuda else None
        if type(array).__module__.partition(".")[0] == "cupy":
            cuda = sys.modules["cupy"].cuda
            current = cuda.get_current_stream()
            if getattr(current, "device_id", -1) not in (-1, self.ordinal):  # it is that of CuPy's current device
                with cuda.Device(self.ordinal):
                    current = cuda.get_current_stream()
            return int(current.ptr)
        if isinstance(array, DeviceArray) or hasattr(array, "__dlpack__"):
            return None
        return exported_stream(name, getattr(array, "__cuda_array_interface__", {}))

    def to_device(self, array: Any, dtype: Optional[str] = None) -> DeviceArray:
        """A copy of a contiguous host array on this device. dtype: "bfloat16" for 16-bit integers that hold that."""
        view = view_of("array", array, HOST)
        if dtype is not None and view.dtype not in (BITS16, dtype):
            raise InvalidArgumentError(f"array is {view.dtype}; allowed: {dtype}, as the call says", "array.dtype")
        made = DeviceArray(self, view.shape, dtype if dtype is not None and view.dtype == BITS16 else view.dtype)
        made.copy_from(array)
        return made

    def empty(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """New memory on this device, not initialised. dtype: "float16", "bfloat16", "float32", ..."""
        return DeviceArray(self, shape, dtype)

    def synchronize(self, stream: Optional[int] = None) -> None:
        """Wait until everything on the device is done, whoever launched it, or, with `stream` (a CUstream as a number, 0: the
        default one), what is on that stream; failures of earlier work surface here."""
        native, error = self.native(), abi.Error()
        if stream is None:
            check(native.library.flashcore_context_synchronize(native.handle, error), error)
        else:
            check(native.library.flashcore_stream_synchronize(native.handle, stream, error), error)


def _given(of_scores: tuple[Any, ...], sequences: Optional[Sequences], variant_params: Any, append: Optional[Append]) -> dict[str, Any]:
    """Arrays beside query, key and value, by name: those of problem.SCORE_TENSORS first."""
    check_sequences(sequences)
    check_append(append)
    names = (*problem.SCORE_TENSORS, "variant_params")
    arrays = {name: array for name, array in zip(names, (*of_scores, variant_params)) if array is not None}
    return {**arrays, **({} if sequences is None else sequences.arrays()), **({} if append is None else append.arrays())}


def problem_of(views: dict[str, View], sequences: Optional[Sequences], layout: str, dtype: Optional[str]) -> problem.Problem:
    made = problem.Problem(layout) if sequences is None else SequencesProblem(layout, sequences, views)
    made.set_inputs(views["query"], views["key"], views["value"], dtype)
    return made


def _is_same_stream(one: int, other: int) -> bool:
    return one == other or {one, other} == {0, 1}  # the legacy default stream has two names


def _nobody(*_given: Any, **_options: Any) -> Any:
    raise InternalError("flashcore/__init__.py did not run")


# flashcore.torch.attention. The package puts it here, because that module needs Context itself.
torch_attention: Callable[..., Any] = _nobody


def _new_array(name: str, query: Any, shape: tuple[int, ...], dtype: str, context: Context) -> Any:
    """An array like query, for a result."""
    if isinstance(query, DeviceArray):
        return context.empty(shape, dtype)
    if is_torch_tensor(query):
        torch = sys.modules["torch"]
        return torch.empty(shape, dtype=getattr(torch, dtype), device=query.device)
    module = type(query).__module__.partition(".")[0]
    if module in ("numpy", "cupy"):  # arrays of others may be immutable, or made in ways of their own
        # Bits in, bits out: a caller with integers, or with ml_dtypes, gets the same back.
        return sys.modules[module].empty(shape, dtype=query.dtype if dtype == "bfloat16" else dtype)
    raise InvalidArgumentError(f"{name} is missing, and it is not known how to make a {type(query).__name__} for it; pass one", name)
