// SPDX-License-Identifier: Apache-2.0
//
//! The declarations against the table of the ABI, bindings/abi_layout.tsv, which all bindings are compared with. Rust has no
//! reflection, so a field is found by what it does: ones written over the table's bytes must change the field of that name
//! in the struct's Debug output, and no other. A struct that is not listed in STRUCTS below fails by name.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::mem::{size_of, zeroed};
use std::path::PathBuf;

use flashcore_sys::*;

const SOURCE: &str = include_str!("../src/abi.rs");

fn table() -> Vec<Vec<String>> {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let path = manifest.join("../../abi_layout.tsv");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {}", path.display(), error));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').map(String::from).collect()).collect()
}

/// The fields of a struct and what Debug prints for each.
fn fields<T: Debug>(value: &T) -> Vec<(String, String)> {
    let text = format!("{:#?}", value);
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines().skip(1) {
        let inner = line.strip_prefix("    ").unwrap_or("");
        match inner.split_once(": ") {
            Some((name, rest)) if !inner.starts_with([' ', ']', '}']) => found.push((name.to_string(), rest.to_string())),
            _ => found.iter_mut().last().map_or((), |(_, text)| text.push_str(inner)),
        }
    }
    found
}

/// What is wrong with one struct; `rows` are its fields in the table.
fn problems_of<T: Debug + Copy>(name: &str, bytes: usize, rows: &[Vec<String>]) -> Vec<String> {
    let plain = fields(&unsafe { zeroed::<T>() });
    let mut problems = Vec::new();
    if size_of::<T>() != bytes {
        problems.push(format!("Rust: {} has {} bytes, the table says {}", name, size_of::<T>(), bytes));
    }
    let known: Vec<&str> = rows.iter().map(|row| row[2].as_str()).collect();
    problems.extend(
        plain
            .iter()
            .filter(|(field, _)| !known.contains(&field.as_str()))
            .map(|(field, _)| format!("Rust: {}.{} is not in the table", name, field)),
    );
    for row in rows {
        let (field, offset, size): (_, usize, usize) = (&row[2], row[4].parse().unwrap(), row[5].parse().unwrap());
        if !plain.iter().any(|(known, _)| known == field) {
            problems.push(format!("Rust: {}.{} is missing", name, field));
            continue;
        }
        if offset + size > size_of::<T>() {
            problems.push(format!("Rust: {}.{} ends at byte {}, the struct at {}", name, field, offset + size, size_of::<T>()));
            continue;
        }
        // The first and the last byte each must belong to the field, and their neighbours outside to another.
        let changed_by = |at: usize| -> Vec<String> {
            let mut value = unsafe { zeroed::<T>() };
            unsafe { (&mut value as *mut T).cast::<u8>().add(at).write(1) };
            let now = fields(&value);
            plain.iter().zip(&now).filter(|(before, after)| before != after).map(|(before, _)| before.0.clone()).collect()
        };
        for (at, inside) in [(offset, true), (offset + size - 1, true), (offset.wrapping_sub(1), false), (offset + size, false)] {
            if at < size_of::<T>() && changed_by(at).contains(field) != inside {
                let where_it_is: Vec<usize> = (0..size_of::<T>()).filter(|&at| changed_by(at).contains(field)).collect();
                problems.push(format!(
                    "Rust: {}.{} is at bytes {} to {}, the table says {} to {}",
                    name,
                    field,
                    where_it_is.first().unwrap_or(&0),
                    where_it_is.last().unwrap_or(&0),
                    offset,
                    offset + size - 1
                ));
                break;
            }
        }
    }
    problems
}

type Check = fn(&str, usize, &[Vec<String>]) -> Vec<String>;

const STRUCTS: [(&str, Check); 9] = [
    ("flashcore_error", problems_of::<flashcore_error>),
    ("flashcore_device_info", problems_of::<flashcore_device_info>),
    ("flashcore_context_options", problems_of::<flashcore_context_options>),
    ("flashcore_context_info", problems_of::<flashcore_context_info>),
    ("flashcore_tensor", problems_of::<flashcore_tensor>),
    ("flashcore_attention_args", problems_of::<flashcore_attention_args>),
    ("flashcore_attention_explanation", problems_of::<flashcore_attention_explanation>),
    ("flashcore_merge_states_args", problems_of::<flashcore_merge_states_args>),
    ("flashcore_variant_options", problems_of::<flashcore_variant_options>),
];

fn struct_problems(table: &[Vec<String>]) -> Vec<String> {
    let of_kind = |kind: &'static str| table.iter().filter(move |row| row[0] == kind);
    let mut problems = Vec::new();
    for row in of_kind("struct") {
        let rows: Vec<Vec<String>> = of_kind("field").filter(|field| field[1] == row[1]).cloned().collect();
        match STRUCTS.iter().find(|(name, _)| *name == row[1]) {
            Some((name, check)) => problems.extend(check(name, row[2].parse().unwrap(), &rows)),
            None => problems.push(format!("Rust: {} is missing", row[1])),
        }
    }
    let in_table = |name: &str| of_kind("struct").any(|row| row[1] == name);
    problems.extend(
        STRUCTS.iter().filter(|(name, _)| !in_table(name)).map(|(name, _)| format!("Rust: {} is not in the table", name)),
    );
    problems
}

