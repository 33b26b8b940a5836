# SPDX-License-Identifier: Apache-2.0
"""The ABI as Rust declarations: bindings/rust/flashcore-sys/src/abi.rs. Called by abi_table.py; Rust 1.63 is enough."""
WIDTH = 130  # of bindings/rust/rustfmt.toml
PATH = "bindings/rust/flashcore-sys/src/abi.rs"

SCALARS = {"int32_t": "i32", "uint32_t": "u32", "int64_t": "i64", "uint64_t": "u64", "float": "f32", "double": "f64",
           "char": "c_char", "void": "c_void"}

HEAD = """// SPDX-License-Identifier: Apache-2.0
//
//! The declarations of `flashcore.h`, field by field and with its names. Made by `bindings/abi_table.py --update`; edit the
//! header instead. Units, shapes, ownership, threads and statuses are in the header.

use std::os::raw::{c_char, c_void};

/// A status; its values are the constants from `FLASHCORE_OK` on.
pub type flashcore_status = i32;

/// What a `flashcore_context` points to.
#[repr(C)]
pub struct flashcore_context_s {
    _private: [u8; 0],
}

/// One device, its loaded kernels and its remembered plans.
pub type flashcore_context = *mut flashcore_context_s;
"""


def rust_type(word):
    """`const void *` and the like; a scalar, a struct or a handle."""
    word = word.strip()
    if word.endswith("*"):
        inner = word[:-1].strip()
        constant = inner.startswith("const ")
        return f"*{'const' if constant else 'mut'} {rust_type(inner[6:] if constant else inner)}"
    return SCALARS.get(word, word)


def parameter(text):
    """("name", "type") of `const void *source`"""
    kind, name = text.rstrip("]").rsplit(" ", 1)
    stars = len(name) - len(name.lstrip("*"))
    return name[stars:], rust_type(kind + "*" * stars)


def field_text(field):
    word, count = field.element
    kind = rust_type(word)
    doc = field.doc.replace("[", "\\[").replace("]", "\\]")
    return (f"    /// {doc}\n" if doc else "") + f"    pub {field.name}: {f'[{kind}; {count}]' if count else kind},"


def struct_text(name, fields):
    body = "\n".join(field_text(field) for field in fields)
    sized = "struct_size: std::mem::size_of::<Self>() as u32, ..zeroed" if fields[0].name == "struct_size" else "..zeroed"
    return f"""
/// `{name}` of `flashcore.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct {name} {{
{body}
}}

impl Default for {name} {{
    /// All fields zero{', `struct_size` set' if 'struct_size' in sized else ''}: the defaults of every field.
    fn default() -> Self {{
        // Every field is a number or an array of numbers, for which zero is a value.
        let zeroed: Self = unsafe {{ std::mem::zeroed() }};
        Self {{ {sized} }}
    }}
}}
""".replace("        let zeroed: Self = unsafe { std::mem::zeroed() };\n        Self { ..zeroed }\n", "        unsafe { std::mem::zeroed() }\n")


def constant_text(abi, name, value):
    kind = "u32" if name.startswith("FLASHCORE_FLAG_") else "i32"
    return f"pub const {name}: {kind} = {value};"


def function_text(name, kind, parameters):
    """As rustfmt leaves it: on one line where that fits."""
    arguments = [f"{word}: {rust}" for word, rust in map(parameter, parameters)]
    result = "" if kind == "void" else f" -> {rust_type(kind)}"
    line = f"    pub fn {name}({', '.join(arguments)}){result};"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"    pub fn {name}(", *(f"        {argument}," for argument in arguments), f"    ){result};"])


def text(abi):
    structs = "".join(struct_text(name, fields) for name, fields in abi.structs.items())
    constants = "\n".join(constant_text(abi, name, value) for name, value in abi.constants.items())
    functions = "\n".join(function_text(name, kind, parameters) for name, (kind, parameters) in abi.functions.items())
    return f'{HEAD}{structs}\n{constants}\n\nextern "C" {{\n{functions}\n}}\n'
