// SPDX-License-Identifier: Apache-2.0
//
//! What the safe interface costs beside the C call: nanoseconds of a warm call, median of many batches. The first problem
//! has an empty batch, so that the library checks all arguments and computes nothing; the second is the smallest there is.
//! `cargo bench` measures on the CPU device, `cargo bench -- cuda` on a GPU; docs/BINDINGS.md holds figures.

use std::ptr;
use std::time::Instant;

use flashcore::{sys, Attention, Causal, Context, Device, F16};

/// Batches and calls in each: few when cargo does not say that it wants to measure.
fn counts() -> (usize, usize) {
    if std::env::args().any(|argument| argument == "--bench") {
        (301, 2000)
    } else {
        (1, 1)
    }
}

fn median_ns(mut call: impl FnMut()) -> f64 {
    let (batches, calls) = counts();
    let mut times: Vec<f64> = (0..batches)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / calls as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[batches / 2]
}

fn measure(context: &Context, name: &str, batch: usize) {
    let shape = [batch, 1, 1, 64];
    let data = context.zeros::<F16>(64).expect("an input");
    let mut output = context.zeros::<F16>(64).expect("an output");
    let tensor = data.tensor(shape);
    let attention = || Attention::new(tensor, tensor, tensor).causal(Causal::BottomRight);
    attention().run(context, output.tensor_mut(shape)).expect("the first call, which may load a kernel");
    let args = attention().to_raw(context, Some(&output.tensor_mut(shape))).expect("arguments");
    let mut error = sys::flashcore_error::default();
    let c_ns = median_ns(|| {
        let status = unsafe { sys::flashcore_attention_fwd(context.as_raw(), &args, ptr::null_mut(), &mut error) };
        assert_eq!(status, sys::FLASHCORE_OK);
    });
    let rust_ns = median_ns(|| attention().run(context, output.tensor_mut(shape)).expect("a computed attention"));
    println!("{:<12} C call {:>7.0} ns, safe call {:>7.0} ns, difference {:>5.0} ns", name, c_ns, rust_ns, rust_ns - c_ns);
}

fn main() {
    // Cargo adds options of its own, and "cargo test NAME" hands the name of a test to everything.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let words: Vec<String> = std::env::args().skip(1).filter(|word| measures && !word.starts_with('-')).collect();
    let device = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["cpu"] => Device::Cpu,
        ["cuda"] => Device::Cuda(0),
        _ => panic!("the device is {:?}; allowed: cpu, cuda", words.join(" ")),
    };
    let context = Context::builder().device(device).cpu_threads(1).open().expect("the device");
    measure(&context, "empty batch", 0);
    measure(&context, "one key", 1);
}
