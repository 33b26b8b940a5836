// SPDX-License-Identifier: Apache-2.0

// Use after close is an error and never a crash, whatever was closed first; finalizers free what was forgotten.

package flashcore

import (
	"errors"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// isClosed checks that an error says so in both ways.
func isClosed(t *testing.T, field string, err error) {
	t.Helper()
	if !errors.Is(err, ErrClosed) {
		t.Errorf("not ErrClosed: %v", err)
	}
	refused(t, err, ErrInvalidArgument, field, "closed")
}

func second[T any](_ T, err error) error { return err }

func TestUseAfterClose(t *testing.T) {
	c, err := Open(Options{Device: CPU})
	if err != nil {
		t.Fatal(err)
	}
	buffer, output := must[*Buffer](t)(Zeros[Float16](c, 64)), must[*Buffer](t)(Zeros[Float16](c, 64))
	memory := must[*HostBuffer](t)(HostZeros[Float16](c, 64))
	stream, event := must[*Stream](t)(c.NewStream()), must[*Event](t)(c.NewEvent())
	tensor := buffer.Tensor(1, 4, 1, 16)
	a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: output.Tensor(1, 4, 1, 16)}
	if err := c.Forward(&a, stream); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 2; i++ { // closing again is allowed
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		c.Forward(&a, nil), c.Forward(&a, stream), c.Prepare(&a), second(c.Explain(&a)), second(c.WorkspaceBytes(&a)),
		second(c.Describe()), c.Synchronize(), second(c.NewStream()), second(c.NewEvent()), second(Zeros[float32](c, 1)),
		second(HostZeros[float32](c, 1)), Write(buffer, 0, []Float16{1}), Read(buffer, 0, []Float16{1}), second(buffer.DeviceAddress()),
		buffer.CopyFrom(nil, 0, output, 0, 1), buffer.WriteFrom(stream, 0, memory), buffer.ReadInto(stream, 0, memory),
		HostRead(memory, 0, []Float16{1}), HostWrite(memory, 0, []Float16{1}), stream.Synchronize(), second(stream.CUstream()),
		event.Record(nil), event.Synchronize(), second(event.Since(event)), (*Context)(nil).Forward(&a, nil),
	} {
		isClosed(t, "context", err)
	}
	for _, err := range []error{buffer.Free(), memory.Free(), stream.Free(), event.Free(), (*Context)(nil).Close()} {
		if err != nil {
			t.Error(err) // they were freed with the context
		}
	}
}

func TestUseAfterFree(t *testing.T) {
	c := open(t, Options{Device: CPU})
	buffer, output := must[*Buffer](t)(Zeros[Float16](c, 64)), must[*Buffer](t)(Zeros[Float16](c, 64))
	memory := must[*HostBuffer](t)(HostZeros[Float16](c, 64))
	stream, event, other := must[*Stream](t)(c.NewStream()), must[*Event](t)(c.NewEvent()), must[*Event](t)(c.NewEvent())
	tensor := buffer.Tensor(1, 4, 1, 16)
	a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: output.Tensor(1, 4, 1, 16)}
	for i := 0; i < 2; i++ {
		for _, free := range []func() error{stream.Free, event.Free, memory.Free} {
			if err := free(); err != nil {
				t.Fatal(err)
			}
		}
	}
	isClosed(t, "stream", c.Forward(&a, stream))
	isClosed(t, "stream", stream.Synchronize())
	isClosed(t, "stream", other.Record(stream))
	isClosed(t, "event", event.Record(nil))
	isClosed(t, "start", second(other.Since(event)))
	isClosed(t, "source", buffer.WriteFrom(nil, 0, memory))
	isClosed(t, "buffer", HostRead(memory, 0, []Float16{1}))
	layer := struct {
		name string
		Buffer
	}{"a copy inside a struct is the same buffer", *buffer}
	copied := &layer.Buffer
	if err := buffer.Free(); err != nil {
		t.Fatal(err)
	}
	isClosed(t, "buffer", Write(copied, 0, []Float16{1}))
	isClosed(t, "source", output.CopyFrom(nil, 0, buffer, 0, 1))
	isClosed(t, "query.data", c.Forward(&a, nil))
	if err := copied.Free(); err != nil {
		t.Error(err)
	}
}

func TestPageLockedMemory(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		stream, memory := must[*Stream](t)(c.NewStream()), must[*HostBuffer](t)(HostZeros[float32](c, 3))
		a, b := must[*Buffer](t)(Zeros[float32](c, 5)), must[*Buffer](t)(Zeros[float32](c, 5))
		got := make([]float32, 3)
		for _, err := range []error{
			HostWrite(memory, 0, []float32{1, 2, 3}), a.WriteFrom(stream, 2, memory), b.CopyFrom(stream, 0, a, 1, 4), stream.Synchronize(),
			HostWrite(memory, 0, make([]float32, 3)), b.ReadInto(stream, 1, memory), stream.Synchronize(), HostRead(memory, 0, got),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if got[0] != 1 || got[1] != 2 || got[2] != 3 || memory.Len() != 3 || memory.DType() != DTypeFloat32 || b.Len() != 5 {
			t.Error(got)
		}
		refused(t, a.WriteFrom(stream, 3, memory), ErrInvalidArgument, "source", "3 elements from 3 on")
		refused(t, HostWrite(memory, 1, got), ErrInvalidArgument, "data", "3 elements from 1 on")
		if address, err := a.DeviceAddress(); err != nil || address == 0 {
			t.Error(address, err)
		}
		wrapped := c.WrapStream(must[unsafe.Pointer](t)(stream.CUstream()))
		for _, err := range []error{a.CopyFrom(wrapped, 0, b, 1, 3), wrapped.Synchronize(), wrapped.Free(), c.Synchronize()} {
			if err != nil {
				t.Error(err)
			}
		}
		isClosed(t, "stream", wrapped.Synchronize())
		if values := must[[]float32](t)(ReadAll[float32](a)); values[0] != 1 || values[2] != 3 {
			t.Error(values)
		}
	})
}

func liveResources(c *Context) int {
	c.lock.Lock()
	defer c.lock.Unlock()
	return len(c.live)
}

func TestFinalizersAreABackstop(t *testing.T) {
	c := open(t, Options{Device: CPU})
	for i := 0; i < 100; i++ {
		must[*Buffer](t)(Zeros[Float16](c, 1000)) // forgotten at once
	}
	must[*Stream](t)(c.NewStream())
	for wait := 0; liveResources(c) > 0 && wait < 200; wait++ {
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
	}
	if left := liveResources(c); left > 0 {
		t.Errorf("%d forgotten resources are still there", left)
	}
}

func TestAForgottenContextLivesAsLongAsItsBuffers(t *testing.T) {
	c, err := Open(Options{Device: CPU})
	if err != nil {
		t.Fatal(err)
	}
	b := must[*Buffer](t)(Upload(c, []float32{4}))
	c = nil
	for i := 0; i < 5; i++ {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if values, err := ReadAll[float32](b); err != nil || values[0] != 4 {
		t.Error(values, err)
	}
}
