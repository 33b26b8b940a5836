// SPDX-License-Identifier: Apache-2.0

// Statuses as sentinel errors, and the error that every failing call returns. It belongs to the call: no goroutine ever
// sees another's.

package flashcore

// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
)

// Status is the kind of a failure. Its constants are sentinels for errors.Is; the numbers are those of flashcore_status.h.
type Status int32

// The statuses of the library.
const (
	ErrInvalidArgument     Status = C.FLASHCORE_INVALID_ARGUMENT     // an argument breaks the rules of its field
	ErrUnsupported         Status = C.FLASHCORE_UNSUPPORTED          // well formed, but no kernel of this build can do it
	ErrNotPrepared         Status = C.FLASHCORE_NOT_PREPARED         // in a capture, and the shape was not prepared
	ErrWorkspaceTooSmall   Status = C.FLASHCORE_WORKSPACE_TOO_SMALL  // the caller's workspace is smaller than needed
	ErrOutOfHostMemory     Status = C.FLASHCORE_OUT_OF_HOST_MEMORY   // the host has no memory left
	ErrOutOfDeviceMemory   Status = C.FLASHCORE_OUT_OF_DEVICE_MEMORY // the device has no memory left
	ErrNoDriver            Status = C.FLASHCORE_NO_DRIVER            // no NVIDIA driver could be loaded
	ErrDriverTooOld        Status = C.FLASHCORE_DRIVER_TOO_OLD       // the driver is older than the library needs
	ErrNoDevice            Status = C.FLASHCORE_NO_DEVICE            // the driver shows no usable device
	ErrDeviceNotReady      Status = C.FLASHCORE_DEVICE_NOT_READY     // the device cannot be used at this moment
	ErrCompilerUnavailable Status = C.FLASHCORE_COMPILER_UNAVAILABLE // no cached module, and NVRTC could not be loaded
	ErrCompileFailed       Status = C.FLASHCORE_COMPILE_FAILED       // NVRTC refused a kernel
	ErrModuleCorrupt       Status = C.FLASHCORE_MODULE_CORRUPT       // a module file failed its checks
	ErrCudaError           Status = C.FLASHCORE_CUDA_ERROR           // a driver call failed; Error.DriverCode has its number
	ErrContextLost         Status = C.FLASHCORE_CONTEXT_LOST         // an earlier failure made the CUDA context unusable
	ErrForked              Status = C.FLASHCORE_FORKED               // the process was forked after CUDA was initialised
	ErrIoError             Status = C.FLASHCORE_IO_ERROR             // a file could not be read or written
	ErrInternal            Status = C.FLASHCORE_INTERNAL             // the library broke one of its own rules
)

// ErrClosed is what errors.Is finds in the error of every call on a closed context or a freed buffer, stream or event.
var ErrClosed = errors.New("used after it was closed")

// Name is "INVALID_ARGUMENT" and the like; "UNKNOWN" for a number that the loaded library does not know.
func (s Status) Name() string { return C.GoString(C.flashcore_status_name(C.flashcore_status(s))) }

// Error is the status as one English sentence.
func (s Status) Error() string {
	return s.Name() + ": " + C.GoString(C.flashcore_status_sentence(C.flashcore_status(s)))
}

// Error is what went wrong. It comes from the library, or from this package where a tensor does not fit its memory or
// another tensor, or where something was closed. errors.Is knows its status, errors.As gives the whole.
type Error struct {
	Status     Status
	Field      string // the argument at fault ("key.stride[1]"), empty where there is none
	Message    string // what was given, what is allowed, what to do next
	DriverCode int32  // the CUresult or nvrtcResult behind it, 0 where there is none
	cause      error
}

func (e *Error) Error() string { return e.Status.Name() + ": " + e.Message }

// Is reports whether target is the status of the error.
func (e *Error) Is(target error) bool {
	status, ok := target.(Status)
	return ok && status == e.Status
}

// Unwrap gives ErrClosed where that is the reason, else nil.
func (e *Error) Unwrap() error { return e.cause }

func invalid(field, value, allowed string) *Error {
	return &Error{Status: ErrInvalidArgument, Field: field, Message: field + " is " + value + "; allowed: " + allowed}
}

func invalidf(field, allowed, value string, arguments ...any) *Error {
	return invalid(field, fmt.Sprintf(value, arguments...), allowed)
}

func closedError(field string) *Error {
	err := invalid(field, "closed", "one that is open")
	err.cause = ErrClosed
	return err
}

type (
	cContext = C.flashcore_context
	cError   = C.flashcore_error
	cStatus  = C.flashcore_status
)

func newCError() cError {
	var raw cError
	raw.struct_size = C.sizeof_flashcore_error
	return raw
}

// check turns a status and the call's own error into a Go error; nil for OK.
func check(status cStatus, raw *cError) error {
	if status == C.FLASHCORE_OK {
		return nil
	}
	return &Error{
		Status:     Status(status),
		Field:      C.GoString(&raw.field[0]),
		Message:    C.GoString(&raw.message[0]),
		DriverCode: int32(raw.driver_code),
	}
}
