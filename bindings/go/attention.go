// SPDX-License-Identifier: Apache-2.0

// One attention: what to compute as a struct of which zero fields are defaults. Sizes come from the shapes of the tensors, so
// the shapes are compared here; everything else is judged by the library.

package flashcore

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"unsafe"
)

// Causal says which keys a query sees.
type Causal int32

// Which keys a query sees.
const (
	CausalNone        Causal = C.FLASHCORE_CAUSAL_NONE         // all of them
	CausalTopLeft     Causal = C.FLASHCORE_CAUSAL_TOP_LEFT     // key j is visible to query i when j <= i (PyTorch's is_causal)
	CausalBottomRight Causal = C.FLASHCORE_CAUSAL_BOTTOM_RIGHT // ... when j <= i + seqlen_kv - seqlen_q (decoding with a cache)
)

// Attention is softmax(scale * Q.K^T + mask) . V. Query, Key, Value and Output are needed; the zero value of every other field
// is its default. The number of query heads is a multiple of the number of key heads; query head h reads key head
// h / (heads of the query / heads of the key).
type Attention struct {
	Query  Tensor // [batch, seqlen_q, heads_q, head_dim]
	Key    Tensor // [batch, seqlen_kv, heads_kv, head_dim]
	Value  Tensor // [batch, seqlen_kv, heads_kv, head_dim_v]
	Output Tensor // [batch, seqlen_q, heads_q, head_dim_v], of Query's type or float32, which is not rounded; may be absent for Prepare, Explain and WorkspaceBytes

	LSE      Tensor // optional: float32 [batch, heads_q, seqlen_q, 1], in this order; log(sum(exp(scores))) of every row
	LSEBase2 bool   // its logarithm to base 2 instead of e

	SoftmaxScale *float32 // factor of the scores; nil: 1/sqrt(head_dim). Ptr makes one
	Softcap      float32  // softcap * tanh(score / softcap); 0: none
	Causal       Causal
	WindowLeft   *int64 // key j is visible to query i only when j >= i + seqlen_kv - seqlen_q - *WindowLeft; nil: open
	WindowRight  *int64 // ... and j <= i + seqlen_kv - seqlen_q + *WindowRight; nil: open
	// Keys of the query's own chunk of this many positions only; 0: of all.
	AttentionChunk int

	AlibiSlopes Tensor // optional: float32 [1, 1, heads_q, 1], or [batch, 1, heads_q, 1]
	// Optional, added to the scores: Float16, BFloat16 or float32 [batch, seqlen_q, heads_q, seqlen_kv]; -infinity hides the key. A stride
	// is 0 where it is the same for all, and so may the last one be, but not all four.
	Bias  Tensor
	Mask  Tensor // optional: uint8, 0 hides the key, any other shows it; shape and strides as of Bias
	Sinks Tensor // optional: [1, 1, heads_q, 1], one more logit in the denominator, with no value

	Sequences     *Sequences // optional: sequences with lengths and places of their own, and pages; the shapes above are then as it says
	Append        *Append    // optional: new rows that are written to Key and Value first, and rotary embedding
	Variant       *Variant   // optional: what a text of your own makes of the scores and hides, after all of the above
	VariantParams Tensor     // the block that it reads, of any shape and type, contiguous: at least the variant's bytes

	BatchInvariant bool // a sequence's bits must not depend on the batch that it is in
	// As many pieces of each row's keys, computed by themselves and merged, or so many keys in each piece; 0: the library's choice.
	SplitCount, SplitTokens int
	MultiprocessorLimit     int // SMs that the call may occupy, threads on the CPU device; 0: all
	// Where query 0 and key 0 are in the sequence that the keys are a shard of: CausalBottomRight, windows, chunks and ALiBi count by that.
	Positions *Positions
	Kernel    string // this kernel ("sm80_fwd_mma") or this module and no other; empty: the library's choice
}

// Positions are those of a shard in its sequence.
type Positions struct{ Query, Key int64 }

// Ptr gives the address of a copy of a value, for fields whose default is nil.
func Ptr[T any](value T) *T { return &value }

// frame is what a call needs beside the tensors: kept, because it is too long to be made in every call.
type frame struct {
	call shimCall
	// Memory of Go behind the tensors.
	query, key, value, output, lse, alibi, bias, mask, sinks, params *C.uint8_t
	copies                                                           []unsafe.Pointer // of C: index arrays that lay in memory of Go
}

type shimCall = C.shim_call

var frames = sync.Pool{New: func() any { return new(frame) }}

func (f *frame) free() {
	// Nothing of this call for the next one, and no memory kept alive. The library writes an error whole when it writes it.
	f.call.args = C.flashcore_attention_args{}
	f.query, f.key, f.value, f.output, f.lse, f.alibi, f.bias, f.mask, f.sinks, f.params = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
	for _, memory := range f.copies {
		C.free(memory)
	}
	f.copies = f.copies[:0]
	frames.Put(f)
}

