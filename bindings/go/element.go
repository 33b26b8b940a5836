// SPDX-License-Identifier: Apache-2.0

// Element types: 16-bit floating point as bits, with conversions; and the integers of index arrays.

package flashcore

// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"unsafe"
)

// Float16 holds the bits of an IEEE half precision number: 1 sign, 5 exponent and 10 fraction bits.
type Float16 uint16

// BFloat16 holds the bits of a bfloat16 number: the upper half of a float32.
type BFloat16 uint16

// Element is what tensors and buffers hold.
type Element interface {
	Float16 | BFloat16 | float32 | uint8 | int32 | int64
}

// DType is an element type as the library numbers it.
type DType int32

// The element types of this package. Attention takes the 16-bit ones; LSE is Float32, masks are Uint8, arrays of Sequences Int32 or Int64.
const (
	DTypeFloat16  DType = C.FLASHCORE_DTYPE_FLOAT16
	DTypeBFloat16 DType = C.FLASHCORE_DTYPE_BFLOAT16
	DTypeFloat32  DType = C.FLASHCORE_DTYPE_FLOAT32
	DTypeInt32    DType = C.FLASHCORE_DTYPE_INT32
	DTypeInt64    DType = C.FLASHCORE_DTYPE_INT64
	DTypeUint8    DType = -1 // the library has no number for it
)

func (d DType) String() string {
	switch d {
	case DTypeFloat16:
		return "float16"
	case DTypeBFloat16:
		return "bfloat16"
	case DTypeFloat32:
		return "float32"
	case DTypeInt32:
		return "int32"
	case DTypeInt64:
		return "int64"
	case DTypeUint8:
		return "uint8"
	}
	return fmt.Sprintf("DType(%d)", int32(d))
}

func (d DType) bytes() int64 {
	switch d {
	case DTypeInt64:
		return 8
	case DTypeFloat32, DTypeInt32:
		return 4
	case DTypeUint8:
		return 1
	}
	return 2
}

func dtypeOf[T Element]() DType {
	switch any(*new(T)).(type) {
	case Float16:
		return DTypeFloat16
	case BFloat16:
		return DTypeBFloat16
	case int32:
		return DTypeInt32
	case int64:
		return DTypeInt64
	case uint8:
		return DTypeUint8
	}
	return DTypeFloat32
}

// Float16s gives bits as numbers, without a copy.
func Float16s(bits []uint16) []Float16 {
	if len(bits) == 0 {
		return nil
	}
	return unsafe.Slice((*Float16)(&bits[0]), len(bits))
}

// BFloat16s gives bits as numbers, without a copy.
func BFloat16s(bits []uint16) []BFloat16 {
	if len(bits) == 0 {
		return nil
	}
	return unsafe.Slice((*BFloat16)(&bits[0]), len(bits))
}

// shiftRounded is bits >> shift, rounded to nearest, ties to even.
func shiftRounded(bits, shift uint32) uint32 {
	half, kept, rest := uint32(1)<<(shift-1), bits>>shift, bits&(1<<shift-1)
	if rest > half || rest == half && kept&1 == 1 {
		kept++
	}
	return kept
}

// ToFloat16 rounds to nearest, ties to even; too large numbers become infinite, NaN stays NaN.
func ToFloat16(value float32) Float16 {
	bits := math.Float32bits(value)
	sign, magnitude := Float16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case magnitude > 0x7f800000:
		return sign | 0x7e00 | Float16(magnitude>>13&0x3ff)
	case magnitude >= 0x47800000:
		return sign | 0x7c00
	case magnitude >= 0x38800000: // normal: the exponent's bias falls from 127 to 15; a carry may raise the exponent
		return sign | Float16(shiftRounded(magnitude-112<<23, 13))
	case magnitude >= 0x33000000: // subnormal: the fraction with its leading one, in units of 2^-24
		return sign | Float16(shiftRounded(magnitude&0x7fffff|0x800000, 126-magnitude>>23))
	}
	return sign
}

// Float32 is the same number; exact.
func (f Float16) Float32() float32 {
	sign, magnitude := uint32(f&0x8000)<<16, uint32(f&0x7fff)
	switch {
	case magnitude >= 0x7c00:
		return math.Float32frombits(sign | 0x7f800000 | magnitude&0x3ff<<13)
	case magnitude >= 0x0400:
		return math.Float32frombits(sign | magnitude<<13 + 112<<23)
	}
	return math.Float32frombits(sign | math.Float32bits(float32(magnitude)*0x1p-24))
}

// ToBFloat16 rounds to nearest, ties to even; NaN stays NaN.
func ToBFloat16(value float32) BFloat16 {
	bits := math.Float32bits(value)
	if value != value {
		return BFloat16(bits>>16) | 0x40
	}
	return BFloat16(shiftRounded(bits, 16))
}

// Float32 is the same number; exact.
func (f BFloat16) Float32() float32 { return math.Float32frombits(uint32(f) << 16) }
