# SPDX-License-Identifier: Apache-2.0
"""The ABI as ctypes declarations: bindings/python/flashcore/_abi_table.py. Called by abi_table.py; Python 3.9 is enough."""
PATH = "bindings/python/flashcore/_abi_table.py"

SCALARS = {"int32_t": "_i32", "uint32_t": "_u32", "int64_t": "_i64", "uint64_t": "_u64", "float": "_f32", "double": "_f64",
           "char": "_char", "flashcore_status": "_i32", "flashcore_context": "_pointer"}
SPECIAL = {"void": "None", "void *": "_pointer", "const void *": "_pointer", "const char *": "_text"}

HEAD = '''# SPDX-License-Identifier: Apache-2.0
"""The declarations of flashcore.h in ctypes, field by field. Made by bindings/abi_table.py --update; edit the header instead.

A struct that begins with struct_size has it set when it is made. PROTOTYPES: {function: (result, [arguments])}.
"""
from ctypes import POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p, sizeof

_char, _text, _pointer = c_char, c_char_p, c_void_p
_i32, _u32, _i64, _u64, _f32, _f64 = c_int32, c_uint32, c_int64, c_uint64, c_float, c_double


class _Sized(Structure):
    def __init__(self, **fields):
        super().__init__(struct_size=sizeof(type(self)), **fields)
'''


def class_name(struct):
    """AttentionArgs of flashcore_attention_args"""
    return "".join(word.capitalize() for word in struct.removeprefix("flashcore_").split("_"))


def python_type(word):
    word = word.strip()
    if word in SPECIAL:
        return SPECIAL[word]
    if word.endswith("*"):
        return f"POINTER({python_type(word[:-1].strip().removeprefix('const '))})"
    return SCALARS.get(word) or class_name(word)


def parameter_type(parameter):
    kind, name = parameter.rsplit(" ", 1)
    return python_type(f"{kind} {'*' * (len(name) - len(name.lstrip('*')))}".strip())


def struct_text(name, fields):
    base = "_Sized" if fields[0].name == "struct_size" else "Structure"
    lines = []
    for field in fields:
        word, count = field.element
        kind = python_type(word)
        lines.append(f'        ("{field.name}", {f"{kind} * {count}" if count else kind}),')
    return f"\n\nclass {class_name(name)}({base}):\n    _fields_ = [\n" + "\n".join(lines) + "\n    ]\n"


def text(abi):
    structs = "".join(struct_text(name, fields) for name, fields in abi.structs.items())
    constants = "\n".join(f"{name.removeprefix('FLASHCORE_')} = {value}" for name, value in abi.constants.items())
    prototypes = "\n".join(f'    "{name}": ({python_type(kind)}, [{", ".join(map(parameter_type, parameters))}]),'
                           for name, (kind, parameters) in abi.functions.items())
    return f"{HEAD}{structs}\n\n{constants}\n\nPROTOTYPES = {{\n{prototypes}\n}}\n"
