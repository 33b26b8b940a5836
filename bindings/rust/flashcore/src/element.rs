// SPDX-License-Identifier: Apache-2.0
//
//! Element types: 16-bit floating point as bits, with conversions, and the marker that ties Rust types to the library's.

use std::fmt;

use flashcore_sys as sys;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::F16 {}
    impl Sealed for super::Bf16 {}
    impl Sealed for f32 {}
    impl Sealed for u8 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
}

/// A type that tensors and buffers may hold: [`F16`], [`Bf16`], `f32`, `u8` for masks, and `i32` or `i64` for index arrays. Every pattern of
/// bits is a value of it.
pub trait Element: Copy + Send + Sync + fmt::Debug + sealed::Sealed + 'static {
    /// The constant `FLASHCORE_DTYPE_*` of the type; 0 for `u8`, which has none.
    const DTYPE: i32;
}

/// IEEE half precision: 1 sign, 5 exponent and 10 fraction bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct F16(u16);

/// bfloat16: the upper half of a `f32`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Element for F16 {
    const DTYPE: i32 = sys::FLASHCORE_DTYPE_FLOAT16;
}
impl Element for Bf16 {
    const DTYPE: i32 = sys::FLASHCORE_DTYPE_BFLOAT16;
}
impl Element for f32 {
    const DTYPE: i32 = sys::FLASHCORE_DTYPE_FLOAT32;
}

impl Element for u8 {
    const DTYPE: i32 = sys::FLASHCORE_DTYPE_DEFAULT;
}
impl Element for i32 {
    const DTYPE: i32 = sys::FLASHCORE_DTYPE_INT32;
}
impl Element for i64 {
    const DTYPE: i32 = sys::FLASHCORE_DTYPE_INT64;
}

macro_rules! bits {
    ($type:ident) => {
        impl $type {
            /// The value with these bits.
            pub const fn from_bits(bits: u16) -> Self {
                $type(bits)
            }

            /// The bits of the value.
            pub const fn to_bits(self) -> u16 {
                self.0
            }

            /// Bits as values, without a copy: for data that another crate holds as `u16`.
            pub fn slice_from_bits(bits: &[u16]) -> &[Self] {
                unsafe { std::slice::from_raw_parts(bits.as_ptr().cast(), bits.len()) } // repr(transparent)
            }

            /// Bits as values that may be written, without a copy.
            pub fn slice_from_bits_mut(bits: &mut [u16]) -> &mut [Self] {
                unsafe { std::slice::from_raw_parts_mut(bits.as_mut_ptr().cast(), bits.len()) }
                // repr(transparent)
            }
        }

        impl From<$type> for f32 {
            fn from(value: $type) -> f32 {
                value.to_f32()
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.to_f32(), f)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.to_f32(), f)
            }
        }
    };
}
bits!(F16);
bits!(Bf16);

/// `bits >> shift`, rounded to nearest, ties to even.
fn shift_rounded(bits: u32, shift: u32) -> u32 {
    let half = 1u32 << (shift - 1);
    let kept = bits >> shift;
    let rest = bits & ((1 << shift) - 1);
    kept + u32::from(rest > half || (rest == half && kept & 1 == 1))
}

impl F16 {
    /// Rounded to nearest, ties to even; too large numbers become infinite, NaN stays NaN.
    pub fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let sign = ((bits >> 16) & 0x8000) as u16;
        let magnitude = bits & 0x7fff_ffff;
        let half = match magnitude {
            0x7f80_0001..=u32::MAX => 0x7e00 | ((magnitude >> 13) & 0x3ff) as u16,
            0x4780_0000..=0x7f80_0000 => 0x7c00,
            // Normal: the exponent's bias falls from 127 to 15. A carry out of the fraction raises the exponent, as it should.
            0x3880_0000..=0x477f_ffff => shift_rounded(magnitude - (112 << 23), 13) as u16,
            // Subnormal: the fraction with its leading one, in units of 2^-24. Below 2^-25 nothing is left.
            0x3300_0000..=0x387f_ffff => shift_rounded((magnitude & 0x7f_ffff) | 0x80_0000, 126 - (magnitude >> 23)) as u16,
            _ => 0,
        };
        F16(sign | half)
    }

    /// The same number; exact.
    pub fn to_f32(self) -> f32 {
        let sign = u32::from(self.0 & 0x8000) << 16;
        let magnitude = u32::from(self.0 & 0x7fff);
        match magnitude {
            0x7c00..=0x7fff => f32::from_bits(sign | 0x7f80_0000 | (magnitude & 0x3ff) << 13),
            0x0400..=0x7bff => f32::from_bits(sign | ((magnitude << 13) + (112 << 23))),
            _ => f32::from_bits(sign | (magnitude as f32 * 2f32.powi(-24)).to_bits()),
        }
    }
}