/// {name: what is declared} of one kind of line in the declarations, which are made by a tool and so have one form.
fn declared(begin: &str, split: &str) -> BTreeMap<String, String> {
    let lines = SOURCE.lines().map(str::trim).filter_map(|line| line.strip_prefix(begin));
    lines.filter_map(|line| line.split_once(split)).map(|(name, rest)| (name.to_string(), rest.to_string())).collect()
}

fn compare(kind: &str, expected: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in expected {
        match found.get(name) {
            None => problems.push(format!("Rust: {} is missing", name)),
            Some(other) if other != value => {
                problems.push(format!("Rust: {} {} is {}, the table says {}", kind, name, other, value))
            }
            Some(_) => {}
        }
    }
    problems.extend(
        found.keys().filter(|name| !expected.contains_key(*name)).map(|name| format!("Rust: {} is not in the table", name)),
    );
    problems
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn structs_are_those_of_the_table() {
    report(&struct_problems(&table()));
}

#[test]
fn constants_are_those_of_the_table() {
    let expected: BTreeMap<_, _> =
        table().iter().filter(|row| row[0] == "constant").map(|row| (row[1].clone(), row[2].clone())).collect();
    let found = declared("pub const ", ": ").into_iter().map(|(name, rest)| {
        let value = rest.split_once(" = ").expect("a constant has a value").1.trim_end_matches(';').to_string();
        (name, value)
    });
    assert!(expected.len() > 40, "the table has {} constants", expected.len());
    report(&compare("constant", &expected, &found.collect()));
}

/// Parameters and result in the words of Rust: `const void *source` is `source: *const c_void`.
fn in_rust(kind: &str) -> String {
    let kind = kind.trim();
    if let Some(inner) = kind.strip_suffix('*') {
        let inner = inner.trim();
        return match inner.strip_prefix("const ") {
            Some(constant) => format!("*const {}", in_rust(constant)),
            None => format!("*mut {}", in_rust(inner)),
        };
    }
    let scalars = [
        ("int32_t", "i32"),
        ("uint32_t", "u32"),
        ("int64_t", "i64"),
        ("uint64_t", "u64"),
        ("double", "f64"),
        ("char", "c_char"),
        ("void", "c_void"),
    ];
    scalars.iter().find(|(c, _)| *c == kind).map_or(kind, |(_, rust)| rust).to_string()
}

fn parameter_in_rust(text: &str) -> String {
    let name_at = text.rfind([' ', '*']).expect("a type and a name") + 1;
    format!("{}: {}", &text[name_at..], in_rust(&text[..name_at]))
}

#[test]
fn functions_are_those_of_the_table() {
    let mut expected = BTreeMap::new();
    for row in table().iter().filter(|row| row[0] == "function") {
        let parameters: Vec<String> = row[3].split(", ").filter(|text| *text != "void").map(parameter_in_rust).collect();
        let result = if row[2] == "void" { String::new() } else { format!(" -> {}", in_rust(&row[2])) };
        expected.insert(row[1].clone(), format!("{}){};", parameters.join(", "), result));
    }
    let one_line = SOURCE.replace("\n        ", " ").replace(",\n    )", ")");
    let found = one_line.lines().filter_map(|line| line.trim().strip_prefix("pub fn ")).filter_map(|line| line.split_once('('));
    let found: BTreeMap<String, String> = found.map(|(name, rest)| (name.to_string(), rest.trim().to_string())).collect();
    assert!(expected.len() > 20, "the table has {} functions", expected.len());
    report(&compare("function", &expected, &found));
}

#[test]
fn a_wrong_table_is_caught() {
    let change = |name: &str, column: usize, value: &str| {
        let mut rows = table();
        let row = rows.iter_mut().find(|row| row[0] == "field" && row[2] == name).expect("a row to change");
        row[column] = value.to_string();
        struct_problems(&rows).join("\n")
    };
    assert!(change("softcap", 4, "296")
        .contains("Rust: flashcore_attention_args.softcap is at bytes 292 to 295, the table says 296 to 299"));
    assert!(change("workspace", 5, "4").contains("flashcore_attention_args.workspace is at bytes 768 to 775"));
    assert!(change("kernel", 2, "kernels").contains("flashcore_attention_args.kernels is missing"));
    let mut rows = table();
    rows.retain(|row| row[1] != "flashcore_error" || row[0] != "struct");
    assert!(struct_problems(&rows).join("\n").contains("flashcore_error is not in the table"));
}
