// SPDX-License-Identifier: Apache-2.0
//
//! What only a GPU can show: host memory is refused, and a result that the CPU device confirms.

mod common;

use common::{largest_difference, random};
use flashcore::{cuda_device_count, describe_cuda_device, Attention, Bf16, Causal, Context, Device, Status, Tensor, TensorMut};

const SHAPE: [usize; 4] = [2, 130, 4, 128];

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn host_memory_is_refused_on_a_gpu() {
    let context = Context::open(Device::Cuda(0)).unwrap();
    let count = SHAPE.iter().product();
    let (data, mut output) = (random::<Bf16>(count, 1), vec![Bf16::default(); count]);
    let (buffer, host) = (context.upload(&data).unwrap(), Tensor::host(&data, SHAPE));
    let device = buffer.tensor(SHAPE);
    let error = Attention::new(device, host, device).run(&context, TensorMut::host(&mut output, SHAPE)).unwrap_err();
    assert_eq!((error.status(), error.field()), (Status::InvalidArgument, "key.data"), "{:?}", error);
    assert!(error.message().contains("host memory"), "{:?}", error);
    context.synchronize().unwrap();
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn checked_addresses_name_the_tensor() {
    let context = Context::builder().device(Device::Cuda(0)).check_addresses(true).open().unwrap();
    let count = SHAPE.iter().product();
    // Short by less than what every allocation is rounded up by, so that the tensor reaches into no other.
    let (whole, short) = (context.zeros::<Bf16>(count).unwrap(), context.zeros::<Bf16>(count - 8).unwrap());
    let mut output = context.zeros::<Bf16>(count).unwrap();
    let long = unsafe { Tensor::<Bf16>::from_device_address(short.device_address(), count, SHAPE) };
    let error =
        Attention::new(whole.tensor(SHAPE), long, whole.tensor(SHAPE)).run(&context, output.tensor_mut(SHAPE)).unwrap_err();
    assert_eq!((error.status(), error.field()), (Status::InvalidArgument, "key.data"), "{:?}", error);
    assert!(error.message().contains("16 bytes too short"), "{:?}", error);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn the_gpu_agrees_with_the_cpu() {
    assert!(cuda_device_count().unwrap() > 0);
    println!("{:?}", describe_cuda_device(0).unwrap());
    let count = SHAPE.iter().product();
    let data: Vec<Vec<Bf16>> = (1..4).map(|seed| random(count, seed)).collect();
    let results: Vec<Vec<Bf16>> = [Device::Cpu, Device::Cuda(0)]
        .iter()
        .map(|&device| {
            let context = Context::open(device).unwrap();
            let stream = context.stream().unwrap();
            let inputs: Vec<_> = data.iter().map(|one| context.upload(one).unwrap()).collect();
            let mut output = context.zeros::<Bf16>(count).unwrap();
            let attention =
                Attention::new(inputs[0].tensor(SHAPE), inputs[1].tensor(SHAPE), inputs[2].tensor(SHAPE)).causal(Causal::TopLeft);
            attention.prepare(&context).unwrap();
            attention.run_on(&stream, output.tensor_mut(SHAPE)).unwrap();
            drop(inputs); // freeing waits for the kernel that reads them
            context.synchronize().unwrap();
            output.to_vec().unwrap()
        })
        .collect();
    let difference = largest_difference(&results[0], &results[1]);
    assert!(difference <= 1.6e-2, "{} between the devices", difference);
}
