// SPDX-License-Identifier: Apache-2.0
//
//! The golden vectors through the safe interface. A case whose feature the build does not have must be refused with the
//! feature's own field: a window that is silently ignored would give plausible numbers.

mod common;

use common::golden::{cases, Golden};
use common::Half;
use flashcore::{Attention, Bf16, Causal, Context, Device, Result, Status, F16};

/// The fields that a case is about, beyond what every build and device has.
fn feature_fields(golden: &Golden) -> Vec<&'static str> {
    let mut fields = Vec::new();
    if golden.window != [-1, -1] {
        fields.extend(["flags", "window_left", "window_right"]);
    }
    if golden.chunk != 0 {
        fields.push("attention_chunk");
    }
    if golden.softcap != 0.0 {
        fields.push("softcap");
    }
    if golden.alibi.is_some() {
        fields.push("alibi_slopes");
    }
    if golden.bias.is_some() {
        fields.push("bias");
    }
    if golden.mask.is_some() {
        fields.push("mask");
    }
    if golden.sinks.is_some() {
        fields.push("sinks");
    }
    fields
}

fn compute<T: Half>(context: &Context, golden: &Golden) -> Result<(Vec<f32>, Vec<f32>)> {
    let upload = |bits: &[u16]| context.upload(&bits.iter().map(|&one| T::from_bits(one)).collect::<Vec<T>>());
    let (query, key, value) = (upload(&golden.query)?, upload(&golden.key)?, upload(&golden.value)?);
    let (b, sq, sk, hq) = (golden.batch, golden.seqlen_q, golden.seqlen_kv, golden.heads_q);
    // What is not written is a NaN and fails.
    let mut output = context.upload(&vec![T::from_bits(0xffff); golden.output.len()])?;
    let mut lse = context.upload(&vec![f32::NAN; golden.lse.len()])?;
    let floats = |values: &Option<Vec<f32>>| values.as_ref().map(|values| context.upload(values)).transpose();
    let (alibi, bias, sinks) = (floats(&golden.alibi)?, floats(&golden.bias)?, floats(&golden.sinks)?);
    let mask = golden.mask.as_ref().map(|mask| context.upload(mask)).transpose()?;
    let mut attention = Attention::new(
        query.tensor([b, sq, hq, golden.head_dim]),
        key.tensor([b, sk, golden.heads_kv, golden.head_dim]),
        value.tensor([b, sk, golden.heads_kv, golden.head_dim_v]),
    )
    .softmax_scale(golden.scale)
    .softcap(golden.softcap)
    .lse(lse.tensor_mut([b, hq, sq, 1]))
    .causal(match golden.causal.as_str() {
        "none" => Causal::None,
        "top_left" => Causal::TopLeft,
        "bottom_right" => Causal::BottomRight,
        other => panic!("cases.json: causal is {}", other),
    });
    if golden.window[0] >= 0 {
        attention = attention.window_left(golden.window[0]);
    }
    if golden.window[1] >= 0 {
        attention = attention.window_right(golden.window[1]);
    }
    if golden.chunk != 0 {
        attention = attention.attention_chunk(golden.chunk);
    }
    if let Some(slopes) = &alibi {
        attention = attention.alibi_slopes(slopes.tensor([1, 1, hq, 1]));
    }
    if let Some(bias) = &bias {
        attention = attention.bias(bias.tensor([b, sq, hq, sk]).strides([0, sk, sq * sk, 1]));
    }
    if let Some(mask) = &mask {
        attention = attention.mask(mask.tensor([b, sq, hq, sk]).strides([hq * sq * sk, sk, sq * sk, 1]));
    }
    if let Some(sinks) = &sinks {
        attention = attention.sinks(sinks.tensor([1, 1, hq, 1]));
    }
    attention.run(context, output.tensor_mut([b, sq, hq, golden.head_dim_v]))?;
    Ok((output.to_vec()?.iter().map(|value| value.to_f32()).collect(), lse.to_vec()?))
}

/// Against the float64 results: the contract's bounds for inputs of standard deviation 1, grown with larger inputs and with the
/// rounding of larger results.
fn check_values(golden: &Golden, output: &[f32], lse: &[f32]) {
    let (most, mean, unit) = if golden.dtype == "float16" { (1e-3, 5e-5, 2f64.powi(-11)) } else { (5e-3, 3e-4, 2f64.powi(-8)) };
    let (most, mean) = (most * golden.std.max(1.0), mean * golden.std.max(1.0));
    let (mut sum, mut expected_sum) = (0.0, 0.0);
    for (index, (&actual, &expected)) in output.iter().zip(&golden.output).enumerate() {
        let (actual, expected) = (f64::from(actual), f64::from(expected));
        let error = (actual - expected).abs();
        assert!(error <= most + unit * expected.abs(), "{}: output[{}] is {}, not {}", golden.name, index, actual, expected);
        sum += error;
        expected_sum += expected.abs();
    }
    let count = output.len() as f64;
    assert!(sum / count <= mean + unit * expected_sum / count / 2.0, "{}: mean error {:e}", golden.name, sum / count);
    for (index, (&actual, &expected)) in lse.iter().zip(&golden.lse).enumerate() {
        let same = actual == expected || (actual - expected).abs() <= 1e-4 + 2e-6 * expected.abs();
        assert!(same, "{}: lse[{}] is {}, not {}", golden.name, index, actual, expected);
    }
}

fn check_golden(device: Device) {
    let context = Context::open(device).expect("a context");
    let (mut computed, mut refused) = (0, 0);
    for golden in cases() {
        let result = match golden.dtype.as_str() {
            "float16" => compute::<F16>(&context, &golden),
            _ => compute::<Bf16>(&context, &golden),
        };
        match result {
            Ok((output, lse)) => {
                check_values(&golden, &output, &lse);
                computed += 1;
            }
            Err(error) => {
                let fields = feature_fields(&golden);
                let named = fields.iter().any(|field| error.field().starts_with(field));
                // A GPU has kernels for some head dimensions only; the CPU device takes any.
                let size = fields.is_empty() && device != Device::Cpu && error.field().starts_with("head_dim");
                assert!(error.status() == Status::Unsupported && (named || size), "{}: {:?}", golden.name, error);
                refused += 1;
            }
        }
    }
    println!("{:?}: {} golden cases computed, {} refused", device, computed, refused);
    assert!(computed >= 8, "refused nearly everything");
}

#[test]
fn golden_vectors_on_the_cpu() {
    check_golden(Device::Cpu);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn golden_vectors_on_the_gpu() {
    check_golden(Device::Cuda(0));
}
