// SPDX-License-Identifier: Apache-2.0
//
//! Bad input: every refusal is an error with the status, the argument's name and a sentence, and nothing was written.

mod common;

use common::random;
use flashcore::{sys, Attention, Causal, Context, Device, Error, Status, Tensor, TensorMut, F16};

const SHAPE: [usize; 4] = [2, 5, 4, 16];
const COUNT: usize = 2 * 5 * 4 * 16;
// One more than the name of a kernel has.
const LONG_NAME: &str = match std::str::from_utf8(&[b'k'; sys::FLASHCORE_NAME_BYTES as usize]) {
    Ok(name) => name,
    Err(_) => panic!(),
};
static SLOPES: [f32; 4] = [0.0; 4];

fn cpu() -> Context {
    Context::open(Device::Cpu).expect("the CPU device")
}

/// Run a changed attention that must be refused, and see that the output stays as it was.
fn refused(change: impl for<'a> FnOnce(Attention<'a, F16>) -> Attention<'a, F16>) -> Error {
    let (context, data) = (cpu(), random::<F16>(COUNT, 1));
    let mut output = vec![F16::from_f32(7.0); COUNT];
    let tensor = Tensor::host(&data, SHAPE);
    let result = change(Attention::new(tensor, tensor, tensor)).run(&context, TensorMut::host(&mut output, SHAPE));
    let error = result.expect_err("this must be refused");
    assert!(output.iter().all(|value| value.to_f32() == 7.0), "a refused call wrote: {}", error);
    error
}

#[track_caller]
fn check(error: &Error, status: Status, field: &str, words: &str) {
    assert_eq!((error.status(), error.field()), (status, field), "{:?}", error);
    assert!(error.message().contains(words) && error.message().contains("allowed"), "{:?} lacks {:?}", error, words);
    assert!(error.to_string().starts_with(status.name()), "{}", error);
}

/// An attention over these views of one host memory of COUNT elements must be refused.
fn refused_tensors(query: [usize; 4], key: [usize; 4], value: [usize; 4], output: [usize; 4]) -> Error {
    let (context, data) = (cpu(), random::<F16>(COUNT, 1));
    let mut target = vec![F16::from_f32(7.0); COUNT];
    let result = Attention::new(Tensor::host(&data, query), Tensor::host(&data, key), Tensor::host(&data, value))
        .run(&context, TensorMut::host(&mut target, output));
    assert!(target.iter().all(|value| value.to_f32() == 7.0));
    result.expect_err("this must be refused")
}

#[test]
fn the_library_names_the_field() {
    use Status::InvalidArgument;
    check(&refused(|a| a.softmax_scale(f32::NAN)), InvalidArgument, "softmax_scale", "nan");
    check(&refused(|a| a.softcap(-30.0)), InvalidArgument, "softcap", "-30");
    check(&refused(|a| a.window_left(-1)), InvalidArgument, "window_left", "-1");
    check(&refused(|a| a.attention_chunk(usize::MAX)), InvalidArgument, "attention_chunk", "2^63");
    check(&refused(|a| a.split_count(-3)), InvalidArgument, "split_count", "-3");
    check(&refused(|a| a.split_count(2).split_tokens(64)), InvalidArgument, "split_count", "split_tokens");
    check(&refused(|a| a.multiprocessor_limit(-1)), InvalidArgument, "multiprocessor_limit", "-1");
    check(&refused(|a| a.positions(3, -4)), InvalidArgument, "key_position", "-4");
    let unknown = refused(|a| a.kernel("no_such_kernel"));
    assert_eq!((unknown.status(), unknown.field()), (InvalidArgument, "kernel"), "{:?}", unknown);
}

