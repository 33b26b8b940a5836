// SPDX-License-Identifier: Apache-2.0

// Streams order work on the device; events measure time on them. Both work on the CPU device, which is always done.

package flashcore

// #include "shim.h"
import "C"

import (
	"time"
	"unsafe"
)

// Stream is a queue of work on the device that does not wait for the default stream. A nil *Stream is the default stream
// wherever one is asked for. Free it or close its context.
type Stream struct{ *owned }

// NewStream makes a stream.
func (c *Context) NewStream() (*Stream, error) {
	o, err := c.create(streamResource, func(r *resource, failure *cError) cStatus {
		return C.flashcore_stream_create(c.raw, &r.handle, failure)
	})
	if err != nil {
		return nil, err
	}
	return &Stream{o}, nil
}

// WrapStream takes a CUstream of another library. It must be of the context's device and stay one as long as the Stream is used
// and work of it runs; freeing the Stream leaves it alone.
func (c *Context) WrapStream(custream unsafe.Pointer) *Stream {
	return &Stream{&owned{c, &resource{kind: foreignStream, handle: custream}}}
}

// handle is the CUstream for a call on a context that is held.
func (s *Stream) handle(c *Context) (unsafe.Pointer, error) {
	if s == nil {
		return nil, nil
	}
	if s.context != c {
		return nil, invalid("stream", "a stream of another context", "a stream of this context")
	}
	if s.res.freed {
		return nil, closedError("stream")
	}
	return s.res.handle, nil
}

// CUstream is the handle for other libraries, valid until the stream is freed.
func (s *Stream) CUstream() (unsafe.Pointer, error) {
	if err := s.context.use(s.res, "stream"); err != nil {
		return nil, err
	}
	defer s.context.leave()
	return s.res.handle, nil
}

// Synchronize waits until everything on the stream is done; failures of earlier work surface here.
func (s *Stream) Synchronize() error {
	if err := s.context.use(s.res, "stream"); err != nil {
		return err
	}
	defer s.context.leave()
	failure := newCError()
	return check(C.flashcore_stream_synchronize(s.context.raw, s.res.handle, &failure), &failure)
}

// Synchronize waits until everything on the device is done, on every stream; failures of earlier work surface here.
func (c *Context) Synchronize() error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	failure := newCError()
	return check(C.flashcore_context_synchronize(c.raw, &failure), &failure)
}

// Free waits for the stream's work and frees it. Freeing again is allowed.
func (s *Stream) Free() error {
	return s.release()
}

// Event is a point in a stream's work.
type Event struct{ *owned }

// NewEvent makes an event.
func (c *Context) NewEvent() (*Event, error) {
	o, err := c.create(eventResource, func(r *resource, failure *cError) cStatus {
		return C.flashcore_event_create(c.raw, &r.handle, failure)
	})
	if err != nil {
		return nil, err
	}
	return &Event{o}, nil
}

// Record marks the point that the stream has reached; nil is the default stream.
func (e *Event) Record(stream *Stream) error {
	if err := e.context.use(e.res, "event"); err != nil {
		return err
	}
	defer e.context.leave()
	queue, err := stream.handle(e.context)
	if err != nil {
		return err
	}
	failure := newCError()
	return check(C.flashcore_event_record(e.context.raw, e.res.handle, queue, &failure), &failure)
}

// Synchronize waits until the point has been passed.
func (e *Event) Synchronize() error {
	if err := e.context.use(e.res, "event"); err != nil {
		return err
	}
	defer e.context.leave()
	failure := newCError()
	return check(C.flashcore_event_synchronize(e.context.raw, e.res.handle, &failure), &failure)
}

// Since is the time from start to this point; both must have been passed.
func (e *Event) Since(start *Event) (time.Duration, error) {
	if start.context != e.context {
		return 0, invalid("start", "an event of another context", "an event of this context")
	}
	if err := e.context.use(e.res, "event"); err != nil {
		return 0, err
	}
	defer e.context.leave()
	if start.res.freed {
		return 0, closedError("start")
	}
	var us C.double
	failure := newCError()
	err := check(C.flashcore_event_elapsed_us(e.context.raw, start.res.handle, e.res.handle, &us, &failure), &failure)
	return time.Duration(float64(us) * float64(time.Microsecond)), err
}

// Free frees the event. Freeing again is allowed.
func (e *Event) Free() error {
	return e.release()
}
