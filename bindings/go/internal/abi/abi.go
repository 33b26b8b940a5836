// SPDX-License-Identifier: Apache-2.0

// Package abi shows the structs and constants of flashcore.h as cgo sees them, for the comparison with bindings/abi_layout.tsv:
// test files cannot use cgo. What the header has and these lists lack fails the test by name.
package abi

// #include <flashcore/flashcore.h>
import "C"

import "reflect"

// Structs of the header. cgo gives their fields, names and offsets from the header itself.
var Structs = map[string]reflect.Type{
	"flashcore_error":                 reflect.TypeOf(C.flashcore_error{}),
	"flashcore_device_info":           reflect.TypeOf(C.flashcore_device_info{}),
	"flashcore_context_options":       reflect.TypeOf(C.flashcore_context_options{}),
	"flashcore_context_info":          reflect.TypeOf(C.flashcore_context_info{}),
	"flashcore_tensor":                reflect.TypeOf(C.flashcore_tensor{}),
	"flashcore_attention_args":        reflect.TypeOf(C.flashcore_attention_args{}),
	"flashcore_attention_explanation": reflect.TypeOf(C.flashcore_attention_explanation{}),
	"flashcore_merge_states_args":     reflect.TypeOf(C.flashcore_merge_states_args{}),
	"flashcore_variant_options":       reflect.TypeOf(C.flashcore_variant_options{}),
}

// Constants of the header.
var Constants = map[string]int64{
	"FLASHCORE_DEVICE_AUTO":               C.FLASHCORE_DEVICE_AUTO,
	"FLASHCORE_DEVICE_CPU":                C.FLASHCORE_DEVICE_CPU,
	"FLASHCORE_DEVICE_CUDA":               C.FLASHCORE_DEVICE_CUDA,
	"FLASHCORE_CACHE_DEFAULT":             C.FLASHCORE_CACHE_DEFAULT,
	"FLASHCORE_CACHE_READ_WRITE":          C.FLASHCORE_CACHE_READ_WRITE,
	"FLASHCORE_CACHE_READ_ONLY":           C.FLASHCORE_CACHE_READ_ONLY,
	"FLASHCORE_CACHE_OFF":                 C.FLASHCORE_CACHE_OFF,
	"FLASHCORE_JIT_DEFAULT":               C.FLASHCORE_JIT_DEFAULT,
	"FLASHCORE_JIT_ALLOWED":               C.FLASHCORE_JIT_ALLOWED,
	"FLASHCORE_JIT_FORBIDDEN":             C.FLASHCORE_JIT_FORBIDDEN,
	"FLASHCORE_ADDRESS_CHECKS_DEFAULT":    C.FLASHCORE_ADDRESS_CHECKS_DEFAULT,
	"FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES": C.FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES,
	"FLASHCORE_ADDRESS_CHECKS_ALWAYS":     C.FLASHCORE_ADDRESS_CHECKS_ALWAYS,
	"FLASHCORE_DTYPE_DEFAULT":             C.FLASHCORE_DTYPE_DEFAULT,
	"FLASHCORE_DTYPE_FLOAT16":             C.FLASHCORE_DTYPE_FLOAT16,
	"FLASHCORE_DTYPE_BFLOAT16":            C.FLASHCORE_DTYPE_BFLOAT16,
	"FLASHCORE_DTYPE_FLOAT32":             C.FLASHCORE_DTYPE_FLOAT32,
	"FLASHCORE_DTYPE_FLOAT8_E4M3":         C.FLASHCORE_DTYPE_FLOAT8_E4M3,
	"FLASHCORE_DTYPE_FLOAT8_E5M2":         C.FLASHCORE_DTYPE_FLOAT8_E5M2,
	"FLASHCORE_DTYPE_INT32":               C.FLASHCORE_DTYPE_INT32,
	"FLASHCORE_DTYPE_INT64":               C.FLASHCORE_DTYPE_INT64,
	"FLASHCORE_CAUSAL_NONE":               C.FLASHCORE_CAUSAL_NONE,
	"FLASHCORE_CAUSAL_TOP_LEFT":           C.FLASHCORE_CAUSAL_TOP_LEFT,
	"FLASHCORE_CAUSAL_BOTTOM_RIGHT":       C.FLASHCORE_CAUSAL_BOTTOM_RIGHT,
	"FLASHCORE_LSE_NATURAL":               C.FLASHCORE_LSE_NATURAL,
	"FLASHCORE_LSE_BASE2":                 C.FLASHCORE_LSE_BASE2,
	"FLASHCORE_FLAG_SOFTMAX_SCALE":        C.FLASHCORE_FLAG_SOFTMAX_SCALE,
	"FLASHCORE_FLAG_WINDOW_LEFT":          C.FLASHCORE_FLAG_WINDOW_LEFT,
	"FLASHCORE_FLAG_WINDOW_RIGHT":         C.FLASHCORE_FLAG_WINDOW_RIGHT,
	"FLASHCORE_FLAG_BATCH_INVARIANT":      C.FLASHCORE_FLAG_BATCH_INVARIANT,
	"FLASHCORE_FLAG_ROTARY_INTERLEAVED":   C.FLASHCORE_FLAG_ROTARY_INTERLEAVED,
	"FLASHCORE_FLAG_POSITIONS":            C.FLASHCORE_FLAG_POSITIONS,
	"FLASHCORE_NAME_BYTES":                C.FLASHCORE_NAME_BYTES,
	"FLASHCORE_MOST_STATES":               C.FLASHCORE_MOST_STATES,
	"FLASHCORE_OK":                        C.FLASHCORE_OK,
	"FLASHCORE_INVALID_ARGUMENT":          C.FLASHCORE_INVALID_ARGUMENT,
	"FLASHCORE_UNSUPPORTED":               C.FLASHCORE_UNSUPPORTED,
	"FLASHCORE_NOT_PREPARED":              C.FLASHCORE_NOT_PREPARED,
	"FLASHCORE_WORKSPACE_TOO_SMALL":       C.FLASHCORE_WORKSPACE_TOO_SMALL,
	"FLASHCORE_OUT_OF_HOST_MEMORY":        C.FLASHCORE_OUT_OF_HOST_MEMORY,
	"FLASHCORE_OUT_OF_DEVICE_MEMORY":      C.FLASHCORE_OUT_OF_DEVICE_MEMORY,
	"FLASHCORE_NO_DRIVER":                 C.FLASHCORE_NO_DRIVER,
	"FLASHCORE_DRIVER_TOO_OLD":            C.FLASHCORE_DRIVER_TOO_OLD,
	"FLASHCORE_NO_DEVICE":                 C.FLASHCORE_NO_DEVICE,
	"FLASHCORE_DEVICE_NOT_READY":          C.FLASHCORE_DEVICE_NOT_READY,
	"FLASHCORE_COMPILER_UNAVAILABLE":      C.FLASHCORE_COMPILER_UNAVAILABLE,
	"FLASHCORE_COMPILE_FAILED":            C.FLASHCORE_COMPILE_FAILED,
	"FLASHCORE_MODULE_CORRUPT":            C.FLASHCORE_MODULE_CORRUPT,
	"FLASHCORE_CUDA_ERROR":                C.FLASHCORE_CUDA_ERROR,
	"FLASHCORE_CONTEXT_LOST":              C.FLASHCORE_CONTEXT_LOST,
	"FLASHCORE_FORKED":                    C.FLASHCORE_FORKED,
	"FLASHCORE_IO_ERROR":                  C.FLASHCORE_IO_ERROR,
	"FLASHCORE_INTERNAL":                  C.FLASHCORE_INTERNAL,
}
