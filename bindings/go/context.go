// SPDX-License-Identifier: Apache-2.0

// Contexts: one device, and the list of what was made through it, so that closing it leaves nothing behind.

package flashcore

// #cgo pkg-config: flashcore
// #include "shim.h"
import "C"

import (
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// DeviceKind says where to compute.
type DeviceKind int32

// Where to compute.
const (
	Auto DeviceKind = C.FLASHCORE_DEVICE_AUTO // the first usable GPU, else the CPU; Describe says which and why
	CPU  DeviceKind = C.FLASHCORE_DEVICE_CPU  // host memory, computed by the library's own threads
	CUDA DeviceKind = C.FLASHCORE_DEVICE_CUDA // a CUDA device, or an error
)

// CacheMode says what happens to modules that were compiled.
type CacheMode int32

// What happens to modules that were compiled.
const (
	CacheDefault   CacheMode = C.FLASHCORE_CACHE_DEFAULT    // the variable FLASHCORE_CACHE, else read and write
	CacheReadWrite CacheMode = C.FLASHCORE_CACHE_READ_WRITE // kept for the next process
	CacheReadOnly  CacheMode = C.FLASHCORE_CACHE_READ_ONLY  // existing ones are used, none is written
	CacheOff       CacheMode = C.FLASHCORE_CACHE_OFF        // the user cache is neither read nor written
)

// JITMode says whether NVRTC may compile what no cache holds.
type JITMode int32

// Whether NVRTC may compile what no cache holds.
const (
	JITDefault   JITMode = C.FLASHCORE_JIT_DEFAULT // the variable FLASHCORE_JIT, else allowed
	JITAllowed   JITMode = C.FLASHCORE_JIT_ALLOWED
	JITForbidden JITMode = C.FLASHCORE_JIT_FORBIDDEN
)

// AddressChecks says when the driver is asked whether the addresses of a call are memory that the GPU reaches.
type AddressChecks int32

// When addresses are checked on a GPU. A wrong one that is not found ends every later use of the device by the process.
const (
	AddressChecksDefault   AddressChecks = C.FLASHCORE_ADDRESS_CHECKS_DEFAULT    // the variable FLASHCORE_CHECK_ADDRESSES, else for new shapes
	AddressChecksNewShapes AddressChecks = C.FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES // when a module is first needed
	AddressChecksAlways    AddressChecks = C.FLASHCORE_ADDRESS_CHECKS_ALWAYS     // in every call, from the first byte to the last
)

// Options of a context. The zero value is the library's default: the first usable GPU, else the CPU.
type Options struct {
	Device         DeviceKind
	Ordinal        int32 // CUDA device ordinal, for CUDA
	CPUThreads     int32 // worker threads of the CPU device; 0: all that the process may run on
	Cache          CacheMode
	JIT            JITMode
	CacheDirectory string // user cache; empty: FLASHCORE_CACHE_DIR, else XDG_CACHE_HOME/flashcore, else ~/.cache/flashcore
	ModulePath     string // read-only module folders, separated by ':'
	NVRTCLibrary   string // the file of libnvrtc
	AddressChecks  AddressChecks
}

type resourceKind int

const (
	bufferResource resourceKind = iota
	hostResource
	streamResource
	eventResource
	variantResource
	foreignStream // of another library, in no list
)

// resource is one thing that the library made. It knows no context, so that the context's list does not keep the caller's
// Buffer or Stream alive, and finalizers can run.
type resource struct {
	kind    resourceKind
	address C.uint64_t     // of a buffer; the number of a variant
	handle  unsafe.Pointer // of everything else; memory of C
	freed   bool           // guarded by the context's lock
}

// Context is one device, its loaded kernels and its remembered plans. All methods may be called from many goroutines at
// once. Close it; a finalizer is only the backstop.
type Context struct {
	// Every call holds it shared, freeing and closing hold it alone: nothing is freed under a running call.
	lock   sync.RWMutex
	raw    C.flashcore_context
	isCPU  bool
	closed bool

	listLock sync.Mutex // of `live` among those who hold the other lock shared
	live     map[*resource]struct{}
}

func setPath(target []C.char, text, field string) error {
	if len(text) >= len(target) || strings.IndexByte(text, 0) >= 0 {
		return invalidf(field, "up to 1023 bytes, none of them 0", "%d bytes long", len(text))
	}
	for i := 0; i < len(text); i++ {
		target[i] = C.char(text[i])
	}
	return nil
}

// Open opens a device. On a GPU everything happens in the device's primary CUDA context, whatever is current: streams and events
// of others must belong to it. ErrInvalidArgument, ErrUnsupported (a GPU before compute capability 8.0), ErrNoDriver,
// ErrDriverTooOld, ErrNoDevice, ErrDeviceNotReady, ErrOutOfHostMemory, ErrOutOfDeviceMemory, ErrCudaError, ErrForked.
func Open(options Options) (*Context, error) {
	var raw C.flashcore_context_options
	raw.struct_size = C.sizeof_flashcore_context_options
	raw.device_kind = C.int32_t(options.Device)
	raw.device_ordinal = C.int32_t(options.Ordinal)
	raw.cpu_threads = C.int32_t(options.CPUThreads)
	raw.cache_mode = C.int32_t(options.Cache)
	raw.jit_mode = C.int32_t(options.JIT)
	raw.address_checks = C.int32_t(options.AddressChecks)
	if err := setPath(raw.cache_directory[:], options.CacheDirectory, "cache_directory"); err != nil {
		return nil, err
	}
	if err := setPath(raw.module_path[:], options.ModulePath, "module_path"); err != nil {
		return nil, err
	}
	if err := setPath(raw.nvrtc_library[:], options.NVRTCLibrary, "nvrtc_library"); err != nil {
		return nil, err
	}
	c, failure := &Context{live: map[*resource]struct{}{}}, newCError()
	if err := check(C.flashcore_context_create(&raw, &c.raw, &failure), &failure); err != nil {
		return nil, err
	}
	runtime.SetFinalizer(c, func(c *Context) { go c.Close() })
	info, err := c.Describe()
	if err != nil {
		c.Close()
		return nil, err
	}
	c.isCPU = info.Device.Kind == CPU
	return c, nil
}

// Close waits for running calls and, as Synchronize does, for everything on the device, whoever launched it; then it frees what
// was made through the context and closes it. Every later use of any of them is ErrClosed; closing again is allowed. The error
// is the first of what waiting and freeing said; closed it is in any case.
func (c *Context) Close() error {
	if c == nil {
		return nil
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	failure := newCError()
	// Modules must not be unloaded, nor memory freed, under running work: also that of streams of others.
	first := check(C.flashcore_context_synchronize(c.raw, &failure), &failure)
	for r := range c.live {
		if err := c.free(r); first == nil {
			first = err
		}
	}
	C.flashcore_context_destroy(c.raw)
	c.raw = nil
	return first
}

// free frees one resource; the lock is held alone.
func (c *Context) free(r *resource) error {
	if r.freed {
		return nil
	}
	r.freed = true
	delete(c.live, r)
	failure := newCError()
	var status C.flashcore_status
	switch r.kind {
	case bufferResource:
		status = C.flashcore_buffer_free(c.raw, r.address, &failure)
	case hostResource:
		status = C.flashcore_host_free(c.raw, r.handle, &failure)
	case streamResource:
		status = C.flashcore_stream_synchronize(c.raw, r.handle, &failure)
		waited := check(status, &failure)
		if err := check(C.flashcore_stream_destroy(c.raw, r.handle, &failure), &failure); err != nil {
			return err
		}
		return waited
	case eventResource:
		status = C.flashcore_event_destroy(c.raw, r.handle, &failure)
	case variantResource:
		status = C.flashcore_variant_destroy(c.raw, r.address, &failure)
	}
	return check(status, &failure)
}

// enter holds the context open until leave; an error where it is closed.
func (c *Context) enter() error {
	if c == nil {
		return closedError("context")
	}
	c.lock.RLock()
	if c.closed {
		c.lock.RUnlock()
		return closedError("context")
	}
	return nil
}

func (c *Context) leave() { c.lock.RUnlock() }

// owned is a resource in the hands of the caller. Copies of a Buffer or Stream share it; when the last one is forgotten, the
// finalizer frees what was not freed.
type owned struct {
	context *Context
	res     *resource
}

// create runs a function that makes a resource, and remembers what it made.
func (c *Context) create(kind resourceKind, make func(r *resource, failure *cError) cStatus) (*owned, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.leave()
	r, failure := &resource{kind: kind}, newCError()
	if err := check(make(r, &failure), &failure); err != nil {
		return nil, err
	}
	c.listLock.Lock()
	defer c.listLock.Unlock()
	c.live[r] = struct{}{}
	o := &owned{c, r}
	runtime.SetFinalizer(o, func(o *owned) { go o.release() })
	return o, nil
}

// release is the body of every Free method.
func (o *owned) release() error {
	o.context.lock.Lock()
	defer o.context.lock.Unlock()
	return o.context.free(o.res)
}

// use holds a resource until the context is left; field is its name in an error.
func (c *Context) use(r *resource, field string) error {
	if err := c.enter(); err != nil {
		return err
	}
	if r.freed {
		c.leave()
		return closedError(field)
	}
	return nil
}
