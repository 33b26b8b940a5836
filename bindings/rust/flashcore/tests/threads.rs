// SPDX-License-Identifier: Apache-2.0
//
//! Many threads on one context: right results, and nobody ever sees another's error.

mod common;

use std::thread;

use common::random;
use flashcore::{Attention, Buffer, Context, Device, Event, HostBuffer, Status, Stream, F16};

const THREADS: usize = 8;
const ROUNDS: usize = 300;

fn check_threads(device: Device) {
    let context = Context::open(device).unwrap();
    let workers: Vec<_> = (0..THREADS)
        .map(|worker| {
            let context = context.clone();
            thread::spawn(move || {
                let shape = [1, 3 + worker, 2, 64];
                let data = random::<F16>(shape.iter().product(), worker as u64);
                let (input, mut output) = (context.upload(&data).unwrap(), context.zeros::<F16>(data.len()).unwrap());
                let stream = context.stream().unwrap();
                let tensor = input.tensor(shape);
                let mut first = None;
                for round in 0..ROUNDS {
                    // A name that only this worker and round have.
                    let name = format!("no_kernel_{}_{}", worker, round);
                    let error = Attention::new(tensor, tensor, tensor)
                        .kernel(&name)
                        .run_on(&stream, output.tensor_mut(shape))
                        .expect_err("no such kernel");
                    assert_eq!((error.status(), error.field()), (Status::InvalidArgument, "kernel"), "{:?}", error);
                    assert!(error.message().contains(&name), "{} is another thread's: {:?}", name, error);
                    if round % 20 == 0 {
                        Attention::new(tensor, tensor, tensor).run_on(&stream, output.tensor_mut(shape)).unwrap();
                        stream.synchronize().unwrap();
                        let result = output.to_vec().unwrap();
                        assert_eq!(*first.get_or_insert_with(|| result.clone()), result, "the same bits every time");
                    }
                }
                // Another thread's alone result must be the same.
                (data, shape, first.unwrap())
            })
        })
        .collect();
    for worker in workers {
        let (data, shape, result) = worker.join().unwrap();
        let (input, mut output) = (context.upload(&data).unwrap(), context.zeros::<F16>(data.len()).unwrap());
        let tensor = input.tensor(shape);
        Attention::new(tensor, tensor, tensor).run(&context, output.tensor_mut(shape)).unwrap();
        assert_eq!(output.to_vec().unwrap(), result);
    }
}

#[test]
fn threads_on_the_cpu() {
    check_threads(Device::Cpu);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn threads_on_the_gpu() {
    check_threads(Device::Cuda(0));
}

#[test]
fn everything_may_go_to_another_thread() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Context>();
    is_send_and_sync::<Buffer<F16>>();
    is_send_and_sync::<HostBuffer<F16>>();
    is_send_and_sync::<Stream>();
    is_send_and_sync::<Event>();
    is_send_and_sync::<flashcore::Error>();
    is_send_and_sync::<flashcore::Tensor<'static, F16>>();
}
