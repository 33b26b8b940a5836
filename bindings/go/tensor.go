// SPDX-License-Identifier: Apache-2.0

// Views of memory with four dimensions. Building one never fails; the call that takes it checks that its memory is large
// enough and lies on the right device, and then names the argument.

package flashcore

// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"math/bits"
	"unsafe"
)

// Tensor is a view of a buffer, of host memory (for the CPU device), or of another library's device memory. The zero value is
// an absent tensor. Change the fields of a view to get another one.
type Tensor struct {
	Shape   [4]int // batch, sequence, heads, head dimension
	Strides [4]int // elements, in the order of Shape, the last 1; all zero: contiguous
	Offset  int    // elements of the memory before the first of the tensor

	dtype   DType
	length  int            // elements of the memory
	host    unsafe.Pointer // of Go
	buffer  *Buffer
	foreign uint64
	wrong   *[3]int // positions out of range: from, to, of how many
	scores  bool    // a number for each score: its last stride is as free as the others
}

// Host is a view of a slice, for the CPU device: batch, sequence, heads, head dimension, contiguous.
func Host[T Element](data []T, batch, sequence, heads, headDim int) Tensor {
	t := Tensor{Shape: [4]int{batch, sequence, heads, headDim}, dtype: dtypeOf[T](), length: len(data)}
	if len(data) > 0 {
		t.host = unsafe.Pointer(&data[0])
	}
	return t
}

// Tensor is a view of the buffer: batch, sequence, heads, head dimension, contiguous from its first element.
func (b *Buffer) Tensor(batch, sequence, heads, headDim int) Tensor {
	return Tensor{Shape: [4]int{batch, sequence, heads, headDim}, dtype: b.dtype, length: b.length, buffer: b}
}

// DeviceMemory is a view of memory of the device that another library owns, `length` elements from address on. It must be on the
// device of the context, and stay until the work with it is done; only a context with AddressChecksAlways asks whether it is.
func DeviceMemory(address uint64, dtype DType, length int, batch, sequence, heads, headDim int) Tensor {
	return Tensor{Shape: [4]int{batch, sequence, heads, headDim}, dtype: dtype, length: length, foreign: address}
}

// DType is the type of the elements.
func (t Tensor) DType() DType { return t.dtype }

// Positions keeps only these positions of the sequence, with the strides of the whole: the filled part of a key cache.
func (t Tensor) Positions(from, to int) Tensor {
	if from < 0 || to < from || to > t.Shape[1] {
		t.wrong = &[3]int{from, to, t.Shape[1]}
		return t
	}
	if t.Strides == [4]int{} {
		row := t.Shape[2] * t.Shape[3]
		t.Strides = [4]int{t.Shape[1] * row, row, t.Shape[3], 1}
	}
	t.Offset += from * t.Strides[1]
	t.Shape[1] = to - from
	return t
}

func (t Tensor) ofScores() *Tensor {
	t.scores = true
	return &t
}

func (t *Tensor) absent() bool { return t.dtype == 0 }

// extent is the number of elements from the first to behind the last; -1 where they cannot be counted.
func (t *Tensor) extent() int {
	product, sum := uint64(1), uint64(1)
	contiguous := t.Strides == [4]int{}
	for i, size := range t.Shape {
		if size == 0 {
			return 0
		}
		factor, step := uint64(size), uint64(t.Strides[i])
		high, low := bits.Mul64(factor-1, step)
		if high != 0 || low > math.MaxInt64-sum {
			return -1
		}
		sum += low
		if !contiguous {
			continue
		}
		if high, product = bits.Mul64(product, factor); high != 0 || product > math.MaxInt64 {
			return -1
		}
	}
	if contiguous {
		return int(product)
	}
	return int(sum)
}

func (t *Tensor) checkPlace(field string, c *Context) error {
	allowed := "a buffer of the context that computes, see Upload"
	switch {
	case t.buffer != nil && t.buffer.context != c:
		return invalid(field+".data", "a buffer of another context", allowed)
	case t.buffer != nil && t.buffer.res.freed:
		return closedError(field + ".data")
	case t.host != nil && !c.isCPU:
		return invalid(field+".data", "host memory", allowed)
	}
	return nil
}

func (t *Tensor) checkExtent(field string) error {
	if t.wrong != nil {
		allowed := fmt.Sprintf("a range within the %d positions of the sequence", t.wrong[2])
		return invalidf(field+".shape[1]", allowed, "%d to %d", t.wrong[0], t.wrong[1])
	}
	for i := range t.Shape {
		if t.Shape[i] < 0 {
			return invalidf(fmt.Sprintf("%s.shape[%d]", field, i), "0 or more", "%d", t.Shape[i])
		}
		if t.Strides[i] < 0 {
			return invalidf(fmt.Sprintf("%s.stride[%d]", field, i), "0 or more", "%d", t.Strides[i])
		}
	}
	if t.Strides[3] != 1 && t.Strides != [4]int{} && !t.scores {
		return invalidf(field+".stride[3]", "1, elements of a head lie side by side", "%d", t.Strides[3])
	}
	needed := t.extent()
	if t.Offset >= 0 && t.Offset <= t.length && needed >= 0 && needed <= t.length-t.Offset {
		return nil
	}
	takes := "more elements than can be counted"
	if needed >= 0 {
		takes = fmt.Sprintf("%d", needed)
	}
	return invalidf(field+".data", "memory that holds all of its elements",
		"%d elements, of which shape %v with strides %v takes %s from %d on", t.length, t.Shape, t.Strides, takes, t.Offset)
}

// fill writes the tensor as an argument, after all checks that need its memory's size, type and owner, and returns the memory of
// Go behind it. The context is held. The library checks the rest.
func (t *Tensor) fill(raw *C.flashcore_tensor, field string, c *Context) (*C.uint8_t, error) {
	if err := t.checkPlace(field, c); err != nil {
		return nil, err
	}
	if err := t.checkExtent(field); err != nil {
		return nil, err
	}
	raw.dtype = C.int32_t(t.dtype)
	for i := range t.Strides {
		raw.stride[i] = C.int64_t(t.Strides[i])
	}
	offset := int64(t.Offset) * t.dtype.bytes()
	switch {
	case t.length == 0: // no element to point to
	case t.buffer != nil:
		raw.data = t.buffer.address(t.Offset)
	case t.host == nil && t.foreign != 0:
		raw.data = C.uint64_t(t.foreign + uint64(offset))
	case t.host == nil: // an address of 0, which the library refuses
	case t.Offset == t.length: // an empty tensor at the end, whose address would belong to the next object
		return (*C.uint8_t)(t.host), nil
	default:
		return (*C.uint8_t)(unsafe.Add(t.host, offset)), nil
	}
	return nil, nil
}