#[test]
fn tensors_that_do_not_fit_are_refused_before_the_call() {
    use Status::InvalidArgument;
    check(&refused_tensors([2, 5, 4, 17], SHAPE, SHAPE, SHAPE), InvalidArgument, "key.shape[3]", "17");
    check(&refused_tensors(SHAPE, [3, 5, 4, 16], SHAPE, SHAPE), InvalidArgument, "key.shape[0]", "2, as the other tensors say");
    check(&refused_tensors(SHAPE, SHAPE, [2, 4, 4, 16], SHAPE), InvalidArgument, "value.shape[1]", "4");
    check(&refused_tensors(SHAPE, SHAPE, [2, 5, 2, 16], SHAPE), InvalidArgument, "value.shape[2]", "4");
    check(&refused_tensors(SHAPE, SHAPE, SHAPE, [2, 5, 4, 8]), InvalidArgument, "output.shape[3]", "16");
    let larger = [2, 6, 4, 16];
    check(&refused_tensors(larger, SHAPE, SHAPE, larger), InvalidArgument, "query.data", "takes 768");
    check(&refused_tensors(SHAPE, larger, larger, SHAPE), InvalidArgument, "key.data", "640 elements");
    check(&refused_tensors([2, 5, 0, 16], SHAPE, SHAPE, SHAPE), InvalidArgument, "heads_q", "0");
    check(&refused_tensors([1, 1, 3, 16], [1, 1, 2, 16], [1, 1, 2, 16], [1, 1, 3, 16]), InvalidArgument, "heads_kv", "divisor");
    let huge = [1, usize::MAX, 4, 16];
    check(
        &refused_tensors(SHAPE, [2, usize::MAX / 32, 4, 16], [2, usize::MAX / 32, 4, 16], SHAPE),
        InvalidArgument,
        "key.data",
        "more than can be counted",
    );
    check(&refused_tensors(huge, [1, 5, 4, 16], [1, 5, 4, 16], huge), InvalidArgument, "seqlen_q", "2^31 - 1");
}

#[test]
fn strides_and_ranges_are_checked_against_the_memory() {
    let (context, data) = (cpu(), random::<F16>(COUNT, 1));
    let plain = Tensor::host(&data, SHAPE);
    let run = |query: Tensor<'_, F16>, key: Tensor<'_, F16>| {
        let mut output = vec![F16::default(); COUNT];
        Attention::new(query, key, key).run(&context, TensorMut::host(&mut output, SHAPE))
    };
    run(plain, plain).expect("nothing is wrong");
    run(plain, plain.strides([0, 0, 0, 1])).expect("inputs may repeat themselves");
    run(plain, plain.positions(1..4)).expect("a part of the keys");
    run(plain, plain.positions(2..2)).expect("no key at all");
    let wrong = |tensor, field: &str, words: &str| {
        check(&run(tensor, plain).unwrap_err(), Status::InvalidArgument, &format!("query{}", field), words);
        check(&run(plain, tensor).unwrap_err(), Status::InvalidArgument, &format!("key{}", field), words);
    };
    wrong(plain.offset(1), ".data", "from 1 on");
    wrong(plain.offset(usize::MAX), ".data", "elements");
    wrong(plain.strides([320, 64, 16, 2]), ".stride[3]", "1, elements of a head lie side by side");
    wrong(plain.strides([321, 64, 16, 1]), ".data", "takes 641");
    wrong(plain.strides([usize::MAX, 64, 16, 1]), ".data", "more than can be counted");
    wrong(plain.positions(1..6), ".shape[1]", "1..6");
    #[allow(clippy::reversed_empty_ranges)]
    wrong(plain.positions(3..2), ".shape[1]", "3..2");
}