impl Bf16 {
    /// Rounded to nearest, ties to even; NaN stays NaN.
    pub fn from_f32(value: f32) -> Self {
        if value.is_nan() {
            return Bf16((value.to_bits() >> 16) as u16 | 0x40);
        }
        Bf16(shift_rounded(value.to_bits(), 16) as u16)
    }

    /// The same number; exact.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// What the output of an attention of `T` may hold: `T`, or f32, which is not rounded, for results that will be merged.
pub trait Output<T: Element>: Element {}
impl<T: Element> Output<T> for T {}
impl Output<F16> for f32 {}
impl Output<Bf16> for f32 {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nearest, ties to even, by search over all finite values: an oracle that shares nothing with the conversion.
    fn nearest(value: f32, all: &[(f64, u16)]) -> u16 {
        let value = f64::from(value);
        let next = all.partition_point(|&(one, _)| one < value);
        let candidates = [all.get(next.wrapping_sub(1)), all.get(next)];
        let distance = |one: &&(f64, u16)| (one.0 - value).abs();
        let least = candidates.iter().flatten().map(distance).fold(f64::INFINITY, f64::min);
        let tied: Vec<_> = candidates.iter().flatten().filter(|one| distance(one) == least).collect();
        tied.iter().find(|one| tied.len() == 1 || one.1 & 1 == 0).map(|one| one.1).expect("a nearest value")
    }

    #[test]
    fn f16_rounds_to_the_nearest_even_value() {
        // 65536 is what the exponent after the last would mean; rounding to it is overflow to infinity, 0x7c00.
        let mut all: Vec<(f64, u16)> = (0..0x7c00u16).map(|bits| (f64::from(F16(bits).to_f32()), bits)).collect();
        all.push((65536.0, 0x7c00));
        let mut seed = 1u32;
        for round in 0..200_000u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Random numbers of all exponents that matter, and the points half way between two values.
            let exponent = 95 + (seed >> 8) % 49;
            let fraction = if round % 2 == 0 { seed & 0x7f_ffff } else { (seed & 0x7f_e000) | 0x1000 };
            let value = f32::from_bits(exponent << 23 | fraction);
            if value > 65536.0 {
                assert_eq!(F16::from_f32(value).to_bits(), 0x7c00);
                continue;
            }
            assert_eq!(F16::from_f32(value).to_bits(), nearest(value, &all), "{:e}", value);
            assert_eq!(F16::from_f32(-value).to_bits(), nearest(value, &all) | 0x8000, "-{:e}", value);
        }
    }

    #[test]
    fn every_16_bit_value_survives_the_way_through_f32() {
        for bits in 0..=u16::MAX {
            let half = F16::from_bits(bits);
            assert_eq!(half.to_f32().is_nan(), bits & 0x7fff > 0x7c00);
            if !half.to_f32().is_nan() {
                assert_eq!(F16::from_f32(half.to_f32()), half);
            } else {
                assert!(F16::from_f32(half.to_f32()).to_f32().is_nan());
            }
            let brain = Bf16::from_bits(bits);
            if !brain.to_f32().is_nan() {
                assert_eq!(Bf16::from_f32(brain.to_f32()), brain);
            } else {
                assert!(Bf16::from_f32(brain.to_f32()).to_f32().is_nan());
            }
        }
    }

    #[test]
    fn known_values() {
        assert_eq!(F16::from_f32(1.0).to_bits(), 0x3c00);
        assert_eq!(F16::from_f32(-2.0).to_bits(), 0xc000);
        assert_eq!(F16::from_f32(65504.0).to_bits(), 0x7bff);
        assert_eq!(F16::from_f32(65520.0).to_bits(), 0x7c00);
        assert_eq!(F16::from_f32(2f32.powi(-24)).to_bits(), 1);
        assert_eq!(F16::from_f32(2f32.powi(-25)).to_bits(), 0);
        assert_eq!(F16::from_f32(f32::NEG_INFINITY).to_bits(), 0xfc00);
        assert_eq!(Bf16::from_f32(1.5).to_bits(), 0x3fc0);
        assert_eq!(Bf16::from_f32(f32::from_bits(0x3f80_8000)).to_bits(), 0x3f80);
        assert_eq!(Bf16::from_f32(f32::from_bits(0x3f81_8000)).to_bits(), 0x3f82);
        assert_eq!(Bf16::from_f32(f32::MAX).to_bits(), 0x7f80);
    }
}
