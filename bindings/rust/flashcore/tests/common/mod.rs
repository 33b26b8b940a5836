// SPDX-License-Identifier: Apache-2.0
//
//! What the tests share: the golden vectors and random numbers. Each program uses a part of it.
#![allow(dead_code)]

pub mod golden;

use flashcore::{Bf16, Element, F16};

/// The two types that attention takes.
pub trait Half: Element + PartialEq {
    const NAME: &'static str;
    fn from_bits(bits: u16) -> Self;
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

macro_rules! half {
    ($type:ident, $name:literal) => {
        impl Half for $type {
            const NAME: &'static str = $name;
            fn from_bits(bits: u16) -> Self {
                $type::from_bits(bits)
            }
            fn from_f32(value: f32) -> Self {
                $type::from_f32(value)
            }
            fn to_f32(self) -> f32 {
                $type::to_f32(self)
            }
        }
    };
}
half!(F16, "float16");
half!(Bf16, "bfloat16");

/// Numbers of about normal distribution, the same for the same seed.
pub fn random<T: Half>(count: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| T::from_f32((0..4).map(|_| uniform()).sum::<f32>() * 3f32.sqrt())).collect()
}

pub fn largest_difference<T: Half>(a: &[T], b: &[T]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a.to_f32() - b.to_f32()).abs()).fold(0.0, |most, one| if one <= most { most } else { one })
}
