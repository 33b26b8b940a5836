// SPDX-License-Identifier: Apache-2.0

// Package flashcore computes fused attention, softmax(scale * Q K^T) V, on NVIDIA GPUs and on the CPU, through libflashcore. No
// CUDA package is needed: contexts, device buffers, streams and events are here. cgo finds the library by pkg-config.
//
//	context, err := flashcore.Open(flashcore.Options{}) // the first usable GPU, else the CPU
//	if err != nil { ... }
//	defer context.Close()
//	query, err := flashcore.Upload(context, data)       // []flashcore.Float16 or []flashcore.BFloat16
//	...
//	err = context.Forward(&flashcore.Attention{
//		Query:  query.Tensor(batch, seqlen, heads, headDim),
//		Key:    key.Tensor(batch, seqlen, heads, headDim),
//		Value:  value.Tensor(batch, seqlen, heads, headDim),
//		Output: output.Tensor(batch, seqlen, heads, headDim),
//	}, nil)
//
// On the CPU device tensors may also be slices (Host); on a GPU they are buffers of the context.
//
// Every failure is an *Error with a status, the argument's name and a sentence; errors.Is knows the statuses (ErrUnsupported)
// and ErrClosed. What does not fit its memory or another tensor is refused before the library is called.
//
// Contexts, buffers, streams and events may be used from many goroutines at once. What is not freed is freed with its context;
// finalizers are only a backstop. Freeing waits for the calls of the context that run at the moment.
package flashcore