func (f *frame) forward(c *Context, queue unsafe.Pointer) error {
	status := C.shim_attention_fwd(c.number(), &f.call, f.query, f.key, f.value, f.output, f.lse, f.alibi, f.bias, f.mask, f.sinks, f.params,
		C.uintptr_t(uintptr(queue)))
	return check(status, &f.call.error)
}

func (c *Context) number() C.uintptr_t { return C.uintptr_t(uintptr(unsafe.Pointer(c.raw))) }

func checkShape(field string, t *Tensor, expected [4]int) error {
	for i := range expected {
		if t.Shape[i] != expected[i] {
			allowed := fmt.Sprintf("%d, as the other tensors say (%v)", expected[i], expected)
			return invalidf(fmt.Sprintf("%s.shape[%d]", field, i), allowed, "%d", t.Shape[i])
		}
	}
	return nil
}

func checkType(field string, t *Tensor, expected DType) error {
	switch t.dtype {
	case expected:
		return nil
	case 0:
		return invalid(field+".data", "absent", "a tensor of "+expected.String())
	}
	return invalid(field+".dtype", t.dtype.String(), expected.String())
}

// positive checks a size whose 0 would mean "the default" to the library.
func positive(field string, size int) (C.int32_t, error) {
	if size < 1 || size > math.MaxInt32 {
		return 0, invalidf(field, "1 to 2^31 - 1", "%d", size)
	}
	return C.int32_t(size), nil
}

// required is one of the four tensors that an attention is about.
type required struct {
	field  string
	tensor *Tensor
	raw    *C.flashcore_tensor
	memory **C.uint8_t
	shape  [4]int
}

func (a *Attention) fill(f *frame, c *Context, needsOutput bool) error {
	args := &f.call.args
	args.struct_size = C.sizeof_flashcore_attention_args
	f.call.error.struct_size = C.sizeof_flashcore_error
	queries, seqlenQ, headsQ, headDim := a.Query.Shape[0], a.Query.Shape[1], a.Query.Shape[2], a.Query.Shape[3]
	seqlenKV, headsKV, headDimV := a.Key.Shape[1], a.Key.Shape[2], a.Value.Shape[3]
	batch, entries := a.batches()
	if a.Query.absent() {
		return invalid("query.data", "absent", "a tensor of float16 or bfloat16")
	}
	tensors := [4]required{
		{"query", &a.Query, &args.query, &f.query, [4]int{queries, seqlenQ, headsQ, headDim}},
		{"key", &a.Key, &args.key, &f.key, [4]int{entries, seqlenKV, headsKV, headDim}},
		{"value", &a.Value, &args.value, &f.value, [4]int{entries, seqlenKV, headsKV, headDimV}},
		{"output", &a.Output, &args.output, &f.output, [4]int{queries, seqlenQ, headsQ, headDimV}},
	}
	for i := range tensors {
		t := &tensors[i]
		if i == 3 && !needsOutput && t.tensor.absent() {
			break
		}
		if i == 3 && t.tensor.dtype == DTypeFloat32 && a.Query.dtype != DTypeFloat32 {
			// as it was summed
		} else if err := checkType(t.field, t.tensor, a.Query.dtype); err != nil {
			return err
		}
		if err := checkShape(t.field, t.tensor, t.shape); err != nil {
			return err
		}
	}
	args.batch, args.seqlen_q, args.seqlen_kv = C.int64_t(batch), C.int64_t(seqlenQ), C.int64_t(seqlenKV)
	var err error
	if args.heads_q, err = positive("heads_q", headsQ); err != nil {
		return err
	}
	if args.heads_kv, err = positive("heads_kv", headsKV); err != nil {
		return err
	}
	if args.head_dim, err = positive("head_dim", headDim); err != nil {
		return err
	}
	if args.head_dim_v, err = positive("head_dim_v", headDimV); err != nil {
		return err
	}
	for i := range tensors {
		t := &tensors[i]
		if t.tensor.absent() {
			continue // only the output, see above
		}
		if *t.memory, err = t.tensor.fill(t.raw, t.field, c); err != nil {
			return err
		}
	}
	if err := a.fillScalars(args); err != nil {
		return err
	}
	if a.Sequences != nil {
		if err := a.Sequences.fill(f, c, a); err != nil {
			return err
		}
	}
	if a.Append != nil {
		if err := a.Append.fill(f, c, a); err != nil {
			return err
		}
	}
	return a.fillOptional(f, c)
}

