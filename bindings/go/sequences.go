// SPDX-License-Identifier: Apache-2.0

// Ragged batches and paged keys: the arrays that say where the rows of each sequence are. The numbers in them are read on the device
// alone, by the library; shapes and types are looked at here.

package flashcore

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"fmt"
	"math"
	"unsafe"
)

// Sequences says which lengths and places the sequences of a batch have, where these are their own. All arrays are optional, int32 or
// int64, all but the page tables of one type. What they say is held to the tensors; rows of the output that no sequence has are not
// written.
type Sequences struct {
	// [1, 1, 1, batch + 1], rising: sequence b has the rows from bound b on, up to bound b + 1, of query, output and LSE, which then are
	// [1, rows of all, heads, head_dim] and [1, heads, rows of all, 1]; of key and value.
	CuSeqlensQ, CuSeqlensKV Tensor
	// [1, 1, 1, batch]: rows in use, from the sequence's first on.
	SequsedQ, SequsedKV Tensor
	LeftpadKV           Tensor // [1, 1, 1, batch]: of those in use, rows at the beginning that are no keys
	KVBatchIndex        Tensor // [1, 1, 1, batch]: entry of key and value, which may have more of them, for each sequence
	// int32 [1, batch, 1, pages]: key and value are [page_count, page_size, heads_kv, head_dim], and key j of sequence b is key
	// j % page_size of page [b, j / page_size]. PageTableValue: another table for values.
	PageTable, PageTableValue Tensor
	// The most rows that a sequence may have; rows past them are left out. 0: as many as there is room for.
	MaxSeqlenQ, MaxSeqlenKV int
}

// batches is the batch, and how many entries key and value have.
func (a *Attention) batches() (batch, entries int) {
	batch = a.Query.Shape[0]
	s := a.Sequences
	if s == nil {
		return batch, batch
	}
	if !s.CuSeqlensQ.absent() {
		batch = s.CuSeqlensQ.Shape[3] - 1
	}
	switch {
	case !s.CuSeqlensKV.absent():
		return batch, 1
	case !s.KVBatchIndex.absent() || !s.PageTable.absent():
		return batch, a.Key.Shape[0]
	}
	return batch, batch
}

// most is the given number of rows, or what there is room for.
func most(field string, given, room int) (C.int64_t, error) {
	if given == 0 {
		return C.int64_t(room), nil
	}
	if given < 0 || given > room {
		return 0, invalidf(field, fmt.Sprintf("1 to %d, or 0 for that", room), "%d", given)
	}
	return C.int64_t(given), nil
}

func (s *Sequences) fill(f *frame, c *Context, a *Attention) error {
	args := &f.call.args
	batch, entries := a.batches()
	if !s.CuSeqlensQ.absent() && a.Query.Shape[0] != 1 {
		return invalidf("query.shape[0]", "1 with CuSeqlensQ, by which all sequences follow one another", "%d", a.Query.Shape[0])
	}
	var indexType DType
	for _, one := range []struct {
		field  string
		tensor *Tensor
		target *C.uint64_t
		shape  [4]int
	}{
		{"cu_seqlens_q", &s.CuSeqlensQ, &args.cu_seqlens_q, [4]int{1, 1, 1, batch + 1}},
		{"cu_seqlens_kv", &s.CuSeqlensKV, &args.cu_seqlens_kv, [4]int{1, 1, 1, batch + 1}},
		{"seqused_q", &s.SequsedQ, &args.seqused_q, [4]int{1, 1, 1, batch}},
		{"seqused_kv", &s.SequsedKV, &args.seqused_kv, [4]int{1, 1, 1, batch}},
		{"leftpad_kv", &s.LeftpadKV, &args.leftpad_kv, [4]int{1, 1, 1, batch}},
		{"kv_batch_index", &s.KVBatchIndex, &args.kv_batch_index, [4]int{1, 1, 1, batch}},
	} {
		if one.tensor.absent() {
			continue
		}
		if indexType == 0 {
			indexType = one.tensor.dtype
			if indexType != DTypeInt32 && indexType != DTypeInt64 {
				return invalid(one.field+".dtype", indexType.String(), "int32, int64")
			}
			args.index_dtype = C.int32_t(indexType)
		}
		if _, err := s.fillArray(f, c, one.field, one.tensor, one.target, indexType, one.shape); err != nil {
			return err
		}
	}
	if !s.CuSeqlensQ.absent() {
		args.total_q = C.int64_t(a.Query.Shape[1])
	}
	if !s.CuSeqlensKV.absent() {
		args.total_kv = C.int64_t(a.Key.Shape[1])
	}
	if !s.KVBatchIndex.absent() {
		args.kv_batch_count = C.int64_t(entries)
	}
	args.batch = C.int64_t(batch)
	return s.fillPages(f, c, a, batch)
}

