// SPDX-License-Identifier: Apache-2.0
//
//! New rows of a cache, and rotary embedding: as a call that finds all of it done.

mod common;

use common::{largest_difference, random};
use flashcore::{Attention, Causal, Context, Device, Result, Sequences, Status, F16};

const BATCH: usize = 2;
const QUERIES: usize = 3;
const NEW: usize = 4;
const ROOM: usize = 24;
const HEADS: usize = 4;
const HEADS_KV: usize = 2;
const HEAD_DIM: usize = 64;
const ROW_KV: usize = HEADS_KV * HEAD_DIM;
const ROTARY: usize = 32;
const POSITIONS: usize = 30;

/// Rows of heads, rotated in place by the tables' rows from `first` on.
fn rotate(rows: &mut [F16], heads: usize, first: usize, cos: &[F16], sin: &[F16], interleaved: bool) {
    for (row, heads_of_row) in rows.chunks_mut(heads * HEAD_DIM).enumerate() {
        for head in heads_of_row.chunks_mut(HEAD_DIM) {
            for pair in 0..ROTARY / 2 {
                let (a, b) = if interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + ROTARY / 2) };
                let angle = (first + row) * ROTARY / 2 + pair;
                let (x, y, c, s) = (head[a].to_f32(), head[b].to_f32(), cos[angle].to_f32(), sin[angle].to_f32());
                head[a] = F16::from_f32(x * c - y * s);
                head[b] = F16::from_f32(y * c + x * s);
            }
        }
    }
}

fn check(device: Device, rotates: bool, interleaved: bool) -> Result<()> {
    let context = Context::open(device)?;
    let (used, length) = ([5i32, 17], [9i32, 21]);
    let query = random::<F16>(BATCH * QUERIES * HEADS * HEAD_DIM, 1);
    let (new_key, new_value) = (random::<F16>(BATCH * NEW * ROW_KV, 2), random::<F16>(BATCH * NEW * ROW_KV, 3));
    let (key, value) = (random::<F16>(BATCH * ROOM * ROW_KV, 4), random::<F16>(BATCH * ROOM * ROW_KV, 5));
    let (cos, sin) = (random::<F16>(POSITIONS * ROTARY / 2, 6), random::<F16>(POSITIONS * ROTARY / 2, 7));
    let (mut turned, mut keys, mut values) = (query.clone(), key.clone(), value.clone());
    for (b, &first) in used.iter().enumerate() {
        let at = (b * ROOM + first as usize) * ROW_KV;
        let of_new = b * NEW * ROW_KV..(b + 1) * NEW * ROW_KV;
        keys[at..at + NEW * ROW_KV].copy_from_slice(&new_key[of_new.clone()]);
        values[at..at + NEW * ROW_KV].copy_from_slice(&new_value[of_new]);
        if rotates {
            rotate(&mut keys[at..at + NEW * ROW_KV], HEADS_KV, first as usize, &cos, &sin, interleaved);
            let of_query = b * QUERIES * HEADS * HEAD_DIM..(b + 1) * QUERIES * HEADS * HEAD_DIM;
            rotate(&mut turned[of_query], HEADS, first as usize, &cos, &sin, interleaved);
        }
    }
    let (shape, cache, new) =
        ([BATCH, QUERIES, HEADS, HEAD_DIM], [BATCH, ROOM, HEADS_KV, HEAD_DIM], [BATCH, NEW, HEADS_KV, HEAD_DIM]);
    let (of, tables) = ([1, 1, 1, BATCH], [1, POSITIONS, 1, ROTARY / 2]);
    let (after, before) = (context.upload(&length)?, context.upload(&used)?);
    let mut expected = context.zeros::<F16>(query.len())?;
    let (turned, done, done_value) = (context.upload(&turned)?, context.upload(&keys)?, context.upload(&values)?);
    Attention::new(turned.tensor(shape), done.tensor(cache), done_value.tensor(cache))
        .causal(Causal::BottomRight)
        .sequences(Sequences::new().seqused_kv(after.tensor(of)))
        .run(&context, expected.tensor_mut(shape))?;

    let (mut key, mut value) = (context.upload(&key)?, context.upload(&value)?);
    let (query, new_key, new_value) = (context.upload(&query)?, context.upload(&new_key)?, context.upload(&new_value)?);
    let (cos, sin) = (context.upload(&cos)?, context.upload(&sin)?);
    let mut output = context.zeros::<F16>(query.len())?;
    let sequences = Sequences::new().seqused_kv(before.tensor(of));
    let mut attention = Attention::appending(
        query.tensor(shape),
        key.tensor_mut(cache),
        value.tensor_mut(cache),
        new_key.tensor(new),
        new_value.tensor(new),
    )
    .causal(Causal::BottomRight)
    .sequences(sequences);
    if rotates {
        attention = attention.rotary(cos.tensor(tables), sin.tensor(tables)).rotary_positions(before.tensor(of));
    }
    if interleaved {
        attention = attention.rotary_interleaved();
    }
    attention.prepare(&context)?;
    attention.run(&context, output.tensor_mut(shape))?;
    assert!(largest_difference(&output.to_vec()?, &expected.to_vec()?) <= 2e-3);
    let bits = |numbers: Vec<F16>| numbers.iter().map(|one| one.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(key.to_vec()?), bits(keys));
    assert_eq!(bits(value.to_vec()?), bits(values));
    Ok(())
}