func (a *Attention) fillScalars(args *C.flashcore_attention_args) error {
	args.causal = C.int32_t(a.Causal)
	args.softcap = C.float(a.Softcap)
	if a.LSEBase2 {
		args.lse_base = C.FLASHCORE_LSE_BASE2
	}
	if a.SoftmaxScale != nil {
		args.flags |= C.FLASHCORE_FLAG_SOFTMAX_SCALE
		args.softmax_scale = C.float(*a.SoftmaxScale)
	}
	args.attention_chunk = C.int64_t(a.AttentionChunk)
	if a.WindowLeft != nil {
		args.flags |= C.FLASHCORE_FLAG_WINDOW_LEFT
		args.window_left = C.int64_t(*a.WindowLeft)
	}
	if a.WindowRight != nil {
		args.flags |= C.FLASHCORE_FLAG_WINDOW_RIGHT
		args.window_right = C.int64_t(*a.WindowRight)
	}
	if a.BatchInvariant {
		args.flags |= C.FLASHCORE_FLAG_BATCH_INVARIANT
	}
	for _, number := range []struct {
		field string
		value int
		raw   *C.int32_t
	}{{"split_count", a.SplitCount, &args.split_count}, {"multiprocessor_limit", a.MultiprocessorLimit, &args.multiprocessor_limit}} {
		if number.value < math.MinInt32 || number.value > math.MaxInt32 {
			return invalidf(number.field, "a number of 32 bits", "%d", number.value)
		}
		*number.raw = C.int32_t(number.value)
	}
	args.split_tokens = C.int64_t(a.SplitTokens)
	if a.Positions != nil {
		args.flags |= C.FLASHCORE_FLAG_POSITIONS
		args.query_position, args.key_position = C.int64_t(a.Positions.Query), C.int64_t(a.Positions.Key)
	}
	if len(a.Kernel) >= len(args.kernel) || strings.IndexByte(a.Kernel, 0) >= 0 {
		return invalidf("kernel", fmt.Sprintf("the name of a kernel or a module of up to %d bytes, none of them 0", len(args.kernel)-1), "%q", a.Kernel)
	}
	for i := 0; i < len(a.Kernel); i++ {
		args.kernel[i] = C.char(a.Kernel[i])
	}
	return nil
}

func (a *Attention) fillOptional(f *frame, c *Context) error {
	args := &f.call.args
	queries, seqlenQ, headsQ := a.Query.Shape[0], a.Query.Shape[1], a.Query.Shape[2]
	batch, _ := a.batches()
	sized := func(field string, t *Tensor, raw *C.flashcore_tensor, memory **C.uint8_t, shape [4]int) error {
		err := checkShape(field, t, shape)
		if err == nil {
			*memory, err = t.fill(raw, field, c)
		}
		return err
	}
	one := func(field string, t *Tensor, raw *C.flashcore_tensor, memory **C.uint8_t, shape [4]int) error {
		if err := checkType(field, t, DTypeFloat32); err != nil {
			return err
		}
		return sized(field, t, raw, memory, shape)
	}
	scores := [4]int{batch, int(args.seqlen_q), headsQ, int(args.seqlen_kv)}
	if !a.LSE.absent() {
		if err := one("lse", &a.LSE, &args.lse, &f.lse, [4]int{queries, headsQ, seqlenQ, 1}); err != nil {
			return err
		}
		// The library's order is batch, sequence, head, for every tensor.
		args.lse.stride[1], args.lse.stride[2] = args.lse.stride[2], args.lse.stride[1]
	}
	if !a.AlibiSlopes.absent() {
		batches := a.AlibiSlopes.Shape[0]
		if batches != batch {
			batches = 1
		}
		var raw C.flashcore_tensor
		if err := one("alibi_slopes", &a.AlibiSlopes, &raw, &f.alibi, [4]int{batches, 1, headsQ, 1}); err != nil {
			return err
		}
		given := raw.stride[3] != 0
		if given && raw.stride[2] != 1 { // the library takes a batch stride and nothing else
			return invalidf("alibi_slopes.stride[2]", "1, the slopes of a sequence lie side by side", "%d", raw.stride[2])
		}
		args.alibi_slopes = raw.data
		if batches > 1 && given {
			args.alibi_batch_stride = raw.stride[0]
		} else if batches > 1 {
			args.alibi_batch_stride = C.int64_t(headsQ)
		}
	}
	if !a.Bias.absent() {
		if a.Bias.dtype == DTypeUint8 {
			return invalid("bias.dtype", "uint8", "float16, bfloat16 or float32")
		}
		if err := sized("bias", a.Bias.ofScores(), &args.bias, &f.bias, scores); err != nil {
			return err
		}
	}
	if !a.Mask.absent() {
		if err := checkType("mask", &a.Mask, DTypeUint8); err != nil {
			return err
		}
		if err := sized("mask", a.Mask.ofScores(), &args.mask, &f.mask, scores); err != nil {
			return err
		}
		args.mask.dtype = 0
	}
	if !a.Sinks.absent() {
		if err := one("sinks", &a.Sinks, &args.sinks, &f.sinks, [4]int{1, 1, headsQ, 1}); err != nil {
			return err
		}
	}
	return a.fillVariant(f, c)
}

