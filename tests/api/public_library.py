# SPDX-License-Identifier: Apache-2.0
"""The public library for checks in plain Python that run on any machine with a GPU, where neither a compiler nor Boost need be: its functions
through ctypes, with the declarations of the Python package, and a context that owns its memory.
"""
import ctypes
import importlib.util
import os
import random
import struct


def _declarations(root):
    path = os.path.join(root, "bindings/python/flashcore/_abi_table.py")
    spec = importlib.util.spec_from_file_location("abi_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Refused(Exception):
    """A status that is not OK."""

    def __init__(self, name, status, error):
        super().__init__(f"{name}: {status} ({error.driver_code}): {error.message.decode(errors='replace')}")
        self.status, self.driver_code = status, error.driver_code
        self.field, self.message = error.field.decode(), error.message.decode(errors="replace")


class Library:
    """Functions by their names without flashcore_; a status that is not OK is Refused."""

    def __init__(self, root, path):
        self.abi = _declarations(root)
        self.loaded = ctypes.CDLL(path)
        for name, (result, arguments) in self.abi.PROTOTYPES.items():
            function = getattr(self.loaded, name)
            function.argtypes, function.restype = arguments, result

    def call(self, name, *arguments):
        error = self.abi.Error()
        status = getattr(self.loaded, "flashcore_" + name)(*arguments, error)
        if status != 0:
            raise Refused(name, self.loaded.flashcore_status_name(status).decode(), error)

    def no_gpu(self):
        """Empty, or why there is none."""
        try:
            self.call("device_describe", 0, self.abi.DeviceInfo())
        except Refused as reason:
            return str(reason)
        return ""

    def device_count(self):
        count = ctypes.c_int32()
        self.call("device_count", ctypes.byref(count))
        return count.value

    def kernels(self, arch):
        """Names of the kernels of attention that run on the architecture, and of those that do not."""
        # From the unstable tier. Its structs are not declared here: the first two fields and the name of flashcore_kernel_info are enough.
        runs, others = [], []
        self.loaded.flashcore_kernel_count.restype = ctypes.c_int32
        for index in range(self.loaded.flashcore_kernel_count()):
            info = ctypes.create_string_buffer(4096)
            struct.pack_into("=I", info, 0, len(info))
            error = self.abi.Error()
            if self.loaded.flashcore_kernel_describe(ctypes.c_int32(index), info, ctypes.byref(error)) != 0:
                raise Refused("kernel_describe", "status", error)
            least, most = struct.unpack_from("=ii", info, 4)
            name = info.raw[16:16 + self.abi.NAME_BYTES].split(b"\0")[0].decode()
            if name != "merge_states":
                (runs if least <= arch and (most == 0 or arch <= most) else others).append(name)
        return runs, others


class Context:
    """flashcore_context with the memory that it gave; options by their names."""

    def __init__(self, library, **options):
        self.library, self.abi = library, library.abi
        struct_options = self.abi.ContextOptions()
        for name, value in options.items():
            setattr(struct_options, name, value.encode() if isinstance(value, str) else value)
        self.handle, self.owned = ctypes.c_void_p(), []
        self.call = library.call
        library.call("context_create", struct_options, ctypes.byref(self.handle))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for address in self.owned:
            self.library.loaded.flashcore_buffer_free(self.handle, address, None)
        self.library.loaded.flashcore_context_destroy(self.handle)

    def device(self):
        info = self.abi.DeviceInfo()
        self.call("context_describe_device", self.handle, info)
        return info

    def counters(self):
        info = self.abi.ContextInfo()
        self.call("context_describe", self.handle, info)
        return info

    def alloc(self, count):
        address = ctypes.c_uint64()
        self.call("buffer_alloc", self.handle, count, ctypes.byref(address))
        self.owned.append(address.value)
        return address.value

    def free(self, address):
        self.owned.remove(address)
        self.call("buffer_free", self.handle, address)

    def write(self, address, data):
        self.call("copy_to_device", self.handle, address, data, len(data), None)

    def read(self, address, count):
        data = ctypes.create_string_buffer(count)
        self.call("copy_to_host", self.handle, data, address, count, None)
        return data.raw

    def fill(self, address, value, count):
        self.call("buffer_fill", self.handle, address, value, count, None)

    def copy(self, destination, source, count):
        self.call("copy_on_device", self.handle, destination, source, count, None)

    def synchronize(self):
        self.call("context_synchronize", self.handle)

    def args(self, **fields):
        args = self.abi.AttentionArgs()
        args.query.dtype = self.abi.DTYPE_FLOAT16
        for name, value in fields.items():
            setattr(args, name, value.encode() if isinstance(value, str) else value)
        return args

    def attend(self, args, stream=None):
        self.call("attention_fwd", self.handle, args, stream)

    def prepare(self, args):
        self.call("attention_prepare", self.handle, args)

    def explain(self, args):
        explanation = self.abi.AttentionExplanation()
        self.call("attention_explain", self.handle, args, explanation)
        return explanation


_NORMAL = [random.Random(1).gauss(0, 1) for _ in range(20000)]


def halves(count, seed):
    """So many random normal numbers as bytes of float16."""
    return struct.pack(f"={count}e", *random.Random(seed).choices(_NORMAL, k=count))
