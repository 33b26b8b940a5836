// SPDX-License-Identifier: Apache-2.0
//
//! The golden vectors of tests/golden/vectors: cases.json and .npy files. A missing or damaged file is a panic with its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One case of cases.json with its float64 results, which are stored as float32.
pub struct Golden {
    pub name: String,
    pub dtype: String,
    pub batch: usize,
    pub heads_q: usize,
    pub heads_kv: usize,
    pub seqlen_q: usize,
    pub seqlen_kv: usize,
    pub head_dim: usize,
    pub head_dim_v: usize,
    pub causal: String,
    pub window: [i64; 2],
    pub chunk: usize,
    pub softcap: f32,
    pub scale: f32,
    pub std: f64, // of the inputs
    pub query: Vec<u16>,
    pub key: Vec<u16>,
    pub value: Vec<u16>,
    pub alibi: Option<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
    pub mask: Option<Vec<u8>>,
    pub sinks: Option<Vec<f32>>,
    pub output: Vec<f32>,
    pub lse: Vec<f32>,
}

fn folder() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.join("../../../tests/golden/vectors")
}

/// The bytes of a little-endian array in C order, after a check of its type and shape.
fn npy(path: &Path, descr: &str, shape: &[usize]) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {}", path.display(), error));
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"), "{}: not a .npy file of version 1", path.display());
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..end]).expect("an ASCII header");
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let expected = format!("'descr': '{}', 'fortran_order': False, 'shape': ({}{})", descr, sizes.join(", "), comma);
    assert!(header.contains(&expected), "{}: {:?} lacks {:?}", path.display(), header, expected);
    bytes[end..].to_vec()
}

fn npy_u16(path: &Path, descr: &str, shape: &[usize]) -> Vec<u16> {
    npy(path, descr, shape).chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect()
}

fn npy_f32(path: &Path, shape: &[usize]) -> Vec<f32> {
    npy(path, "<f4", shape).chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

/// The objects of a JSON array whose members are numbers, strings, booleans and arrays of two numbers, as text.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let objects = text.split('{').skip(1).map(|rest| rest.split('}').next().expect("an object has an end"));
    objects
        .map(|object| {
            let flat = object.replace([' ', '\n', '"'], "");
            let mut members: Vec<String> = Vec::new();
            for part in flat.split(',') {
                match part.contains(':') {
                    true => members.push(part.to_string()),
                    false => members.last_mut().expect("a member before its second number").push_str(&format!(",{}", part)),
                }
            }
            let pair = |member: &String| member.split_once(':').map(|(name, value)| (name.to_string(), value.to_string()));
            members.iter().map(|member| pair(member).expect("name:value")).collect()
        })
        .collect()
}

fn load(row: &BTreeMap<String, String>) -> Golden {
    let word = |name: &str| row.get(name).unwrap_or_else(|| panic!("cases.json: {:?} lacks {}", row, name)).clone();
    let size = |name: &str| word(name).parse::<usize>().unwrap_or_else(|_| panic!("cases.json: {} is {}", name, word(name)));
    let number =
        |name: &str| word(name).parse::<f64>().unwrap_or_else(|_| panic!("cases.json: {} is {}", name, word(name))) as f32;
    let (batch, heads_q, heads_kv) = (size("b"), size("hq"), size("hk"));
    let (seqlen_q, seqlen_kv, head_dim, head_dim_v) = (size("sq"), size("sk"), size("d"), size("dv"));
    let window: Vec<i64> =
        word("window").trim_matches(['[', ']'].as_ref()).split(',').map(|one| one.parse().expect("a window")).collect();
    let (name, dtype) = (word("name"), word("dtype"));
    let path = |file: &str| folder().join(&name).join(file);
    let input = |letter: &str, shape: &[usize]| match dtype.as_str() {
        "float16" => npy_u16(&path(&format!("{}.npy", letter)), "<f2", shape),
        "bfloat16" => npy_u16(&path(&format!("{}_bf16bits.npy", letter)), "<u2", shape),
        other => panic!("cases.json: dtype is {}", other),
    };
    let optional = |member: &str, file: &str, shape: &[usize]| match word(member).as_str() {
        "true" => Some(npy_f32(&path(file), shape)),
        _ => None,
    };
    Golden {
        query: input("q", &[batch, seqlen_q, heads_q, head_dim]),
        key: input("k", &[batch, seqlen_kv, heads_kv, head_dim]),
        value: input("v", &[batch, seqlen_kv, heads_kv, head_dim_v]),
        alibi: optional("alibi", "alibi.npy", &[heads_q]),
        bias: optional("bias", "bias.npy", &[heads_q, seqlen_q, seqlen_kv]),
        mask: match word("mask").as_str() {
            "true" => Some(npy(&path("mask.npy"), "|b1", &[batch, heads_q, seqlen_q, seqlen_kv])),
            _ => None,
        },
        sinks: optional("sink", "sink.npy", &[heads_q]),
        output: npy_f32(&path("o.npy"), &[batch, seqlen_q, heads_q, head_dim_v]),
        lse: npy_f32(&path("lse.npy"), &[batch, heads_q, seqlen_q]),
        causal: word("causal"),
        window: [window[0], window[1]],
        chunk: size("chunk"),
        softcap: number("softcap"),
        scale: number("scale"),
        std: number("std").into(),
        name,
        dtype,
        batch,
        heads_q,
        heads_kv,
        seqlen_q,
        seqlen_kv,
        head_dim,
        head_dim_v,
    }
}

/// Every case, in the order of cases.json.
pub fn cases() -> Vec<Golden> {
    let path = folder().join("cases.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {}", path.display(), error));
    let cases: Vec<Golden> = rows(&text).iter().map(load).collect();
    assert!(cases.len() >= 32, "{}: only {} cases", path.display(), cases.len());
    cases
}