// with fills a frame and runs a call with it; the context is held meanwhile.
func (c *Context) with(a *Attention, needsOutput bool, call func(f *frame) cStatus) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	f := frames.Get().(*frame)
	defer f.free()
	if err := a.fill(f, c, needsOutput); err != nil {
		return err
	}
	err := check(call(f), &f.call.error)
	runtime.KeepAlive(a)
	return err
}

// Forward computes on a stream, nil being the default stream, and returns after the launch: the buffers must stay unused by others
// until the stream has passed the work; freeing one waits for the device. On the CPU device everything is computed on return.
//
// ErrInvalidArgument and ErrUnsupported name the field; ErrNotPrepared in a capture of a shape that is not prepared;
// ErrCompilerUnavailable, ErrCompileFailed, ErrOutOfHostMemory, ErrOutOfDeviceMemory, ErrCudaError, ErrContextLost, ErrForked;
// ErrClosed where the context, the stream or a buffer was closed.
func (c *Context) Forward(a *Attention, stream *Stream) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	queue, err := stream.handle(c)
	if err != nil {
		return err
	}
	f := frames.Get().(*frame)
	defer f.free()
	if err := a.fill(f, c, true); err != nil {
		return err
	}
	err = f.forward(c, queue)
	runtime.KeepAlive(a)
	runtime.KeepAlive(stream)
	return err
}

// Prepare does everything slow now (select, compile, load), so that a later Forward with the same shapes is only a launch, also
// while a stream is captured.
func (c *Context) Prepare(a *Attention) error {
	return c.with(a, false, func(f *frame) cStatus {
		return C.shim_attention_prepare(c.number(), &f.call, f.query, f.key, f.value, f.output, f.lse, f.alibi, f.bias, f.mask, f.sinks, f.params)
	})
}

// WorkspaceBytes is the bytes of workspace that a call needs, 0 for most; the context has its own. Nothing is compiled.
func (c *Context) WorkspaceBytes(a *Attention) (int64, error) {
	var bytes C.int64_t
	err := c.with(a, false, func(f *frame) cStatus {
		return C.shim_attention_workspace_bytes(c.number(), &f.call, f.query, f.key, f.value, f.output, f.lse, f.alibi, f.bias,
			f.mask, f.sinks, f.params, &bytes)
	})
	return int64(bytes), err
}

// Explanation says which kernel a call would use, or why none.
type Explanation struct {
	Supported          bool
	Kernel             string // "sm80_fwd_mma"; "cpu" on the CPU device
	Module             string // its specialization: "sm80_fwd_mma-fp16-d64-causal-128x64-w4"
	TileQ, TileKV      int32
	Warps, Stages      int32
	Grid               [3]int32 // thread blocks
	ThreadsPerBlock    int32
	DynamicSharedBytes int64
	WorkspaceBytes     int64
	CostUs             float64 // the selector's estimate, from a model, in microseconds
	Reasons            string  // one line per kernel: chosen, dearer, or why it cannot
}

// Explain says which kernel a call would use, or why none. Problems that are not supported are explained, too.
func (c *Context) Explain(a *Attention) (Explanation, error) {
	var raw C.flashcore_attention_explanation
	raw.struct_size = C.sizeof_flashcore_attention_explanation
	err := c.with(a, false, func(f *frame) cStatus {
		return C.shim_attention_explain(c.number(), &f.call, f.query, f.key, f.value, f.output, f.lse, f.alibi, f.bias, f.mask, f.sinks, f.params, &raw)
	})
	if err != nil {
		return Explanation{}, err
	}
	return Explanation{
		Supported:          raw.supported != 0,
		Kernel:             C.GoString(&raw.kernel[0]),
		Module:             C.GoString(&raw.module[0]),
		TileQ:              int32(raw.tile_q),
		TileKV:             int32(raw.tile_kv),
		Warps:              int32(raw.warps),
		Stages:             int32(raw.stages),
		Grid:               *(*[3]int32)(unsafe.Pointer(&raw.grid)),
		ThreadsPerBlock:    int32(raw.threads_per_block),
		DynamicSharedBytes: int64(raw.dynamic_shared_bytes),
		WorkspaceBytes:     int64(raw.workspace_bytes),
		CostUs:             float64(raw.cost_us),
		Reasons:            C.GoString(&raw.reasons[0]),
	}, nil
}