#[test]
fn optional_tensors_are_checked() {
    let check_lse = |shape, count, field: &str| {
        let (context, data) = (cpu(), random::<F16>(COUNT, 1));
        let (mut output, mut lse) = (vec![F16::default(); COUNT], vec![7f32; count]);
        let tensor = Tensor::host(&data, SHAPE);
        let attention = Attention::new(tensor, tensor, tensor).lse(TensorMut::host(&mut lse, shape));
        let error = attention.run(&context, TensorMut::host(&mut output, SHAPE)).unwrap_err();
        assert_eq!((error.status(), error.field()), (Status::InvalidArgument, field), "{:?}", error);
        assert!(lse.iter().all(|&value| value == 7.0));
    };
    check_lse([2, 5, 4, 1], 40, "lse.shape[1]"); // heads and positions in the wrong order
    check_lse([2, 4, 5, 1], 39, "lse.data");
    assert_eq!(refused(|a| a.alibi_slopes(Tensor::host(&SLOPES, [1, 1, 3, 1]))).field(), "alibi_slopes.shape[2]");
    assert_eq!(
        refused(|a| a.alibi_slopes(Tensor::host(&SLOPES, [1, 1, 4, 1]).strides([0, 0, 0, 1]))).field(),
        "alibi_slopes.stride[2]"
    );
    assert_eq!(refused(|a| a.sinks(Tensor::host(&SLOPES[..3], [1, 1, 4, 1]))).field(), "sinks.data");
    assert_eq!(refused(|a| a.bias(Tensor::host(&SLOPES, [2, 5, 4, 4]))).field(), "bias.shape[3]");
    assert_eq!(refused(|a| a.bias(Tensor::host(&SLOPES, [2, 5, 4, 5]))).field(), "bias.data");
    const SHOWN: [u8; 200] = [1; 200];
    assert_eq!(refused(|a| a.bias(Tensor::host(&SHOWN, [2, 5, 4, 5]))).field(), "bias.dtype");
    assert_eq!(refused(|a| a.bias(Tensor::host(&SLOPES, [2, 5, 4, 5]).strides([0; 4]))).field(), "bias.stride");
    assert_eq!(refused(|a| a.mask(Tensor::host(&SHOWN, [2, 5, 5, 4]))).field(), "mask.shape[2]");
    check(
        &refused(|a| a.mask(Tensor::host(&SHOWN, [2, 5, 4, 5]).strides([0, 1, 5, 50]))),
        Status::InvalidArgument,
        "mask.data",
        "takes 220",
    );
    check(&refused(|a| a.kernel(LONG_NAME)), Status::InvalidArgument, "kernel", "127 bytes");
}

#[test]
fn the_wrong_place_is_refused() {
    let (context, other) = (cpu(), cpu());
    let foreign = other.upload(&random::<F16>(COUNT, 1)).unwrap();
    let mut output = context.zeros::<F16>(COUNT).unwrap();
    let tensor = foreign.tensor(SHAPE);
    let error = Attention::new(tensor, tensor, tensor).run(&context, output.tensor_mut(SHAPE)).unwrap_err();
    check(&error, Status::InvalidArgument, "query.data", "a buffer of another context");
    let stream = other.stream().unwrap();
    let error = output.copy_from(0, &foreign, 0, 1, &stream).unwrap_err();
    check(&error, Status::InvalidArgument, "source", "another context");
    let inner = context.upload(&random::<F16>(COUNT, 1)).unwrap();
    check(&output.copy_from(0, &inner, 0, 1, &stream).unwrap_err(), Status::InvalidArgument, "stream", "another context");
    let (own, another) = (context.event().unwrap(), other.event().unwrap());
    check(&own.elapsed_us_since(&another).unwrap_err(), Status::InvalidArgument, "start", "another context");
}

#[test]
fn buffers_refuse_what_lies_outside() {
    let context = cpu();
    let mut buffer = context.upload(&[1f32, 2.0, 3.0]).unwrap();
    check(&buffer.write(2, &[1.0, 2.0]).unwrap_err(), Status::InvalidArgument, "data", "2 elements from 2 on");
    check(&buffer.read(usize::MAX, &mut [0.0]).unwrap_err(), Status::InvalidArgument, "data", "the 3 of the buffer");
    assert_eq!(buffer.to_vec().unwrap(), [1.0, 2.0, 3.0]);
    let too_many = context.zeros::<f32>(usize::MAX).unwrap_err();
    check(&too_many, Status::InvalidArgument, "bytes", "elements of 4 bytes");
    let too_large = context.zeros::<f32>(1 << 58).unwrap_err();
    assert_eq!(too_large.status(), Status::OutOfDeviceMemory, "{:?}", too_large);
    assert!(context.zeros::<f32>(0).unwrap().to_vec().unwrap().is_empty());
    buffer.free().unwrap();
}

