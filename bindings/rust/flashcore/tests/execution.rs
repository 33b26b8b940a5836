// SPDX-License-Identifier: Apache-2.0
//
//! Float32 output, pieces of keys, batch invariance, limits, and shards that merge to the whole.

mod common;

use common::random;
use flashcore::{Attention, Causal, Context, Device, MergeStates, Tensor, TensorMut, F16};

const QUERIES: usize = 5;
const KEYS: usize = 120;
const HEADS: usize = 2;
const DIM: usize = 16;
const ROW: usize = HEADS * DIM;

fn near(got: &[f32], expected: &[f32], most: f32) {
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= most, "element {}: {} and {}", i, a, b);
    }
}

#[test]
fn outputs_pieces_limits_and_shards() {
    let context = Context::open(Device::Cpu).unwrap();
    let (query, key, value) = (random::<F16>(QUERIES * ROW, 1), random::<F16>(KEYS * ROW, 2), random::<F16>(KEYS * ROW, 3));
    let of = |first: usize, end: usize| {
        let shape = [1, end - first, HEADS, DIM];
        let query = Tensor::host(&query, [1, QUERIES, HEADS, DIM]);
        Attention::new(
            query,
            Tensor::host(&key[first * ROW..end * ROW], shape),
            Tensor::host(&value[first * ROW..end * ROW], shape),
        )
        .causal(Causal::BottomRight)
    };
    let run = |attention: Attention<F16>| {
        let (mut output, mut lse) = (vec![0f32; QUERIES * ROW], vec![0f32; QUERIES * HEADS]);
        attention
            .lse(TensorMut::host(&mut lse, [1, HEADS, QUERIES, 1]))
            .run(&context, TensorMut::host(&mut output, [1, QUERIES, HEADS, DIM]))
            .unwrap();
        (output, lse)
    };
    let (expected, expected_lse) = run(of(0, KEYS));
    let mut rounded = vec![F16::default(); QUERIES * ROW];
    of(0, KEYS).run(&context, TensorMut::host(&mut rounded, [1, QUERIES, HEADS, DIM])).unwrap();
    assert!(rounded.iter().zip(&expected).all(|(a, b)| a.to_f32() == F16::from_f32(*b).to_f32()));
    for attention in [
        of(0, KEYS).split_count(3),
        of(0, KEYS).split_tokens(30),
        of(0, KEYS).batch_invariant(),
        of(0, KEYS).multiprocessor_limit(1),
    ] {
        near(&run(attention).0, &expected, 2e-3);
    }
    let (mut states, mut lse_states) = (Vec::new(), Vec::new());
    for (first, end) in [(70, KEYS), (0, 30), (30, 70)] {
        let (output, lse) = run(of(first, end).positions((KEYS - QUERIES) as i64, first as i64));
        states.extend(output);
        lse_states.extend(lse);
    }
    let (mut merged, mut merged_lse) = (vec![0f32; QUERIES * ROW], vec![0f32; QUERIES * HEADS]);
    MergeStates::new(3, Tensor::host(&states, [3, QUERIES, HEADS, DIM]), Tensor::host(&lse_states, [3, HEADS, QUERIES, 1]))
        .lse(TensorMut::host(&mut merged_lse, [1, HEADS, QUERIES, 1]))
        .run(&context, TensorMut::host(&mut merged, [1, QUERIES, HEADS, DIM]))
        .unwrap();
    near(&merged, &expected, 2e-3);
    near(&merged_lse, &expected_lse, 1e-5);
}
