#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tensors of more than 2^31 elements, on every kernel of every device. Rows far apart, along each axis, are computed with the bits of the same rows
close together, and nothing between them is written; on a GPU also dense tensors of so many elements, rows of so many keys, and the
pages and rows of ragged batches that lie so far in. That the rows close together are right is what the other tests of kernels are about.

usage: check_large_tensors.py SOURCE_ROOT LIBRARY [KERNEL...]
"""
import ctypes
import itertools
import os
import struct
import sys
import time

ROOT, LIBRARY = (os.path.abspath(path) for path in sys.argv[1:3])
sys.path[:0] = [os.path.join(ROOT, "tests/house"), os.path.join(ROOT, "tests/api")]
sys.dont_write_bytecode = True

import house
import public_library

BEYOND = (1 << 31) + (1 << 20)
POISON = b"\xff"
NO_MEMORY = ("OUT_OF_HOST_MEMORY", "OUT_OF_DEVICE_MEMORY")


class Tensor:
    """Elements of `width` bytes at [batch, sequence, head, dimension]; axis: which stride is so large that the last index lies beyond 2^31."""

    def __init__(self, shape, width, axis=None, odd=False, order=(0, 1, 2)):
        self.shape, self.width = shape, width
        strides, step = [0, 0, 0, 1], shape[3]
        for dimension in reversed(order):
            strides[dimension] = step + odd
            step = strides[dimension] * shape[dimension]
        if axis is not None:
            strides[axis] = max(strides[axis], -(-BEYOND // (shape[axis] - 1)) + 7 & ~7) + odd
        self.strides, self.first = strides, int(odd)  # the address begins at this element
        self.elements = self.first + sum((size - 1) * stride for size, stride in zip(shape, strides)) + 1

    def runs(self):
        """Where elements that lie together begin."""
        inner = range(1) if self.strides[3] == 1 else range(self.shape[3])
        for batch, row, head, element in itertools.product(*(range(size) for size in self.shape[:3]), inner):
            yield self.first + sum(index * stride for index, stride in zip((batch, row, head, element), self.strides))

    def run_bytes(self):
        return self.width * (self.shape[3] if self.strides[3] == 1 else 1)

    def write(self, context, address, data):
        step = self.run_bytes()
        for index, run in enumerate(self.runs()):
            context.write(address + self.width * run, data[index * step:(index + 1) * step])

    def read(self, context, address):
        return b"".join(context.read(address + self.width * run, self.run_bytes()) for run in self.runs())

    def describe(self, tensor, address):
        tensor.data = address + self.width * self.first
        tensor.stride = (ctypes.c_int64 * 4)(*self.strides)


class Arena:
    """Blocks of device memory that are kept from case to case: the largest are made once."""

    def __init__(self, context):
        self.context, self.blocks = context, {}

    def block(self, name, count):
        have, address = self.blocks.get(name, (0, 0))
        if have < count:
            if have:
                self.context.free(address)
                del self.blocks[name]
            address = self.context.alloc(count)
            self.blocks[name] = (count, address)
        return address


class Device:
    def __init__(self, context, kernel):
        self.context, self.kernel, self.arena = context, kernel, Arena(context)
        self.on_gpu = context.device().kind == context.abi.DEVICE_CUDA
        self.pinned = ctypes.c_void_p()
        if self.on_gpu:
            context.call("host_alloc", context.handle, 1 << 28, ctypes.byref(self.pinned))

    def poison(self, address, tensor):
        """On the CPU device the rows alone: nobody has the memory."""
        if self.on_gpu:
            self.context.fill(address, 0xff, tensor.width * tensor.elements)
        else:
            tensor.write(self.context, address, POISON * (tensor.width * tensor.shape[0] * tensor.shape[1] * tensor.shape[2] * tensor.shape[3]))

    def pieces(self, address, count):
        """The memory, in pieces that are bytes."""
        for begin in range(0, count, 1 << 28):
            size = min(1 << 28, count - begin)
            self.context.call("copy_to_host", self.context.handle, self.pinned, address + begin, size, None)
            self.context.synchronize()
            yield begin, ctypes.string_at(self.pinned.value, size)

    def written_elsewhere(self, address, tensor):
        """Empty, or where there is no poison but for the rows, which are poisoned here."""
        if not self.on_gpu:
            return []
        tensor.write(self.context, address, POISON * (tensor.run_bytes() * sum(1 for _ in tensor.runs())))
        return [f"written between the rows, from byte {begin} on" for begin, piece in self.pieces(address, tensor.width * tensor.elements)
                if piece.count(POISON) != len(piece)]

    def close(self):
        if self.on_gpu:
            self.context.call("host_free", self.context.handle, self.pinned)


# ---- rows that are far apart


def far_rows(device, sizes, axis, odd=False, extra=None, **fields):
    """Problems of one case; public_library.Refused where the kernel does not do it."""
    results = []
    for large in (None, axis):
        results.append(attend_on(device, sizes, large, odd, extra, fields))
    (near, _), (far, problems) = results
    for name in near:
        if near[name] != far[name]:
            same = sum(a == b for a, b in zip(near[name], far[name]))
            problems.append(f"{name}: {len(near[name]) - same} of {len(near[name])} bytes are not those of the rows close together")
        if near[name].count(POISON) == len(near[name]):
            problems.append(f"{name} was not written at all")
    return problems


def attend_on(device, sizes, axis, odd, extra, fields):
    """The outputs with the stride of this axis so large, and what was written beside them."""
    context, arena = device.context, device.arena
    batch, seqlen_q, seqlen_kv, heads_q, heads_kv, dimension = sizes
    args = context.args(batch=batch, seqlen_q=seqlen_q, seqlen_kv=seqlen_kv, heads_q=heads_q, heads_kv=heads_kv, head_dim=dimension,
                        kernel=device.kernel, **fields)
    tensors = {"query": Tensor((batch, seqlen_q, heads_q, dimension), 2, axis if axis is None or (batch, seqlen_q, heads_q)[axis] > 1 else None, odd),
               "key": Tensor((batch, seqlen_kv, heads_kv, dimension), 2, axis if axis is None or (batch, seqlen_kv, heads_kv)[axis] > 1 else None, odd),
               "output": Tensor((batch, seqlen_q, heads_q, dimension), 2, axis if axis is None or (batch, seqlen_q, heads_q)[axis] > 1 else None, odd)}
    tensors["value"] = tensors["key"]
    lse_axis = axis if axis is None or (batch, seqlen_q, heads_q)[axis] > 1 else None
    tensors["lse"] = Tensor((batch, seqlen_q, heads_q, 1), 4, lse_axis, order=(0, 2, 1))
    addresses = {name: arena.block(name, tensor.width * tensor.elements) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        tensor.describe(getattr(args, name), addresses[name])
        if name in ("query", "key", "value"):
            tensor.write(context, addresses[name], public_library.halves(tensor.shape[0] * tensor.shape[1] * tensor.shape[2] * dimension, name))
    if extra is not None:
        extra(device, args, axis)
    args.lse.dtype = 0
    context.prepare(args)  # refusals come before anything large is poisoned
    for name in ("output", "lse"):
        device.poison(addresses[name], tensors[name])
    context.attend(args)
    context.synchronize()
    outputs = {name: tensors[name].read(context, addresses[name]) for name in ("output", "lse")}
    problems = [f"{name}: {one}" for name in ("output", "lse") for one in device.written_elsewhere(addresses[name], tensors[name])] if axis is not None else []
    return outputs, problems


def score_tensor(name, large_axis):
    """Adds a bias or a mask of which this axis (3: keys) is the large one, in the far run."""
    def add(device, args, axis):
        shape = (args.batch, args.seqlen_q, args.heads_q, args.seqlen_kv)
        tensor = Tensor(shape, 2 if name == "bias" else 1, large_axis if axis is not None else None)
        if axis is None:  # keys far apart are single elements: the near one is such, too, by the same way
            tensor.strides[3] = 1
        address = device.arena.block(name, tensor.width * tensor.elements)
        count = shape[0] * shape[1] * shape[2] * shape[3]
        data = public_library.halves(count, name)
        tensor.write(device.context, address, data if name == "bias" else bytes(byte % 4 != 0 for byte in data[::2]))
        tensor.describe(getattr(args, name), address)
    return add


def far_score_rows(device, name, large_axis):
    """Query, key, value and output close together both times."""
    results = []
    for axis in (None, large_axis):
        def add(one, args, unused, axis=axis):
            score_tensor(name, large_axis)(one, args, axis)
        results.append(attend_on(device, (3, 40, 40, 3, 3, 64), None, False, add, {})[0])
    unwritten = [] if results[0]["output"].count(POISON) < len(results[0]["output"]) else ["the output was not written at all"]
    return unwritten + ([] if results[0] == results[1] else [f"{name} far apart gives other bits"])


# ---- pages and rows of ragged batches


def far_pages(device):
    batch, seqlen, heads, dimension, page_size = 2, 70, 2, 64, 16
    pages = -(-seqlen // page_size)
    count = BEYOND // (page_size * heads * dimension) + batch * pages
    outputs = []
    for page_count in (batch * pages, count):
        context, arena = device.context, device.arena
        args = context.args(batch=batch, seqlen_q=seqlen, seqlen_kv=seqlen, heads_q=heads, heads_kv=heads, head_dim=dimension, kernel=device.kernel,
                            page_size=page_size, page_count=page_count)
        rows = batch * seqlen * heads * dimension
        args.query.data, args.output.data = arena.block("query", 2 * rows), arena.block("output", 2 * rows)
        used = batch * pages * page_size * heads * dimension
        first = (page_count - batch * pages) * page_size * heads * dimension
        for name in ("key", "value"):
            address = arena.block(name, 2 * (first + used))
            getattr(args, name).data = address
            context.write(address + 2 * first, public_library.halves(used, name))
        args.page_table = arena.block("page_table", 4 * batch * pages)
        context.write(args.page_table, struct.pack(f"={batch * pages}i", *reversed(range(page_count - batch * pages, page_count))))
        context.write(args.query.data, public_library.halves(rows, "query"))
        context.prepare(args)
        context.write(args.output.data, POISON * (2 * rows))
        context.attend(args)
        context.synchronize()
        outputs.append(context.read(args.output.data, 2 * rows))
    return [] if outputs[0] == outputs[1] and outputs[0].count(POISON) != len(outputs[0]) else ["pages far in give other bits"]


def far_sequences(device):
    batch, seqlen, heads, dimension = 2, 70, 2, 64
    outputs = []
    for second in (seqlen, BEYOND // (heads * dimension)):
        context, arena = device.context, device.arena
        total = second + seqlen
        args = context.args(batch=batch, seqlen_q=seqlen, seqlen_kv=seqlen, heads_q=heads, heads_kv=heads, head_dim=dimension, kernel=device.kernel,
                            total_q=total, total_kv=total)
        row = heads * dimension
        for name in ("query", "key", "value", "output"):
            address = getattr(args, name).data = arena.block(name, 2 * total * row)
            for begin, seed in ((0, "first"), (second, "second")):
                context.write(address + 2 * begin * row, public_library.halves(seqlen * row, f"{name} {seed}") if name != "output"
                              else POISON * (2 * seqlen * row))
        args.cu_seqlens_q = args.cu_seqlens_kv = arena.block("cu_seqlens", 4 * (batch + 1))
        context.write(args.cu_seqlens_q, struct.pack("=3i", 0, second, total))
        context.prepare(args)
        context.attend(args)
        context.synchronize()
        outputs.append(b"".join(context.read(args.output.data + 2 * begin * row, 2 * seqlen * row) for begin in (0, second)))
    return [] if outputs[0] == outputs[1] and outputs[0].count(POISON) == 0 else ["sequences far in give other bits"]


# ---- so many elements indeed


def dense(device):
    """Batch entries that repeat: each has to come out as in the first piece."""
    piece, batch, seqlen, heads, dimension = 1024, (1 << 17) + 1024, 64, 4, 64
    context, arena = device.context, device.arena
    args = context.args(batch=batch, seqlen_q=seqlen, seqlen_kv=seqlen, heads_q=heads, heads_kv=heads, head_dim=dimension, kernel=device.kernel)
    entry = 2 * seqlen * heads * dimension
    for name in ("query", "key", "value", "output"):
        address = getattr(args, name).data = arena.block(name, batch * entry)
        if name == "output":
            context.fill(address, 0xff, batch * entry)
            continue
        for index in range(8):
            context.write(address + index * entry, public_library.halves(entry // 2, f"{name} {index}"))
        have = 8
        while have < batch:
            more = min(have, batch - have)
            context.copy(address + have * entry, address, more * entry)
            have += more
    context.prepare(args)
    context.attend(args)
    context.synchronize()
    first = context.read(args.output.data, piece * entry)
    problems = [] if first[:8 * entry] * (piece // 8) == first else ["the first entries differ"]
    problems += [] if first.count(POISON) < len(first) // 2 else ["the output was not written"]
    for begin, bytes_here in device.pieces(args.output.data, batch * entry):
        whole = first * (len(bytes_here) // len(first) + 1)
        if bytes_here != whole[:len(bytes_here)]:
            problems.append(f"entries from byte {begin} on are not the first ones")
    return problems


def many_keys(device):
    """One row that sees 2^25 keys: two of them, the sixth and the last, weigh the same and all others next to nothing."""
    keys, dimension = (1 << 25) + (1 << 14) + 3, 64
    context, arena = device.context, device.arena
    args = context.args(batch=1, seqlen_q=1, seqlen_kv=keys, heads_q=1, heads_kv=1, head_dim=dimension, kernel=device.kernel)
    two = struct.pack("=e", 2.0) * dimension
    seen = [public_library.halves(dimension, index) for index in (5, 6)]
    for name in ("key", "value"):
        address = getattr(args, name).data = arena.block(name, 2 * keys * dimension)
        context.fill(address, 0, 2 * keys * dimension)
        for index, key in enumerate((5, keys - 1)):
            context.write(address + 2 * key * dimension, two if name == "key" else seen[index])
    args.query.data, args.output.data, args.lse.data = (arena.block(name, 256) for name in ("query", "output", "lse"))
    context.write(args.query.data, two)
    context.prepare(args)
    context.fill(args.output.data, 0xff, 128)
    context.attend(args)
    context.synchronize()
    got = struct.unpack(f"={dimension}e", context.read(args.output.data, 128))
    wanted = [(a + b) / 2 for a, b in zip(*(struct.unpack(f"={dimension}e", one) for one in seen))]
    worst = max(abs(a - b) for a, b in zip(got, wanted))
    lse = struct.unpack("=f", context.read(args.lse.data, 4))[0]
    problems = [] if worst < 4e-3 else [f"the output is {worst} off"]  # also where it is NaN
    return problems + ([] if abs(lse - 32.693147) < 1e-3 else [f"the LSE is {lse}, not 32.693"])


def far_states(device):
    """merge_states: states, then batch entries, so far apart."""
    problems, context, arena = [], device.context, device.arena
    states, batch, seqlen, heads, dimension = 3, 3, 5, 2, 64
    rows, outputs = batch * seqlen * heads, []
    for far in (None, "states", "batch"):
        args = context.abi.MergeStatesArgs(state_count=states, batch=batch, seqlen_q=seqlen, heads_q=heads, head_dim_v=dimension)
        state, lses, result = (Tensor((batch, seqlen, heads, width), size, 0 if far == "batch" else None, order=order)
                               for width, size, order in ((dimension, 2, (0, 1, 2)), (1, 4, (0, 2, 1)), (dimension, 2, (0, 1, 2))))
        # Where batch entries are far apart, the states of one lie together between it and the next.
        args.output_state_stride, args.lse_state_stride = (BEYOND // 2 + 8 & ~7,) * 2 if far == "states" else (rows * dimension, rows)
        places = {"output_states": (state, args.output_state_stride), "lse_states": (lses, args.lse_state_stride)}
        for name, (tensor, stride) in places.items():
            address = arena.block(name, tensor.width * (tensor.elements + (states - 1) * stride))
            tensor.describe(getattr(args, name), address)
            for index in range(states):
                data = public_library.halves(rows * dimension, f"{name} {index}")
                if name == "lse_states":
                    data = struct.pack(f"={rows}f", *struct.unpack(f"={rows}e", data[:2 * rows]))
                tensor.write(context, address + tensor.width * index * stride, data)
        address = arena.block("output", result.width * result.elements)
        result.describe(args.output, address)
        args.output_states.dtype = args.output.dtype = context.abi.DTYPE_FLOAT16
        context.call("merge_states_prepare", context.handle, args)
        device.poison(address, result)
        context.call("merge_states", context.handle, args, None)
        context.synchronize()
        outputs.append(result.read(context, address))
        problems += [f"{far}: {one}" for one in device.written_elsewhere(address, result)]
    return problems + [f"{far} far apart give other bits" for far, one in zip(("states", "batch"), outputs[1:]) if one != outputs[0]]


def cases(on_gpu):
    for axis, name in enumerate(("batch entries", "rows", "heads")):
        for dimension, odd in ((64, False), (128, False), (64, True)):
            yield (f"{name} far apart, d{dimension}{' odd' if odd else ''}",
                   lambda device, axis=axis, dimension=dimension, odd=odd: far_rows(device, (3, 70, 70, 3, 3, dimension), axis, odd))
    for axis, name in enumerate(("batch entries", "rows")):
        yield f"one query, {name} far apart", lambda device, axis=axis: far_rows(device, (3, 1, 2048, 8, 1, 64), axis)
    for name in ("bias", "mask"):
        for axis, what in enumerate(("batch entries", "rows", "heads", "keys")):
            yield f"{name}: {what} far apart", lambda device, name=name, axis=axis: far_score_rows(device, name, axis)
    yield "pages far in", far_pages
    yield "sequences far in", far_sequences
    if on_gpu:
        yield "dense", dense
        yield "2^25 keys", many_keys


def check_target(report, library, name, kernel, **options):
    with public_library.Context(library, **options) as context:
        device = Device(context, kernel)
        try:
            passed, began = 0, time.monotonic()
            for case, body in [("states", far_states)] if kernel == "merge_states" else cases(device.on_gpu):
                try:
                    problems = body(device)
                    report.case(f"{name}: {case}", problems)
                    passed += not problems
                except public_library.Refused as refused:
                    if refused.status == "UNSUPPORTED" and kernel or refused.status in NO_MEMORY + ("COMPILER_UNAVAILABLE",):
                        report.skip(f"{name}: {case}", refused.message)
                    else:
                        report.case(f"{name}: {case}", [str(refused)])
                        if refused.status == "CONTEXT_LOST":
                            return
            print(f"# {name}: {time.monotonic() - began:.1f} s")
            print(f"figure: {passed} cases beyond 2^31 elements", file=sys.stderr)
            device.close()
        except public_library.Refused as refused:
            report.case(f"{name}: memory for it", [str(refused)])


def main():
    report = house.Report()
    library = public_library.Library(ROOT, LIBRARY)
    wanted = sys.argv[3:]
    if not wanted or "cpu" in wanted:
        check_target(report, library, "cpu", "", device_kind=library.abi.DEVICE_CPU)
        check_target(report, library, "cpu-merge_states", "merge_states", device_kind=library.abi.DEVICE_CPU)
    reason = library.no_gpu()
    if reason:
        report.skip("kernels of GPUs", reason)
        report.finish()
    with public_library.Context(library, device_kind=library.abi.DEVICE_CUDA) as context:
        kernels, others = library.kernels(context.device().arch)
    for kernel in others:
        report.skip(f"cuda-{kernel}", "it does not run on this architecture")
    for kernel in ["", *kernels, "merge_states"]:
        if not wanted or (kernel or "auto") in wanted:
            check_target(report, library, f"cuda-{kernel or 'auto'}", kernel, device_kind=library.abi.DEVICE_CUDA)
    report.finish()


if __name__ == "__main__":
    main()
