// SPDX-License-Identifier: Apache-2.0
//
//! Variants: a text is held to what it says, and what cannot be is refused by name.

use flashcore::{Attention, Context, Device, Status, F16};

const LAST_KEYS: &str = "bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {
  return key >= params[0];
}";
const KEYS: usize = 5;

fn check(context: &Context) {
    let shape = [1, KEYS, 1, 8];
    let values: Vec<F16> = (0..KEYS * 8).map(|i| F16::from_f32((i / 8) as f32)).collect();
    let (zeros, value) = (context.zeros::<F16>(KEYS * 8).unwrap(), context.upload(&values).unwrap());
    let (params, mut output) = (context.upload(&[3f32, 0.0]).unwrap(), context.zeros::<F16>(8).unwrap());
    let variant = context.variant(LAST_KEYS, 8).unwrap();
    let attention = |count: usize| {
        Attention::new(zeros.tensor([1, 1, 1, 8]), zeros.tensor(shape), value.tensor(shape))
            .variant(&variant)
            .variant_params(params.tensor([1, 1, 1, count]))
    };
    if let Err(error) = attention(2).run(context, output.tensor_mut([1, 1, 1, 8])) {
        assert!(matches!(error.status(), Status::Unsupported | Status::CompilerUnavailable), "{}", error);
        return println!("skipped: {}", error);
    }
    assert_eq!(output.to_vec().unwrap()[0].to_f32(), 3.5); // keys 3 and 4
    let error = attention(1).run(context, output.tensor_mut([1, 1, 1, 8])).unwrap_err();
    assert_eq!((error.status(), error.field()), (Status::InvalidArgument, "variant_params"));
    let other = Context::open(Device::Cpu).unwrap();
    let foreign = other.variant(LAST_KEYS, 8).unwrap();
    let error = attention(2).variant(&foreign).run(context, output.tensor_mut([1, 1, 1, 8])).unwrap_err();
    assert_eq!((error.status(), error.field()), (Status::InvalidArgument, "variant"));
}

#[test]
fn a_text_hides_keys() {
    check(&Context::open(Device::Cpu).unwrap());
    if flashcore::cuda_device_count().unwrap_or(0) > 0 {
        check(&Context::open(Device::Cuda(0)).unwrap());
    }
}

#[test]
fn a_text_that_cannot_be_names_its_line() {
    let context = Context::open(Device::Cpu).unwrap();
    for (text, words) in [("", "0 bytes"), ("int x;", "no function"), ("bool visible() { }\n}", "line 2")] {
        let error = context.variant(text, 0).unwrap_err();
        assert_eq!((error.status(), error.field()), (Status::InvalidArgument, "text"));
        assert!(error.message().contains(words), "{}", error);
    }
}
