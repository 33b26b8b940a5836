// SPDX-License-Identifier: Apache-2.0
//
//! What the safe interface costs beside the C call: nanoseconds of a warm call on the CPU device, median of many batches. The
//! first problem has an empty batch, so that the library checks all arguments and computes nothing; the second is the
//! smallest there is. `cargo bench`; docs/BINDINGS.md holds figures.

use std::ptr;
use std::time::Instant;

use flashcore::{sys, Attention, Causal, Context, Device, Tensor, TensorMut, F16};

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
    let shape = [batch, 1, 1, 8];
    let data = [F16::default(); 8];
    let mut output = [F16::default(); 8];
    let tensor = Tensor::host(&data, shape);
    let args = Attention::new(tensor, tensor, tensor)
        .causal(Causal::BottomRight)
        .to_raw(context, Some(&TensorMut::host(&mut output, shape)))
        .expect("arguments");
    let mut error = sys::flashcore_error::default();
    let c_ns = median_ns(|| {
        let status = unsafe { sys::flashcore_attention_fwd(context.as_raw(), &args, ptr::null_mut(), &mut error) };
        assert_eq!(status, sys::FLASHCORE_OK);
    });
    let rust_ns = median_ns(|| {
        Attention::new(tensor, tensor, tensor)
            .causal(Causal::BottomRight)
            .run(context, TensorMut::host(&mut output, shape))
            .expect("a computed attention");
    });
    println!("{:<16} C call {:>7.0} ns, safe call {:>7.0} ns, difference {:>5.0} ns", name, c_ns, rust_ns, rust_ns - c_ns);
}

fn main() {
    let context = Context::builder().device(Device::Cpu).cpu_threads(1).open().expect("the CPU device");
    measure(&context, "empty batch", 0);
    measure(&context, "one key", 1);
}