#[test]
fn what_a_context_made_outlives_the_name_of_the_context() {
    let context = cpu();
    let (buffer, stream) = (context.upload(&[F16::from_f32(2.0)]).unwrap(), context.stream().unwrap());
    let mut page_locked = context.host_zeros::<F16>(1).unwrap();
    context.synchronize().unwrap();
    drop(context);
    let mut copy = buffer.context().zeros::<F16>(1).unwrap();
    copy.copy_from(0, &buffer, 0, 1, &stream).unwrap();
    unsafe { copy.read_async(0, &mut page_locked, &stream).unwrap() };
    stream.synchronize().unwrap();
    assert_eq!(page_locked[0].to_f32(), 2.0);
    page_locked[0] = F16::from_f32(3.0);
    unsafe { copy.write_async(0, &page_locked, &stream).unwrap() };
    stream.synchronize().unwrap();
    assert_eq!(copy.to_vec().unwrap()[0].to_f32(), 3.0);
}

#[test]
fn options_are_checked() {
    let long = "x".repeat(1024);
    let error = Context::builder().device(Device::Cpu).cache_directory(&long).open().unwrap_err();
    check(&error, Status::InvalidArgument, "cache_directory", "1023 bytes");
    assert_eq!(Context::builder().device(Device::Cpu).module_path("a\0b").open().unwrap_err().field(), "module_path");
    assert_eq!(Context::builder().device(Device::Cpu).cpu_threads(-1).open().unwrap_err().field(), "cpu_threads");
    let missing = Context::open(Device::Cuda(1000)).unwrap_err();
    assert!(
        [Status::NoDriver, Status::NoDevice, Status::InvalidArgument, Status::DeviceNotReady, Status::DriverTooOld]
            .contains(&missing.status()),
        "{:?}",
        missing
    );
    let context = Context::builder().device(Device::Cpu).cpu_threads(1).open().unwrap();
    assert_eq!(context.describe().unwrap().device.multiprocessors, 1);
}

#[test]
fn explain_says_why_not() {
    let (context, data) = (cpu(), random::<F16>(COUNT, 1));
    let tensor = Tensor::host(&data, SHAPE);
    let attention = Attention::new(tensor, tensor, tensor).causal(Causal::BottomRight);
    let explanation = attention.explain(&context).unwrap();
    assert!(explanation.supported && explanation.kernel == "cpu", "{:?}", explanation);
    assert_eq!(attention.workspace_bytes(&context).unwrap(), 0);
    attention.prepare(&context).unwrap();
    let floats = vec![0f32; COUNT];
    let tensor = Tensor::host(&floats, SHAPE);
    let explanation = Attention::new(tensor, tensor, tensor).explain(&context).unwrap();
    assert!(!explanation.supported && explanation.reasons.contains("query.dtype"), "{:?}", explanation);
}

#[test]
fn every_status_of_the_library_has_a_name_here() {
    let known = |code| unsafe { std::ffi::CStr::from_ptr(sys::flashcore_status_name(code)) }.to_str().unwrap() != "UNKNOWN";
    let context = cpu();
    let mut seen = 0;
    for code in 1..1000 {
        let status = flashcore::Status::from(code);
        assert_eq!(matches!(status, Status::Unknown(_)), !known(code), "status {}", code);
        assert_eq!(status.code(), code);
        seen += i32::from(known(code));
    }
    assert!(seen >= 18, "the library knows {} statuses", seen);
    assert!(Status::Internal.sentence().contains("report") && Status::Unknown(5).name() == "UNKNOWN");
    assert!(context.describe().unwrap().device_reason.len() > 1 && flashcore::version() >= 10000);
}