func (s *Sequences) fillPages(f *frame, c *Context, a *Attention, batch int) error {
	args := &f.call.args
	room := a.Key.Shape[1]
	if !s.PageTable.absent() {
		size, err := positive("page_size", room)
		if err != nil {
			return err
		}
		pages := s.PageTable.Shape[3]
		if pages > 0 && room > math.MaxInt32/pages {
			room = math.MaxInt32 // what lengths may be
		} else {
			room *= pages
		}
		args.page_size, args.page_count = size, C.int64_t(a.Key.Shape[0])
		args.page_table_stride, err = s.fillArray(f, c, "page_table", &s.PageTable, &args.page_table, DTypeInt32, [4]int{1, batch, 1, pages})
		if err != nil {
			return err
		}
	}
	if !s.PageTableValue.absent() {
		stride, err := s.fillArray(f, c, "page_table_value", &s.PageTableValue, &args.page_table_value, DTypeInt32, s.PageTable.Shape)
		if err != nil {
			return err
		}
		if stride != args.page_table_stride {
			return invalidf("page_table_value.stride[1]", fmt.Sprintf("%d, that of PageTable", args.page_table_stride), "%d", stride)
		}
	}
	var err error
	if args.seqlen_q, err = most("MaxSeqlenQ", s.MaxSeqlenQ, a.Query.Shape[1]); err != nil {
		return err
	}
	if s.CuSeqlensQ.absent() && int(args.seqlen_q) != a.Query.Shape[1] {
		return invalidf("MaxSeqlenQ", fmt.Sprintf("%d, the rows of the query, or 0", a.Query.Shape[1]), "%d", s.MaxSeqlenQ)
	}
	if args.seqlen_kv, err = most("MaxSeqlenKV", s.MaxSeqlenKV, room); err != nil {
		return err
	}
	// Contiguous would mean: entries of as many rows as a sequence may have.
	packed(&args.key, &a.Key)
	packed(&args.value, &a.Value)
	return nil
}

// packed writes down the strides of a contiguous tensor.
func packed(raw *C.flashcore_tensor, t *Tensor) {
	if t.Strides == [4]int{} {
		row := C.int64_t(t.Shape[2]) * C.int64_t(t.Shape[3])
		raw.stride = [4]C.int64_t{C.int64_t(t.Shape[1]) * row, row, C.int64_t(t.Shape[3]), 1}
	}
}

// fillCopied describes a tensor to the library. Memory of Go is copied, which the library could not keep in place: it is that of the CPU
// device, which has read it when the call returns.
func fillCopied(f *frame, c *Context, field string, t *Tensor, raw *C.flashcore_tensor, expected DType, shape [4]int) error {
	if err := checkType(field, t, expected); err != nil {
		return err
	}
	if err := checkShape(field, t, shape); err != nil {
		return err
	}
	memory, err := t.fill(raw, field, c)
	if err != nil {
		return err
	}
	if t.extent() == 0 {
		raw.data = 64 // 0 would mean that there is none
	} else if memory != nil {
		bytes := int64(t.extent()) * expected.bytes()
		copied := C.CBytes(unsafe.Slice((*byte)(unsafe.Pointer(memory)), bytes))
		f.copies = append(f.copies, copied)
		raw.data = C.uint64_t(uintptr(copied))
	}
	return nil
}

// fillArray writes the address of an array, and gives the stride between its rows.
func (s *Sequences) fillArray(f *frame, c *Context, field string, t *Tensor, target *C.uint64_t, expected DType, shape [4]int) (C.int64_t, error) {
	var raw C.flashcore_tensor
	if err := fillCopied(f, c, field, t, &raw, expected, shape); err != nil {
		return 0, err
	}
	*target = raw.data
	if raw.stride[3] == 0 || shape[1] < 2 {
		return C.int64_t(shape[3]), nil
	}
	if raw.stride[1] < C.int64_t(shape[3]) {
		return 0, invalidf(field+".stride[1]", fmt.Sprintf("%d or more, sequences apart", shape[3]), "%d", raw.stride[1])
	}
	return raw.stride[1], nil
}
