// SPDX-License-Identifier: Apache-2.0

// Results of attention over parts of the keys, made one. The shapes are compared here; everything else is judged by the library.

package flashcore

// #include "shim.h"
import "C"

import (
	"fmt"
	"runtime"
)

// MergeStates is what attention over parts that share no key (split keys, shards of a cache, ring and context parallelism) has left:
// an output and an LSE of each part, one behind the other in two tensors, whose first dimension counts states and the batch entries of
// each. Merged they are what attention over all keys would have left: LSE = log(sum(exp(LSE_i))), O = sum(exp(LSE_i - LSE) O_i).
type MergeStates struct {
	States       int    // 1 to 1024
	OutputStates Tensor // [states * batch, seqlen_q, heads_q, head_dim_v]: Float16, BFloat16 or float32
	LSEStates    Tensor // float32 [states * batch, heads_q, seqlen_q, 1], in this order

	Output   Tensor // [batch, seqlen_q, heads_q, head_dim_v], of any of the types; may be state 0 itself. For Prepare its type counts
	LSE      Tensor // optional: float32 [batch, heads_q, seqlen_q, 1]; may be that of state 0
	LSEBase2 bool   // all logarithms to base 2 instead of e
}

// mergeFrame is what a call needs: the arguments, and memory of Go behind the tensors.
type mergeFrame struct {
	call                             C.shim_merge_call
	outputs, logarithms, output, lse *C.uint8_t
}

func (m *MergeStates) fill(f *mergeFrame, c *Context) error {
	args := &f.call.args
	args.struct_size = C.sizeof_flashcore_merge_states_args
	f.call.error.struct_size = C.sizeof_flashcore_error
	all, seqlenQ, headsQ, headDimV := m.OutputStates.Shape[0], m.OutputStates.Shape[1], m.OutputStates.Shape[2], m.OutputStates.Shape[3]
	if m.OutputStates.absent() {
		return invalid("output_states.data", "absent", "a tensor of float16, bfloat16 or float32")
	}
	if m.Output.absent() {
		return invalid("output.data", "absent", "a tensor of float16, bfloat16 or float32")
	}
	var err error
	if args.state_count, err = positive("state_count", m.States); err != nil {
		return err
	}
	if all%m.States != 0 {
		return invalidf("output_states.shape[0]", fmt.Sprintf("a multiple of the %d states", m.States), "%d", all)
	}
	batch := all / m.States
	lseShape := [4]int{batch, headsQ, seqlenQ, 1}
	if err := checkShape("lse_states", &m.LSEStates, [4]int{all, headsQ, seqlenQ, 1}); err != nil {
		return err
	}
	if err := checkShape("output", &m.Output, [4]int{batch, seqlenQ, headsQ, headDimV}); err != nil {
		return err
	}
	args.batch, args.seqlen_q = C.int64_t(batch), C.int64_t(seqlenQ)
	if args.heads_q, err = positive("heads_q", headsQ); err != nil {
		return err
	}
	if args.head_dim_v, err = positive("head_dim_v", headDimV); err != nil {
		return err
	}
	if f.outputs, err = m.OutputStates.fill(&args.output_states, "output_states", c); err != nil {
		return err
	}
	if f.output, err = m.Output.fill(&args.output, "output", c); err != nil {
		return err
	}
	// A state is as far from the next one as all its batch entries are long; 0 of contiguous ones.
	args.output_state_stride = args.output_states.stride[0] * args.batch
	if err = checkType("lse_states", &m.LSEStates, DTypeFloat32); err != nil {
		return err
	}
	if f.logarithms, err = fillLSE(&m.LSEStates, &args.lse_states, "lse_states", c); err != nil {
		return err
	}
	args.lse_state_stride = args.lse_states.stride[0] * args.batch
	if m.LSEBase2 {
		args.lse_base = C.FLASHCORE_LSE_BASE2
	}
	if m.LSE.absent() {
		return nil
	}
	if err = checkType("lse", &m.LSE, DTypeFloat32); err != nil {
		return err
	}
	if err = checkShape("lse", &m.LSE, lseShape); err != nil {
		return err
	}
	f.lse, err = fillLSE(&m.LSE, &args.lse, "lse", c)
	return err
}

// fillLSE fills in the library's order, which is batch, sequence, head, for every tensor.
func fillLSE(t *Tensor, raw *C.flashcore_tensor, field string, c *Context) (*C.uint8_t, error) {
	memory, err := t.fill(raw, field, c)
	raw.stride[1], raw.stride[2] = raw.stride[2], raw.stride[1]
	return memory, err
}

// MergeStates merges on a stream, nil being the default stream, and returns after the launch: the buffers must stay unused by others
// until the stream has passed the work; freeing one waits for the device. On the CPU device everything is merged on return.
//
// ErrInvalidArgument and ErrUnsupported name the field; ErrNotPrepared in a capture of types that are not prepared;
// ErrCompilerUnavailable, ErrCompileFailed, ErrOutOfHostMemory, ErrOutOfDeviceMemory, ErrCudaError, ErrContextLost, ErrForked;
// ErrClosed where the context, the stream or a buffer was closed.
func (c *Context) MergeStates(m *MergeStates, stream *Stream) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	queue, err := stream.handle(c)
	if err != nil {
		return err
	}
	var f mergeFrame
	if err := m.fill(&f, c); err != nil {
		return err
	}
	status := C.shim_merge_states(c.number(), &f.call, f.outputs, f.logarithms, f.output, f.lse, C.uintptr_t(uintptr(queue)))
	err = check(status, &f.call.error)
	runtime.KeepAlive(m)
	runtime.KeepAlive(stream)
	return err
}

// PrepareMergeStates loads or compiles now what MergeStates with the same types needs, so that it is only a launch, also while a stream
// is captured.
func (c *Context) PrepareMergeStates(m *MergeStates) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.leave()
	var f mergeFrame
	if err := m.fill(&f, c); err != nil {
		return err
	}
	err := check(C.shim_merge_states_prepare(c.number(), &f.call, f.outputs, f.logarithms, f.output, f.lse), &f.call.error)
	runtime.KeepAlive(m)
	return err
}
