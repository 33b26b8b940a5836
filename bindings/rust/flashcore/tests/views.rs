// SPDX-License-Identifier: Apache-2.0
//
//! Views with offsets and strides give what contiguous copies of the same elements give: on the CPU device bit by bit; a GPU may
//! use another kernel for another alignment.

mod common;

use common::random;
use flashcore::{Attention, Bf16, Causal, Context, Device, Result, Tensor, TensorMut};

const BATCH: usize = 2;
const ROWS: usize = 9;
const FROM: usize = 3;
const KEPT: usize = 5;
const HEADS: usize = 4;
const HEAD_DIM: usize = 64;
const ROW: usize = HEADS * HEAD_DIM;

fn check_views(device: Device) -> Result<()> {
    let context = Context::open(device)?;
    let whole: Vec<Bf16> = random(BATCH * ROWS * ROW, 1);
    let part: Vec<Bf16> = (0..BATCH).flat_map(|b| whole[(b * ROWS + FROM) * ROW..][..KEPT * ROW].to_vec()).collect();
    let shape = [BATCH, KEPT, HEADS, HEAD_DIM];
    let (bound, log_bound) = if device == Device::Cpu { (0.0, 0.0) } else { (1.6e-2, 1e-4) };

    // Contiguous copies.
    let copied = context.upload(&part)?;
    let (mut output, mut logs) = (context.zeros::<Bf16>(part.len())?, context.zeros::<f32>(BATCH * HEADS * KEPT)?);
    let tensor = copied.tensor(shape);
    Attention::new(tensor, tensor, tensor)
        .causal(Causal::TopLeft)
        .lse(logs.tensor_mut([BATCH, HEADS, KEPT, 1]))
        .run(&context, output.tensor_mut(shape))?;
    let (expected, expected_logs) = (output.to_vec()?, logs.to_vec()?);

    // Views: rows of a larger memory as inputs; heads before positions, and a gap, in the outputs.
    let large = context.upload(&whole)?;
    let view = large.tensor([BATCH, ROWS, HEADS, HEAD_DIM]).positions(FROM..FROM + KEPT);
    let turned = [KEPT * ROW, HEAD_DIM, KEPT * HEAD_DIM, 1];
    let mut wide = context.zeros::<Bf16>(5 + part.len())?;
    let mut gaps = context.zeros::<f32>(3 + BATCH * HEADS * (KEPT + 2))?;
    Attention::new(view, view, view)
        .causal(Causal::TopLeft)
        .lse(gaps.tensor_mut([BATCH, HEADS, KEPT, 1]).offset(3).strides([HEADS * (KEPT + 2), KEPT + 2, 1, 1]))
        .run(&context, wide.tensor_mut(shape).offset(5).strides(turned))?;
    let (got, got_logs) = (wide.to_vec()?, gaps.to_vec()?);
    for (index, &value) in expected_logs.iter().enumerate() {
        let other = got_logs[3 + index / KEPT * (KEPT + 2) + index % KEPT];
        assert!((other - value).abs() <= log_bound, "lse[{}] is {}, not {}", index, other, value);
    }
    for (index, &value) in expected.iter().enumerate() {
        let (b, s, h, d) = (index / (KEPT * ROW), index / ROW % KEPT, index / HEAD_DIM % HEADS, index % HEAD_DIM);
        let other = got[5 + ((b * HEADS + h) * KEPT + s) * HEAD_DIM + d];
        assert!(
            (other.to_f32() - value.to_f32()).abs() <= bound,
            "output[{}][{}][{}][{}] is {}, not {}",
            b,
            s,
            h,
            d,
            other,
            value
        );
    }

    // Views of host memory.
    if device == Device::Cpu {
        let view = Tensor::host(&whole, [BATCH, ROWS, HEADS, HEAD_DIM]).positions(FROM..FROM + KEPT);
        let mut host = vec![Bf16::default(); got.len()];
        Attention::new(view, view, view)
            .causal(Causal::TopLeft)
            .run(&context, TensorMut::host(&mut host, shape).offset(5).strides(turned))?;
        assert!(host == got);
    }
    Ok(())
}

#[test]
fn views_on_the_cpu() {
    check_views(Device::Cpu).unwrap();
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn views_on_the_gpu() {
    check_views(Device::Cuda(0)).unwrap();
}
