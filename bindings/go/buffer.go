// SPDX-License-Identifier: Apache-2.0

// Memory on the context's device and page-locked memory of the host. On the CPU device both are ordinary memory.

package flashcore

// #include "shim.h"
import "C"

import (
	"math"
	"strconv"
	"unsafe"
)

// Buffer is elements of one type in device memory, aligned to 256 bytes. Free it or close its context; a finalizer is only
// the backstop.
type Buffer struct {
	*owned
	dtype  DType
	length int
}

// HostBuffer is page-locked host memory, for copies that overlap with work on the device.
type HostBuffer struct {
	*owned
	dtype  DType
	length int
}

func bytesOf(length int, dtype DType) (C.int64_t, error) {
	if length < 0 || int64(length) > math.MaxInt64/dtype.bytes() {
		return 0, invalidf("bytes", "0 to 2^63 - 1 bytes", "%d elements of %d bytes", length, dtype.bytes())
	}
	return C.int64_t(int64(length) * dtype.bytes()), nil
}

func allocate[T Element](c *Context, length int) (*Buffer, error) {
	bytes, err := bytesOf(length, dtypeOf[T]())
	if err != nil {
		return nil, err
	}
	o, err := c.create(bufferResource, func(r *resource, failure *cError) cStatus {
		return C.flashcore_buffer_alloc(c.raw, bytes, &r.address, failure)
	})
	if err != nil {
		return nil, err
	}
	return &Buffer{o, dtypeOf[T](), length}, nil
}

// Zeros makes a buffer of elements whose bytes are all zero. ErrOutOfDeviceMemory.
func Zeros[T Element](c *Context, length int) (*Buffer, error) {
	b, err := allocate[T](c, length)
	if err != nil {
		return nil, err
	}
	if err := b.clear(); err != nil {
		b.Free()
		return nil, err
	}
	return b, nil
}

// clear sets all bytes to zero and waits for that: other streams do not wait for the default one.
func (b *Buffer) clear() error {
	if err := b.context.use(b.res, "buffer"); err != nil {
		return err
	}
	defer b.context.leave()
	raw, bytes, failure := b.context.raw, C.int64_t(int64(b.length)*b.dtype.bytes()), newCError()
	if err := check(C.flashcore_buffer_fill(raw, b.res.address, 0, bytes, nil, &failure), &failure); err != nil {
		return err
	}
	return check(C.flashcore_stream_synchronize(raw, nil, &failure), &failure)
}

// Upload makes a buffer with a copy of data. ErrOutOfDeviceMemory.
func Upload[T Element](c *Context, data []T) (*Buffer, error) {
	b, err := allocate[T](c, len(data))
	if err != nil {
		return nil, err
	}
	if err := Write(b, 0, data); err != nil {
		b.Free()
		return nil, err
	}
	return b, nil
}

// Len is the number of elements.
func (b *Buffer) Len() int { return b.length }

// DType is the type of the elements.
func (b *Buffer) DType() DType { return b.dtype }

// DeviceAddress is the address on the device, for other libraries; 0 for an empty buffer. It is valid until the buffer is freed.
func (b *Buffer) DeviceAddress() (uint64, error) {
	if err := b.context.use(b.res, "buffer"); err != nil {
		return 0, err
	}
	defer b.context.leave()
	return uint64(b.res.address), nil
}

// Free frees the memory, for which the driver waits until the device no longer uses it. Freeing again is allowed.
func (b *Buffer) Free() error {
	return b.release()
}

// part checks that elements lie inside a memory of `length` elements.
func part(field string, offset, count, length int) error {
	if offset < 0 || offset > length || count < 0 || count > length-offset {
		return invalidf(field, "elements within the "+strconv.Itoa(length)+" of the buffer", "%d elements from %d on", count, offset)
	}
	return nil
}

func checkElements[T Element](offset int, data []T, dtype DType, length int) error {
	if dtypeOf[T]() != dtype {
		return invalid("data", "elements of "+dtypeOf[T]().String(), dtype.String()+", as the buffer's")
	}
	return part("data", offset, len(data), length)
}

// Write copies data over the elements from offset on and waits for the copy. Work on the device that still uses the buffer
// must have finished.
func Write[T Element](b *Buffer, offset int, data []T) error {
	if err := checkElements(offset, data, b.dtype, b.length); err != nil {
		return err
	}
	if err := b.context.use(b.res, "buffer"); err != nil {
		return err
	}
	defer b.context.leave()
	if len(data) == 0 {
		return nil
	}
	raw, failure := b.context.raw, newCError()
	bytes, address := C.int64_t(int64(len(data))*b.dtype.bytes()), b.address(offset)
	status := C.flashcore_copy_to_device(raw, address, unsafe.Pointer(&data[0]), bytes, nil, &failure)
	if err := check(status, &failure); err != nil {
		return err
	}
	return check(C.flashcore_stream_synchronize(raw, nil, &failure), &failure)
}

// Read copies the elements from offset on into data. Work on a Stream that writes the buffer must have been waited for; work
// on the default stream is.
func Read[T Element](b *Buffer, offset int, data []T) error {
	if err := checkElements(offset, data, b.dtype, b.length); err != nil {
		return err
	}
	if err := b.context.use(b.res, "buffer"); err != nil {
		return err
	}
	defer b.context.leave()
	if len(data) == 0 {
		return nil
	}
	raw, failure := b.context.raw, newCError()
	bytes, address := C.int64_t(int64(len(data))*b.dtype.bytes()), b.address(offset)
	status := C.flashcore_copy_to_host(raw, unsafe.Pointer(&data[0]), address, bytes, nil, &failure)
	if err := check(status, &failure); err != nil {
		return err
	}
	return check(C.flashcore_stream_synchronize(raw, nil, &failure), &failure)
}