fn check_refusals(device: Device) -> Result<()> {
    let context = Context::open(device)?;
    let kv = context.zeros::<F16>(BATCH * ROOM * ROW_KV)?;
    let (mut key, mut value) = (context.zeros::<F16>(BATCH * ROOM * ROW_KV)?, context.zeros::<F16>(BATCH * ROOM * ROW_KV)?);
    let mut output = context.zeros::<F16>(BATCH * QUERIES * HEADS * HEAD_DIM)?;
    let query = context.zeros::<F16>(BATCH * QUERIES * HEADS * HEAD_DIM)?;
    let (shape, cache) = ([BATCH, QUERIES, HEADS, HEAD_DIM], [BATCH, ROOM, HEADS_KV, HEAD_DIM]);
    let mut refused = |new: [usize; 4], cos: [usize; 4], sin: [usize; 4], field: &str| {
        let attention = Attention::appending(
            query.tensor(shape),
            key.tensor_mut(cache),
            value.tensor_mut(cache),
            kv.tensor(new),
            kv.tensor(new),
        );
        let error = attention.rotary(kv.tensor(cos), kv.tensor(sin)).run(&context, output.tensor_mut(shape)).unwrap_err();
        assert_eq!((error.status(), error.field()), (Status::InvalidArgument, field), "{:?}", error);
    };
    let (new, table) = ([BATCH, NEW, HEADS_KV, HEAD_DIM], [1, POSITIONS, 1, ROTARY / 2]);
    refused([BATCH, NEW, HEADS_KV, HEAD_DIM / 2], table, table, "new_key.shape[3]");
    refused([BATCH, 0, HEADS_KV, HEAD_DIM], table, table, "new_key.shape[1]");
    refused(new, [1, POSITIONS, 1, HEAD_DIM / 2 + 1], table, "rotary_cos.shape[3]");
    refused(new, table, [1, POSITIONS - 1, 1, ROTARY / 2], "rotary_sin.shape[1]");
    Ok(())
}

fn check_all(device: Device) {
    for (rotates, interleaved) in [(false, false), (true, false), (true, true)] {
        check(device, rotates, interleaved).unwrap();
    }
    check_refusals(device).unwrap();
}

#[test]
fn new_rows_on_the_cpu() {
    check_all(Device::Cpu);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn new_rows_on_the_gpu() {
    check_all(Device::Cuda(0));
}
