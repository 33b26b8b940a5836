// SPDX-License-Identifier: Apache-2.0
//
//! Attention over shards of the keys, merged, is attention over all of them; and what is refused.

mod common;

use common::{largest_difference, random, Half};
use flashcore::{Attention, Bf16, Context, Device, MergeStates, Result, Status, Tensor, TensorMut, F16};

const BATCH: usize = 2;
const QUERIES: usize = 5;
const HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const KEYS: usize = 50;

fn check_shards<T: Half>(device: Device, bound: f32) -> Result<()> {
    let context = Context::open(device)?;
    let stream = context.stream()?;
    let shape = |tokens| [BATCH, tokens, HEADS, HEAD_DIM];
    let rows = BATCH * QUERIES * HEADS;
    let query = context.upload::<T>(&random(rows * HEAD_DIM, 1))?;
    let key = context.upload::<T>(&random(BATCH * KEYS * HEADS * HEAD_DIM, 2))?;
    let value = context.upload::<T>(&random(BATCH * KEYS * HEADS * HEAD_DIM, 3))?;
    let mut whole = context.zeros::<T>(rows * HEAD_DIM)?;
    let mut whole_lse = context.zeros::<f32>(rows)?;
    let lse_shape = [BATCH, HEADS, QUERIES, 1];
    Attention::new(query.tensor(shape(QUERIES)), key.tensor(shape(KEYS)), value.tensor(shape(KEYS)))
        .lse(whole_lse.tensor_mut(lse_shape))
        .run_on(&stream, whole.tensor_mut(shape(QUERIES)))?;

    let shards = [0..11, 11..11, 11..50];
    let mut outputs = context.zeros::<T>(shards.len() * rows * HEAD_DIM)?;
    let mut logarithms = context.zeros::<f32>(shards.len() * rows)?;
    let all = [shards.len() * BATCH, QUERIES, HEADS, HEAD_DIM];
    for (index, shard) in shards.iter().enumerate() {
        Attention::new(
            query.tensor(shape(QUERIES)),
            key.tensor(shape(KEYS)).positions(shard.clone()),
            value.tensor(shape(KEYS)).positions(shard.clone()),
        )
        .lse(logarithms.tensor_mut(lse_shape).offset(index * rows))
        .run_on(&stream, outputs.tensor_mut(shape(QUERIES)).offset(index * rows * HEAD_DIM))?;
    }
    let mut output = context.zeros::<T>(rows * HEAD_DIM)?;
    let mut lse = context.zeros::<f32>(rows)?;
    let merge = MergeStates::new(shards.len(), outputs.tensor(all), logarithms.tensor([all[0], HEADS, QUERIES, 1]));
    merge.prepare::<T>(&context)?;
    merge.lse(lse.tensor_mut(lse_shape)).run_on(&stream, output.tensor_mut(shape(QUERIES)))?;
    stream.synchronize()?;
    let difference = largest_difference(&output.to_vec()?, &whole.to_vec()?);
    assert!(difference <= bound, "{} differs", difference);
    for (merged, expected) in lse.to_vec()?.iter().zip(whole_lse.to_vec()?) {
        assert!((merged - expected).abs() < 1e-4, "{} is not {}", merged, expected);
    }
    Ok(())
}

#[test]
fn shards_on_the_cpu() {
    check_shards::<F16>(Device::Cpu, 4e-3).unwrap();
    check_shards::<Bf16>(Device::Cpu, 3.2e-2).unwrap();
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn shards_on_the_gpu() {
    check_shards::<F16>(Device::Cuda(0), 4e-3).unwrap();
    check_shards::<Bf16>(Device::Cuda(0), 3.2e-2).unwrap();
}

#[test]
fn strides_and_base_2() {
    let context = Context::open(Device::Cpu).unwrap();
    // Rows of 2 columns in memory of 3; two states of two batch entries.
    let outputs: Vec<f32> = (0..12).map(|value| value as f32).collect();
    let logarithms = [0f32, 1.0, 0.0, f32::NEG_INFINITY];
    let (mut output, mut lse) = (vec![0f32; 4], [0f32; 2]);
    MergeStates::new(2, Tensor::host(&outputs, [4, 1, 1, 2]).strides([3, 3, 3, 1]), Tensor::host(&logarithms, [4, 1, 1, 1]))
        .lse_base2()
        .lse(TensorMut::host(&mut lse, [2, 1, 1, 1]))
        .run(&context, TensorMut::host(&mut output, [2, 1, 1, 2]))
        .unwrap();
    assert_eq!(output, [3.0, 4.0, 3.0, 4.0]);
    assert_eq!(lse, [1.0, 1.0]);
}

#[test]
fn refusals() {
    let context = Context::open(Device::Cpu).unwrap();
    let (outputs, logarithms) = (vec![0f32; 30], vec![0f32; 6]);
    let refused = |states: usize, rows: [usize; 4], of_lse: [usize; 4], field: &str| {
        let mut output = vec![0f32; 12];
        let error = MergeStates::new(states, Tensor::host(&outputs, rows), Tensor::host(&logarithms, of_lse))
            .run(&context, TensorMut::host(&mut output, [3, 1, 1, 4]))
            .unwrap_err();
        assert_eq!((error.status(), error.field()), (Status::InvalidArgument, field), "{}", error);
    };
    refused(0, [6, 1, 1, 4], [6, 1, 1, 1], "state_count");
    refused(4, [6, 1, 1, 4], [6, 1, 1, 1], "output_states.shape[0]");
    refused(2, [6, 1, 1, 4], [5, 1, 1, 1], "lse_states.shape[0]");
    refused(1, [6, 1, 1, 4], [6, 1, 1, 1], "output.shape[0]");
    refused(2, [6, 1, 1, 5], [6, 1, 1, 1], "output.shape[3]");
}
