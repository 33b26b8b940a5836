// SPDX-License-Identifier: Apache-2.0
//
//! The same ten lines as in the other languages: attention over equal keys is the mean of the values 0, 1, 2, 3, ..., 1.5.
//! `ten_lines cpu` computes on the CPU device, `ten_lines cuda` on the first GPU or not at all, `ten_lines auto` or no word on the
//! first usable GPU, else on the CPU.

use flashcore::{Attention, Context, Device, F16};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let device = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["auto"] => Device::Auto,
        ["cpu"] => Device::Cpu,
        ["cuda"] => Device::Cuda(0),
        _ => return Err(format!("the device is {:?}; usage: ten_lines [auto|cpu|cuda]", words.join(" ")).into()),
    };
    let (seqlen, heads, head_dim) = (512, 8, 64);
    let row = heads * head_dim;
    let ones = vec![F16::from_f32(1.0); seqlen * row];
    let values: Vec<F16> = (0..seqlen * row).map(|i| F16::from_f32((i / row % 4) as f32)).collect(); // by sequence position

    // [ten lines]
    let context = Context::open(device)?;
    let shape = [1, seqlen, heads, head_dim];
    let (query, value) = (context.upload(&ones)?, context.upload(&values)?);
    let key = context.zeros::<F16>(ones.len())?;
    let mut output = context.zeros::<F16>(ones.len())?;
    Attention::new(query.tensor(shape), key.tensor(shape), value.tensor(shape)).run(&context, output.tensor_mut(shape))?;
    let result = output.to_vec()?;
    println!("output[0] is {} on {}", result[0], context.describe()?.device.name);
    // [end]

    match result.iter().find(|value| value.to_f32() != 1.5) {
        None => Ok(()),
        Some(wrong) => Err(format!("an element is {}, not 1.5", wrong).into()),
    }
}
