// SPDX-License-Identifier: Apache-2.0

// What devices and contexts say of themselves.

package flashcore

// #include "shim.h"
import "C"

// DeviceInfo is what a device is.
type DeviceInfo struct {
	Kind                           DeviceKind // CPU or CUDA
	Ordinal                        int32      // CUDA device ordinal; 0 for the CPU
	Arch                           int32      // 89 for compute capability 8.9; 0 for the CPU
	Multiprocessors                int32      // SMs; worker threads for the CPU
	SharedMemoryPerBlockOptinBytes int32      // what one thread block may use after the opt-in; 0 for the CPU
	MemoryBytes                    int64      // total device memory; 0 for the CPU
	DriverVersion                  int32      // 13000 for CUDA 13.0; 0 for the CPU
	Name                           string
}

// ContextInfo is what a context is and what its module cache did so far.
type ContextInfo struct {
	Device               DeviceInfo
	DeviceReason         string // why this device: "first usable GPU", or why there was none
	NVRTCVersion         int32  // 13000 for NVRTC 13.0; 0: not loaded (not needed so far)
	CacheDirectory       string // user cache in use; empty where it is off
	CacheWarning         string // the last trouble with the cache, which never makes a call fail; empty: none
	ModulesFromProcess   int64  // lookups that found the module loaded
	ModulesFromShipped   int64  // loaded from the shipped or configured read-only folders
	ModulesFromUserCache int64
	ModulesCompiled      int64 // compiled by NVRTC
	CacheRejected        int64 // entries found but refused by a check; each was a miss
	CacheWriteFailures   int64 // compiled modules that could not be kept
	CompileUs            int64 // time spent in NVRTC, in microseconds
}

func deviceInfo(raw *C.flashcore_device_info) DeviceInfo {
	return DeviceInfo{
		Kind:                           DeviceKind(raw.kind),
		Ordinal:                        int32(raw.ordinal),
		Arch:                           int32(raw.arch),
		Multiprocessors:                int32(raw.multiprocessors),
		SharedMemoryPerBlockOptinBytes: int32(raw.shared_memory_per_block_optin_bytes),
		MemoryBytes:                    int64(raw.memory_bytes),
		DriverVersion:                  int32(raw.driver_version),
		Name:                           C.GoString(&raw.name[0]),
	}
}

// CUDADeviceCount is the number of CUDA devices; 0 where there is no driver or no device: DescribeCUDADevice(0) says why. It
// starts the driver.
func CUDADeviceCount() (int, error) {
	var count C.int32_t
	failure := newCError()
	err := check(C.flashcore_device_count(&count, &failure), &failure)
	return int(count), err
}

// DescribeCUDADevice describes a CUDA device. ErrInvalidArgument past the count; where that is 0, the reason: ErrNoDriver,
// ErrDriverTooOld, ErrNoDevice, ErrDeviceNotReady.
func DescribeCUDADevice(ordinal int32) (DeviceInfo, error) {
	var raw C.flashcore_device_info
	raw.struct_size = C.sizeof_flashcore_device_info
	failure := newCError()
	if err := check(C.flashcore_device_describe(C.int32_t(ordinal), &raw, &failure), &failure); err != nil {
		return DeviceInfo{}, err
	}
	return deviceInfo(&raw), nil
}

// Version is the version of the loaded library as one comparable number: 1.2.3 is 10203.
func Version() uint32 { return uint32(C.flashcore_version()) }

// Describe says which device this is and why, and what the module cache did so far.
func (c *Context) Describe() (ContextInfo, error) {
	if err := c.enter(); err != nil {
		return ContextInfo{}, err
	}
	defer c.leave()
	var raw C.flashcore_context_info
	raw.struct_size = C.sizeof_flashcore_context_info
	failure := newCError()
	if err := check(C.flashcore_context_describe(c.raw, &raw, &failure), &failure); err != nil {
		return ContextInfo{}, err
	}
	var device C.flashcore_device_info
	device.struct_size = C.sizeof_flashcore_device_info
	if err := check(C.flashcore_context_describe_device(c.raw, &device, &failure), &failure); err != nil {
		return ContextInfo{}, err
	}
	return ContextInfo{
		Device:               deviceInfo(&device),
		DeviceReason:         C.GoString(&raw.device_reason[0]),
		NVRTCVersion:         int32(raw.nvrtc_version),
		CacheDirectory:       C.GoString(&raw.cache_directory[0]),
		CacheWarning:         C.GoString(&raw.cache_warning[0]),
		ModulesFromProcess:   int64(raw.modules_from_process),
		ModulesFromShipped:   int64(raw.modules_from_shipped),
		ModulesFromUserCache: int64(raw.modules_from_user_cache),
		ModulesCompiled:      int64(raw.modules_compiled),
		CacheRejected:        int64(raw.cache_rejected),
		CacheWriteFailures:   int64(raw.cache_write_failures),
		CompileUs:            int64(raw.compile_us),
	}, nil
}