// ReadAll gives all elements, see Read.
func ReadAll[T Element](b *Buffer) ([]T, error) {
	data := make([]T, b.length)
	if err := Read(b, 0, data); err != nil {
		return nil, err
	}
	return data, nil
}

func (b *Buffer) address(offset int) C.uint64_t {
	return b.res.address + C.uint64_t(int64(offset)*b.dtype.bytes())
}

// CopyFrom copies elements of another buffer of the context and of the same type, ordered on the stream; nil is the default
// stream.
func (b *Buffer) CopyFrom(stream *Stream, offset int, source *Buffer, sourceOffset, count int) error {
	if source.dtype != b.dtype {
		return invalid("source", "elements of "+source.dtype.String(), b.dtype.String()+", as the buffer's")
	}
	if err := part("destination", offset, count, b.length); err != nil {
		return err
	}
	if err := part("source", sourceOffset, count, source.length); err != nil {
		return err
	}
	return b.ordered(stream, source.context, source.res, "source", func(raw cContext, queue unsafe.Pointer, failure *cError) cStatus {
		bytes := C.int64_t(int64(count) * b.dtype.bytes())
		return C.flashcore_copy_on_device(raw, b.address(offset), source.address(sourceOffset), bytes, queue, failure)
	})
}

// WriteFrom copies all of a page-locked memory over the elements from offset on, ordered on the stream, and returns before the
// copy has finished.
func (b *Buffer) WriteFrom(stream *Stream, offset int, source *HostBuffer) error {
	if source.dtype != b.dtype {
		return invalid("source", "elements of "+source.dtype.String(), b.dtype.String()+", as the buffer's")
	}
	if err := part("source", offset, source.length, b.length); err != nil {
		return err
	}
	return b.ordered(stream, source.context, source.res, "source", func(raw cContext, queue unsafe.Pointer, failure *cError) cStatus {
		bytes := C.int64_t(int64(source.length) * b.dtype.bytes())
		return C.flashcore_copy_to_device(raw, b.address(offset), source.res.handle, bytes, queue, failure)
	})
}

// ReadInto copies elements from offset on into all of a page-locked memory, ordered on the stream, and returns before the copy has
// finished.
func (b *Buffer) ReadInto(stream *Stream, offset int, destination *HostBuffer) error {
	if destination.dtype != b.dtype {
		return invalid("destination", "elements of "+destination.dtype.String(), b.dtype.String()+", as the buffer's")
	}
	if err := part("destination", offset, destination.length, b.length); err != nil {
		return err
	}
	owner, memory := destination.context, destination.res
	return b.ordered(stream, owner, memory, "destination", func(raw cContext, queue unsafe.Pointer, failure *cError) cStatus {
		bytes := C.int64_t(int64(destination.length) * b.dtype.bytes())
		return C.flashcore_copy_to_host(raw, memory.handle, b.address(offset), bytes, queue, failure)
	})
}

// ordered runs a copy between the buffer and another memory of its context on a stream.
func (b *Buffer) ordered(stream *Stream, owner *Context, other *resource, field string,
	work func(raw cContext, queue unsafe.Pointer, failure *cError) cStatus) error {
	if owner != b.context {
		return invalid(field, "memory of another context", "memory of this context")
	}
	if err := b.context.use(b.res, "buffer"); err != nil {
		return err
	}
	defer b.context.leave()
	if other.freed {
		return closedError(field)
	}
	queue, err := stream.handle(b.context)
	if err != nil {
		return err
	}
	failure := newCError()
	return check(work(b.context.raw, queue, &failure), &failure)
}

// HostZeros makes page-locked host memory whose bytes are all zero. ErrOutOfHostMemory.
func HostZeros[T Element](c *Context, length int) (*HostBuffer, error) {
	bytes, err := bytesOf(length, dtypeOf[T]())
	if err != nil {
		return nil, err
	}
	o, err := c.create(hostResource, func(r *resource, failure *cError) cStatus {
		return C.flashcore_host_alloc(c.raw, bytes, &r.handle, failure)
	})
	if err != nil {
		return nil, err
	}
	h := &HostBuffer{o, dtypeOf[T](), length}
	if err := HostWrite(h, 0, make([]T, length)); err != nil {
		h.Free()
		return nil, err
	}
	return h, nil
}

// Len is the number of elements.
func (h *HostBuffer) Len() int { return h.length }

// DType is the type of the elements.
func (h *HostBuffer) DType() DType { return h.dtype }

// Free frees the memory. No copy from or to it may be under way. Freeing again is allowed.
func (h *HostBuffer) Free() error {
	return h.release()
}

// HostWrite copies data over the elements from offset on. No copy on a stream may be under way.
func HostWrite[T Element](h *HostBuffer, offset int, data []T) error {
	return hostCopy(h, offset, data, func(memory []T) { copy(memory, data) })
}

// HostRead copies the elements from offset on into data. Copies on a stream must have been waited for.
func HostRead[T Element](h *HostBuffer, offset int, data []T) error {
	return hostCopy(h, offset, data, func(memory []T) { copy(data, memory) })
}

// hostCopy shows the memory for the time of one copy only: a slice that stayed would outlive the memory.
func hostCopy[T Element](h *HostBuffer, offset int, data []T, work func(memory []T)) error {
	if err := checkElements(offset, data, h.dtype, h.length); err != nil {
		return err
	}
	if err := h.context.use(h.res, "buffer"); err != nil {
		return err
	}
	defer h.context.leave()
	if len(data) > 0 {
		work(unsafe.Slice((*T)(unsafe.Add(h.res.handle, int64(offset)*h.dtype.bytes())), len(data)))
	}
	return nil
}
